"""A dead letter that keeps a whole message of our own is the final answer of every record in it."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.canonical import RawPosition
from schemas.errors import UNPROCESSABLE, Finding
from schemas.messages import position_of
from streams.deadletter import DeadLetters
from streams.driver import TopologyDriver
from streams.stage import Message
from topology.load import load_pipeline
from waybill import condemned
from waybill.life import holds, marks_of, marks_of_condemned

READING = (
    b'{"sensor_id":"FRIDGE-%02d","timestamp_utc":"2026-01-01T00:00:00Z","temperature_c":4.5,"product":"refrigerator"}'
)
WHY = Finding(UNPROCESSABLE, "", "KeyError: 'x'")


class Topic:
    """Stands in for the reader: one message, wherever it is asked for."""

    def __init__(self, message: Message) -> None:
        self.message, self.asked = message, list[tuple[str, RawPosition]]()

    def at(self, topic: str, position: RawPosition) -> Message:
        self.asked.append((topic, position))
        return self.message


@pytest.fixture(scope="module")
def driver() -> TopologyDriver:
    driver = TopologyDriver(load_pipeline("cold-chain"))
    for number in range(3):
        driver.publish("key", READING % number)
    driver.finish()
    return driver


@pytest.mark.parametrize("short", condemned.OWN)
@pytest.mark.parametrize("claimed", [False, True])
def test_it_answers_each_record_of_the_message_wherever_that_is_kept(
    driver: TopologyDriver, short: str, claimed: bool
) -> None:
    made, codec = driver.pipeline, driver.codec
    message = driver.messages(short)[0]
    inside = [codec.decode(message.value or b"")[1]]
    if short == "batched":
        inside = [codec.decode(one)[1] for one in inside[0]["records"]]
    letters = DeadLetters(codec, made.partitions, lambda original: "file:claim", 10 if claimed else 10**6)
    output, _, _ = letters.unreadable("batch", made.topic(short), message, WHY)
    letter = codec.decode(output.value or b"")[1]
    topic: Any = Topic(message)
    answers = list(condemned.each(letter, made, codec, topic))
    assert [position_of(one) for one in answers] == [position_of(one) for one in inside]
    assert {(one["stage"], one["findings"][0]["code"], one["count"]) for one in answers} == {
        ("batch", UNPROCESSABLE, 1)
    }
    assert condemned.is_elsewhere(letter) is claimed
    assert bool(topic.asked) is claimed
    assert holds(output.value or b"", [marks_of(position_of(inside[0]).submission)]) is not claimed
    assert holds(output.value or b"", marks_of_condemned(made))


def test_a_dead_letter_of_a_record_answers_that_record(driver: TopologyDriver) -> None:
    record = driver.read("validated")[0]
    output = DeadLetters(driver.codec, driver.pipeline.partitions).valid("batch", record, [WHY])
    letter = driver.codec.decode(output.value or b"")[1]
    nobody: Any = None
    assert list(condemned.each(letter, driver.pipeline, driver.codec, nobody)) == [letter]
    assert not holds(output.value or b"", marks_of_condemned(driver.pipeline))


@pytest.mark.parametrize("value", [b"junk", None])
def test_whose_a_damaged_message_was_nobody_can_tell(driver: TopologyDriver, value: bytes | None) -> None:
    message = Message(0, 7, 0, None, value)
    output, _, _ = DeadLetters(driver.codec, 4).unreadable("batch", driver.pipeline.topic("validated"), message, WHY)
    letter = driver.codec.decode(output.value or b"")[1]
    nobody: Any = None
    assert list(condemned.each(letter, driver.pipeline, driver.codec, nobody)) == []
