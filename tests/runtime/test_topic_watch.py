"""A topic that is no longer what it was is told once, and nothing is told of a cluster that does not answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from streams.runtime.log import Fatal, LogGap
from streams.runtime.topic_watch import Seen, TopicWatch
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


def test_it_is_told_once_and_the_watch_ends() -> None:
    looks = iter([FINE, None, FINE | {"raw": Seen("r2", 2)}])
    told: list[Any] = []
    one = TopicWatch({"raw": 2, "sent": 2}, lambda names: next(looks), told.append, look_seconds=0)
    one.start()
    wait_for(lambda: not one.is_alive(), 10, "it has ended")
    assert [type(wrong) for wrong in told] == [LogGap]
