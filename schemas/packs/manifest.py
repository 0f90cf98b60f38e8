"""What a pack's shipped sample must come to, whatever the pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple


class Manifest(NamedTuple):
    """The answers a sample must get, in records."""

    received: int
    acknowledged: int
    dead: int
    duplicate: int
    kinds: Mapping[str, int]
    """Messages by what they are; the sample says which kinds it has."""


Sample = Callable[[int, int], Iterator[tuple[str, bytes]]]
"""So many messages with a seed, as (publisher's key, bytes), in the order they are to be published."""
