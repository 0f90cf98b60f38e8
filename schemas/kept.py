"""What is made once and looked up ever after, in bounds: for values that many records share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Kept(dict[K, V]):
    """`kept[key]` is `make(key)`, made when it is first asked for. At most `most` are kept: then it begins anew.

    A hit costs what a dict costs, half of `functools.lru_cache`; that is the point of it. What `make` raises is
    raised, and nothing is kept.
    """

    __slots__ = ("_make", "_most")

    def __init__(self, make: Callable[[K], V], most: int) -> None:
        super().__init__()
        self._make, self._most = make, most

    def __missing__(self, key: K) -> V:
        made = self._make(key)
        if len(self) >= self._most:
            self.clear()
        self[key] = made
        return made
