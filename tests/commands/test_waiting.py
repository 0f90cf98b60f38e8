"""What `reconcile --wait` does while it waits."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import create_autospec

import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.commands.conftest import Clock
from topology.load import load_pipeline
from waybill.commands.reconcile import busy, wait_for
from waybill.output import Fault
from waybill.reader import Decoder, Reader


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


def test_what_batch_has_not_committed_is_not_called_unread() -> None:
    """Its offset stands at its oldest open window, and records behind that may have their answers (BA4)."""
    reader = create_autospec(Reader, instance=True)
    reader.waiting.side_effect = lambda topic, committed, cap: {0: 4 if topic.endswith(".validated") else 0}
    pipeline = load_pipeline("cold-chain")
    assert busy(reader, create_autospec(Decoder, instance=True), pipeline) == (
        "4 messages of waybill.cold-chain.validated from batch's oldest open window on; some may have their answers"
    )
