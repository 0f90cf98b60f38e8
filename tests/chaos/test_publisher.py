"""The manifest of a round names the place of every message, also where the broker did not."""

from __future__ import annotations

from chaos.checker.evidence import Message
from chaos.load import NOWHERE, Sent
from chaos.publisher import MESSAGES, RATE, TRICKLE, locate, made_by


def sent(key: str, value: bytes | None, partition: int, offset: int | None) -> Sent:
    return Sent(key, value, "good", [], partition, offset)


def message(partition: int, offset: int, key: str, value: bytes | None) -> Message:
    return Message(partition, offset, 0, key.encode(), value)


def test_what_was_acknowledged_without_an_offset_is_found_among_what_nobody_claims() -> None:
    first, known, second = sent("s", b"same", 1, None), sent("s", b"same", 1, 5), sent("s", b"same", 1, None)
    tombstone, lost = sent("s", None, 1, None), sent("s", b"lost", 1, None)
    log = [message(0, 4, "s", b"same"), message(1, 4, "s", b"same"), message(1, 5, "s", b"same")]
    log += [message(1, 6, "t", b"same"), message(1, 7, "s", b"same"), message(1, 8, "s", None)]
    locate([first, known, second, tombstone, lost], log)
    assert [one.offset for one in (first, known, second, tombstone)] == [4, 5, 7, 8]
    assert lost.offset == NOWHERE, "the checker says that it is not on raw"


def test_the_load_is_bounded_however_long_the_faults_take() -> None:
    assert [made_by(seconds) for seconds in (0, 5, MESSAGES / RATE)] == [0, 5 * RATE, MESSAGES]
    assert made_by(MESSAGES / RATE + 60) == MESSAGES + 60 * TRICKLE
