"""What long-running commands log: JSON for collectors, lines on a terminal, repeated ones held back and counted."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import structlog

from tests.commands.conftest import Clock, Lines, Setup, Terminal
from waybill.logs import EXPECTED_SECONDS, KEYS, REPEAT_SECONDS, Collapse

ours: Any = structlog.get_logger("waybill")
library = logging.getLogger("aiokafka.client")
client = logging.getLogger("kafka.client")
FORM = "%s [%s] %s"
LOADING = (
    "[thrd:main]: Failed to acquire transactional PID from broker TxnCoordinator/1: "
    "Broker: Coordinator load in progress: retrying"
)


def test_a_line_that_a_library_repeats_is_held_back_for_ten_seconds_and_counted(lines: Lines, clock: Clock) -> None:
    for number in range(500):
        library.error("Unable connect to node with id %s", number)
    (only,) = lines()
    assert only["event"] == "Unable connect to node with id 0"
    clock.now = REPEAT_SECONDS
    library.error("Unable connect to node with id %s", 7)
    assert [line["event"] for line in lines()] == ["Unable connect to node with id 7 (and 499 more of these)"]


def test_a_line_that_the_worker_repeats_is_held_back_and_counted_too(lines: Lines, clock: Clock) -> None:
    redone = {"pipeline": "demo", "stage": "batch", "result": "abort", "error": "Abortable: coordinator moved"}
    for _ in range(500):
        ours.warning("redone", **redone)
    (first,) = lines()
    assert first.items() >= redone.items()
    clock.now = REPEAT_SECONDS
    ours.warning("redone", **redone)
    (again,) = lines()
    assert again.items() >= (redone | {"event": "redone", "held_back": 499}).items()


def test_lines_about_different_things_are_all_there(lines: Lines) -> None:
    for number in range(50):
        ours.warning("dead letter", id=f"demo.raw/0/{number}/0", error_class="COMPLIANCE_BLOCK", latency_ms=1.5)
        ours.info("delivered", batch=f"{number:064x}", partner="lake", attempt=1)
    for attempt in (1, 2):
        ours.warning("retry", batch="ab", attempt=attempt)
    for stage in ("batch", "dispatch"):
        ours.warning("redone", stage=stage, error="moved")
    ours.error("redone", stage="batch", error="moved")
    assert len(lines()) == 105


def test_how_long_something_took_makes_no_other_line_of_it(lines: Lines) -> None:
    for latency in (1.5, 2.5):
        ours.warning("claim store cannot be reached", url="s3://lake", latency_ms=latency, waited_s=latency)
    assert len(lines()) == 1


def test_a_line_for_each_transaction_is_one_for_each(setup: Setup) -> None:
    stream = setup(verbose=True)
    for _ in range(3):
        ours.debug("committed", messages=0, offsets={0: 5}, latency_ms=1.0)
    assert len(stream.getvalue().splitlines()) == 3


def test_what_was_held_back_is_told_though_the_line_does_not_come_again(lines: Lines, clock: Clock) -> None:
    for number in range(4):
        library.error("Unable connect to node with id %s", number)
        ours.warning("redone", error="moved")
    lines()
    clock.now = 2 * REPEAT_SECONDS
    ours.info("stopping")
    last, mine, stopping = lines()
    assert last["event"] == "Unable connect to node with id 3 (and 2 more of these)"
    assert (mine["event"], mine["error"], mine["held_back"]) == ("redone", "moved", 2)
    assert stopping["event"] == "stopping"
    clock.now = 4 * REPEAT_SECONDS
    ours.info("stopped")
    assert len(lines()) == 1, "and it is told once"


def test_the_first_line_after_the_machine_has_started_is_no_repetition(lines: Lines, clock: Clock) -> None:
    clock.now = 1.0
    library.error("Unable connect to node")
    assert len(lines()) == 1


def test_what_a_new_broker_makes_clients_say_is_shown_once_it_goes_on(lines: Lines, clock: Clock) -> None:
    def say() -> None:
        library.warning("Marking the coordinator dead (node %s)for group %s.", 1, "demo.frame")
        client.warning(FORM, "GETPID", "demo.validate.0.0#producer-4", LOADING)

    for second in (0.0, 1.0, EXPECTED_SECONDS - 1):
        clock.now = second
        say()
    assert lines() == []
    clock.now = EXPECTED_SECONDS
    say()
    assert [line["event"][:6] for line in lines()] == ["Markin", "GETPID"], "by now it is the broker's fault"
    clock.now = 3 * EXPECTED_SECONDS
    say()
    assert lines() == [], "another time"
    for later in (EXPECTED_SECONDS - 1, EXPECTED_SECONDS + 1):
        clock.now = 3 * EXPECTED_SECONDS + later
        client.warning(FORM, "GETPID", "demo.batch.0.0#producer-5", LOADING)
    assert lines() == [], "another client"
    client.warning(
        FORM, "GETPID", "demo.validate.0.0#producer-4", "Failed to acquire transactional PID: not authorized"
    )
    assert len(lines()) == 1, "what is not expected is shown at once"


def test_a_line_of_one_client_does_not_hold_back_anothers(lines: Lines) -> None:
    client.warning(FORM, "REQTMOUT", "demo.validate.0.0#producer-4", "Timed out")
    client.warning(FORM, "REQTMOUT", "demo.batch.0.0#producer-5", "Timed out")
    client.warning(FORM, "FAIL", "demo.batch.0.0#producer-5", "Disconnected")
    client.warning(FORM, "FAIL", "demo.batch.0.0#producer-5", "Disconnected again")
    assert len(lines()) == 3


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_memory_is_bounded_however_many_lines_come(clock: Clock, seconds: float) -> None:
    collapse = Collapse(clock)
    for number in range(50_000):
        clock.now += seconds
        event = {"event": "dead letter", "level": "warning", "id": number, "timestamp": str(number)}
        record = logging.makeLogRecord({"name": "waybill", "levelno": logging.WARNING, "msg": event})
        assert collapse.filter(record)
    assert collapse.remembered <= KEYS
    assert seconds == 0 or collapse.remembered <= REPEAT_SECONDS / seconds + 1


def test_a_collector_gets_one_json_object_a_line_and_a_person_a_readable_one(setup: Setup) -> None:
    def log() -> None:
        ours.warning("dead letter", id="demo.raw/0/7/0", codes=["WRONG_TYPE"])
        library.warning("lost %s", "node 1")

    stream = setup()
    log()
    mine, foreign = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert mine.keys() == {"event", "level", "timestamp", "id", "codes"}
    assert mine["level"] == "warning"
    assert foreign.keys() == {"event", "level", "timestamp"}
    assert foreign["event"] == "lost node 1"

    stream = setup(Terminal())
    log()
    mine_text, foreign_text = stream.getvalue().splitlines()
    for text in (mine_text, foreign_text):
        with pytest.raises(json.JSONDecodeError):
            json.loads(text)
    assert "dead letter" in mine_text
    assert "demo.raw/0/7/0" in mine_text
    assert "lost node 1" in foreign_text


def test_an_error_with_its_traceback_stays_one_line_of_json(lines: Lines, clock: Clock) -> None:
    for _ in range(3):
        try:
            raise ValueError("lost")
        except ValueError:
            library.exception("callback failed")
    (only,) = lines()
    assert "ValueError: lost" in only["exception"]
    clock.now = REPEAT_SECONDS * 2
    ours.info("stopping")
    late, stopping = lines()
    assert (late["event"], stopping["event"]) == ("callback failed (and 1 more of these)", "stopping")
    assert "exception" not in late, "the frames of what is held back are not kept alive"
