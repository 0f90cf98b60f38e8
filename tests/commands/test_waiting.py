"""What `reconcile --wait` does while it waits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.commands.conftest import Clock
from waybill.commands.reconcile import wait_for
from waybill.output import Fault


def answers(*given: str | Exception | None) -> Callable[[], str | None]:
    """Gives one after the other, the last one for ever."""
    left = list(given)

    def ask() -> str | None:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


def waited(ask: Callable[[], str | None], seconds: float) -> bool:
    clock = Clock()

    def sleep(pause: float) -> None:
        clock.now += pause

    return wait_for(ask, "demo", seconds, clock, sleep)


def test_a_broker_that_restarts_does_not_end_the_wait(capsys: pytest.CaptureFixture[str]) -> None:
    moved = KafkaException(KafkaError(KafkaError.FENCED_LEADER_EPOCH))
    assert waited(answers("5 messages", moved, Fault("nothing comes"), None), 60)
    assert capsys.readouterr().err == ""


def test_what_is_waited_for_is_said_now_and_then_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert not waited(answers("2 batches unsettled"), 12)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "demo: 2 batches unsettled; waiting 7 s more at most",
        "demo: 2 batches unsettled; waiting 2 s more at most",
        "demo: still 2 batches unsettled",
    ]


def test_a_cluster_that_stays_away_is_told_at_the_deadline(capsys: pytest.CaptureFixture[str]) -> None:
    assert not waited(answers(KafkaException(KafkaError(KafkaError._TRANSPORT))), 1)
    assert "demo: still without an answer of the cluster:" in capsys.readouterr().err
