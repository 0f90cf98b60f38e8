"""Owns the index of what was packed into a container. It names all that lies in it, and may name more and name it
twice: each item's own row decides.

Items are packed one by one, thousands into one container, and a container goes on many trips. So the index is never
written as a whole for a packing:

- `children`, by container: how many pages there are, how many names there are, how many there were when it was tidied
  last, and the newest names (`last`). A list in place of that is the whole index: so it was written once.
- `page`, by number and container: a list of older names.

It is tidied when it has twice as many names, and of that a packing pays its share: what left the container is
forgotten, but for what may lie in it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import orjson

from schemas.canonical import UNIT_SEPARATOR
from schemas.packs.epcis.item_rows import Find, Item, row_key, text_of

MOST_CHILDREN = 30_000
"""In one container: their names fit into one row of the table."""
_PAGE = 32
"""Names that a packing may have to write again."""
_SLACK = 64
"""Names for which an index is not tidied."""
_MOST_LEFT = 5_000
"""Of the items that were taken out of a container and would lie in it again if that counted no longer (it was declared
an error, or died): the last ones. A container that serves for years must not name all that ever lay in it."""


class Contents(NamedTuple):
    """The index of one container."""

    container: str
    pages: int
    size: int
    """Names on the pages and in `last`."""
    tidied: int
    """Names when it was tidied last."""
    last: Sequence[str]

    def names(self, find: Find) -> list[str]:
        """All of them, each once, in the order in which they came last."""
        pages = (orjson.loads(find(self._page(number)) or "[]") for number in range(self.pages))
        found = [*chain.from_iterable(pages), *self.last]
        return list(dict.fromkeys(reversed(found)))[::-1]

    def untidy(self, more: int) -> bool:
        """Whether it is to be tidied before so many names come to it. Where it is not, no more than MOST_CHILDREN items
        lie in the container with them."""
        return self.size + more > min(2 * self.tidied + _SLACK, MOST_CHILDREN)

    def add(self, new: Sequence[str]) -> dict[str, str | None]:
        """The rows with more names."""
        return self._rows(self.pages, self.size + len(new), self.tidied, [*self.last, *new])

    def tidy(
        self, names: Sequence[str], inside: Sequence[str], new: Sequence[str], row_of: Callable[[str], Item | None]
    ) -> dict[str, str | None]:
        """The rows with more names, and without those that are not needed. names: all of them; inside: those of them
        that lie in the container; row_of: an item as its row has it."""
        kept = set(inside)
        others = [name for name in names if name not in kept and self._may_return(row_of(name))]
        room = min(_MOST_LEFT, max(0, MOST_CHILDREN - len(inside) - len(new)) // 2)
        kept |= set(others[max(0, len(others) - room) :])
        kept -= set(new)
        left = [name for name in names if name in kept] + [*new]
        rows = self._rows(0, len(left), len(left), left)
        return {self._page(number): None for number in range(self.pages)} | rows

    def _may_return(self, item: Item | None) -> bool:
        return item is not None and self.container in (item.parent, item.was)

    def _rows(self, pages: int, size: int, tidied: int, last: Sequence[str]) -> dict[str, str | None]:
        rows: dict[str, str | None] = {}
        if len(last) >= _PAGE:
            rows[self._page(pages)] = text_of(last)
            pages, last = pages + 1, []
        row = {"pages": pages, "size": size, "tidied": tidied, "last": last}
        return rows | {row_key("children", self.container): text_of(row)}

    def _page(self, number: int) -> str:
        return row_key("page", f"{number}{UNIT_SEPARATOR}{self.container}")


def contents_of(container: str, find: Find) -> Contents:
    """The index of a container; empty where nothing was ever packed into it."""
    row = orjson.loads(find(row_key("children", container)) or "[]")
    if isinstance(row, list):
        return Contents(container, 0, len(row), 0, row)
    return Contents(container, row["pages"], row["size"], row["tidied"], row["last"])
