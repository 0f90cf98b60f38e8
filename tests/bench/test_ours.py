"""A run counts each message once, however often it is read."""

from __future__ import annotations

from bench.ours import Count
from streams.stage import Chunk, Message, Work


def chunk(first: int, last: int) -> Chunk:
    return Chunk([Message(0, offset, 0, None, b"") for offset in range(first, last)], now=0)


def test_what_was_undone_cut_off_or_read_again_is_counted_once() -> None:
    count = Count()
    count.took(chunk(0, 10), Work())  # aborted
    count.took(chunk(0, 10), Work(resume={0: 6}))  # cut
    count.committed()
    assert count.worked == 6
    count.committed()  # answers alone
    count.took(chunk(2, 10), Work())  # an open window, read again
    count.committed()
    assert count.worked == 10
