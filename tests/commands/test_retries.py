"""What `trace` tells of attempts that were not the last, by the rows that dispatch writes."""

from __future__ import annotations

from typing import Any

from schemas.canonical import RawPosition
from streams.dispatch.attempts import NO_ANSWER
from streams.stage import Message
from tests.streams.dispatch_desk import CODEC, START, Desk
from topology.load import load_pipeline
from waybill.commands.trace import as_words
from waybill.life import Life, steps
from waybill.retries import retries


def rows_of(desk: Desk) -> list[tuple[Message, dict[str, Any]]]:
    """The rows about batches as `delivery` has them before it is compacted."""
    written = [(o, CODEC.decode(o.value)) for o in desk.outputs if o.topic == "delivery" and o.value]
    return [
        (Message(0, number, START, output.key, output.value), row)
        for number, (output, (name, row)) in enumerate(written)
        if name == "delivery"
    ]


def told(rows: list[tuple[Message, dict[str, Any]]]) -> list[tuple[int, str, bool, int | None]]:
    return [
        (found["attempt"], found["answer"], found["unknown"], found["until"] and found["until"] - START)
        for _, found in retries(rows)
    ]


def test_each_attempt_but_the_last_tells_its_answer_and_until_when_the_next_one_waits() -> None:
    desk = Desk()
    desk.batch("a")
    desk.answer("failed", answer="503 busy")
    desk.wait(60)
    desk.answer("paused", answer="429 later", retry_after=5)
    desk.wait(60)
    desk.start()  # a second attempt was in flight
    desk.turn()
    desk.answer("unknown", answer="TimeoutError")
    desk.wait(60)
    desk.answer("delivered")
    rows = rows_of(desk)
    assert told(rows) == [
        (1, "503 busy", False, 2_000), (2, "429 later", False, 65_000), (2, NO_ANSWER, True, 120_000),
        (3, "TimeoutError", True, 128_000),
    ]  # fmt: skip
    life = Life(RawPosition("plain.raw", 0, 0, 0, 0), history=rows)
    lines = [as_words(step) for step in steps(life, load_pipeline("cold-chain")) if step.name == "RETRYING"]
    assert len(lines) == 4
    assert "attempt=1  answer=503 busy  until=2023-11-14T22:13:22.000Z" in lines[0]


def test_of_a_compacted_table_the_row_that_is_left_tells_the_last_answer() -> None:
    desk = Desk(keep=4 * 3600)
    desk.batch("a")
    desk.answer("failed", answer="503 busy")
    desk.wait(60)
    desk.answer("unknown", answer="TimeoutError")
    assert [found[:2] for found in told(rows_of(desk)[-1:])] == [(2, "TimeoutError")]
    desk.stage.may_send = False
    desk.wait(2 * 3600)
    assert desk.row("a")["retained"]
    assert [found[:2] for found in told(rows_of(desk))] == [(1, "503 busy"), (2, "TimeoutError")]


def test_another_life_begins_with_no_answer() -> None:
    desk = Desk()
    desk.batch("a")
    desk.answer("failed", answer="503 busy")
    desk.wait(60)
    first, *rest = rows_of(desk)
    assert told([first, *((message, row | {"life": 2, "answer": None}) for message, row in rest)]) == []
