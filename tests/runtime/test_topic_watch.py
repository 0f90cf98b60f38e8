"""A topic that is no longer what it was is told once, and nothing is told of a cluster that does not answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from streams.runtime.log import Fatal, LogGap
from streams.runtime.topic_watch import MOST, Seen, TopicWatch
from tests.support import wait_for

FINE = {"raw": Seen("r1", 2), "sent": Seen("s1", 2)}


def watch(*looks: Mapping[str, Seen] | None) -> Any:
    """What the last of these looks comes to; those before it come to nothing."""
    answers = iter(looks)
    one = TopicWatch({"raw": 2, "sent": 2}, lambda names: next(answers), lambda wrong: None)
    for _ in looks[:-1]:
        assert one.look() is None
    return one.look()


@pytest.mark.parametrize(
    ("looks", "kind", "words"),
    [
        ([FINE, FINE], None, ""),
        ([FINE, None, None], None, ""),
        ([FINE, {"raw": FINE["raw"]}, FINE], None, ""),
        ([FINE, {"raw": FINE["raw"]}, None, {"raw": FINE["raw"]}], LogGap, "sent: deleted while"),
        ([FINE, FINE | {"raw": Seen("r2", 2)}], LogGap, "raw: deleted and created again .* id r2, before r1"),
        ([FINE, {"raw": FINE["raw"]}, FINE | {"sent": Seen("s2", 2)}], LogGap, "sent: deleted and created again"),
        ([FINE, FINE | {"sent": Seen("s1", 3)}], Fatal, "sent has 3 partitions: the pipeline needs 2"),
        ([FINE | {"sent": Seen("s1", 3)}], Fatal, "sent has 3 partitions"),
    ],
)
def test_what_has_become_of_a_topic(looks: list[Mapping[str, Seen] | None], kind: Any, words: str) -> None:
    wrong = watch(*looks)
    if kind is None:
        assert wrong is None
    else:
        with pytest.raises(kind, match=words):
            raise wrong


def test_many_topics_take_turns_and_none_is_left_out() -> None:
    names = [f"t{number:03}" for number in range(2 * MOST + 1)]
    asked: list[list[str]] = []
    there = {name: Seen(f"id-{name}", 2) for name in names if name != "t150"}

    def ask(some: Iterable[str]) -> dict[str, Seen]:
        asked.append(list(some))
        return {name: there[name] for name in asked[-1] if name in there}

    one = TopicWatch(dict.fromkeys(names, 2), ask, lambda wrong: None)
    assert [one.look() for _ in range(4)] == [None] * 4  # t150 has had one turn
    assert sorted(name for some in asked[:3] for name in some) == names
    assert max(map(len, asked)) == MOST
    with pytest.raises(LogGap, match="t150: deleted while"):
        raise one.look() or AssertionError("a topic that is missing twice in a row is not told of")


def test_it_is_told_once_and_the_watch_ends() -> None:
    looks = iter([FINE, None, FINE | {"raw": Seen("r2", 2)}])
    told: list[Any] = []
    one = TopicWatch({"raw": 2, "sent": 2}, lambda names: next(looks), told.append, look_seconds=0)
    one.start()
    wait_for(lambda: not one.is_alive(), 10, "it has ended")
    assert [type(wrong) for wrong in told] == [LogGap]
