"""What every error of a transaction step means: one table, over the flags and codes that librdkafka gives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.runtime import transaction
from streams.runtime.log import Abortable, Fatal, Indeterminate, StaleMember, TooLarge
from streams.runtime.transaction import Step, Transactor, Verdict, classify, expired
from streams.runtime.watchdog import Watchdog
from streams.stage import Output

E = KafkaError
IN_FLIGHT = (Step.OFFSETS, Step.COMMIT)
ENDING = (Step.COMMIT, Step.ABORT)
ALL = tuple(Step)


def error(code: int, *, fatal: bool = False, retriable: bool = False, abort: bool = False) -> Any:
    return KafkaError(code, "words", fatal, retriable, abort)


TABLE: list[tuple[Any, Sequence[Step], Verdict]] = [
    # retriable: call again
    (error(E.COORDINATOR_NOT_AVAILABLE, retriable=True), (Step.INIT, Step.OFFSETS, *ENDING), Verdict.RETRY),
    (error(E.CONCURRENT_TRANSACTIONS, retriable=True), (Step.OFFSETS, *ENDING), Verdict.RETRY),
    (error(E._TIMED_OUT, retriable=True), (Step.INIT, Step.OFFSETS, *ENDING), Verdict.RETRY),
    (error(E._CONFLICT, retriable=True), ENDING, Verdict.RETRY),
    # abortable
    (error(E.UNKNOWN_TOPIC_OR_PART, abort=True), IN_FLIGHT, Verdict.ABORT),
    (error(E._TIMED_OUT, abort=True), IN_FLIGHT, Verdict.ABORT),
    (error(E.OUT_OF_ORDER_SEQUENCE_NUMBER, abort=True), IN_FLIGHT, Verdict.ABORT),
    (error(E.TRANSACTION_ABORTABLE, abort=True), IN_FLIGHT, Verdict.ABORT),
    (error(E._STATE), (Step.PRODUCE,), Verdict.ABORT),
    (error(E._UNKNOWN_PARTITION), (Step.PRODUCE,), Verdict.ABORT),
    # stale, whatever else the error says
    (error(E.ILLEGAL_GENERATION, abort=True), IN_FLIGHT, Verdict.STALE),
    (error(E.UNKNOWN_MEMBER_ID, abort=True), IN_FLIGHT, Verdict.STALE),
    (error(E.REBALANCE_IN_PROGRESS, retriable=True), IN_FLIGHT, Verdict.STALE),
    (error(E._ASSIGNMENT_LOST), IN_FLIGHT, Verdict.STALE),
    # size
    (error(E.MSG_SIZE_TOO_LARGE), (Step.PRODUCE,), Verdict.TOO_LARGE),
    (error(E.MSG_SIZE_TOO_LARGE, abort=True), IN_FLIGHT, Verdict.TOO_LARGE),
    # unknown outcome
    (error(E._TIMED_OUT), ENDING, Verdict.INDETERMINATE),
    (error(E.REQUEST_TIMED_OUT), ENDING, Verdict.INDETERMINATE),
    # fenced or fatal, in any step
    (error(E._FENCED, fatal=True), ALL, Verdict.FATAL),
    (error(E.PRODUCER_FENCED), ALL, Verdict.FATAL),
    (error(E._FENCED, abort=True), ALL, Verdict.FATAL),
    (error(E.FENCED_INSTANCE_ID, abort=True), ALL, Verdict.FATAL),
    (error(E.CLUSTER_AUTHORIZATION_FAILED, fatal=True, retriable=True), ALL, Verdict.FATAL),
    # neither flag
    (error(E._STATE), (Step.BEGIN, Step.OFFSETS, *ENDING), Verdict.FATAL),
    (error(E.UNKNOWN), (Step.INIT, Step.BEGIN, Step.OFFSETS, *ENDING), Verdict.FATAL),
    (error(E._TIMED_OUT), (Step.INIT, Step.OFFSETS), Verdict.FATAL),
    # an abort that asks for an abort goes round for ever
    (error(E.UNKNOWN_TOPIC_OR_PART, abort=True), (Step.ABORT,), Verdict.FATAL),
    (error(E.ILLEGAL_GENERATION, abort=True), (Step.ABORT,), Verdict.FATAL),
]


@pytest.mark.parametrize(
    ("failure", "step", "verdict"),
    [
        pytest.param(
            failure,
            step,
            verdict,
            id=f"{failure.name()}-{failure.fatal():d}{failure.retriable():d}{failure.txn_requires_abort():d}-{step.value}",
        )
        for failure, steps, verdict in TABLE
        for step in steps
    ],
)
def test_every_error_has_one_verdict(failure: Any, step: Step, verdict: Verdict) -> None:
    assert classify(failure, step) is verdict


def test_no_code_without_a_flag_lets_an_ending_pass_for_done() -> None:
    """Law 4, over every code there is: the end of a transaction is never retried or shrugged off without a flag."""
    codes = [v for k, v in vars(KafkaError).items() if k.upper() == k and isinstance(v, int)]
    assert len(codes) > 100
    for code in codes:
        for step in ENDING:
            assert classify(error(code), step) not in (Verdict.RETRY, Verdict.ABORT), code


def test_what_a_deadline_means_depends_on_the_step() -> None:
    assert {step: expired(step) for step in Step} == {
        Step.INIT: Verdict.FATAL,
        Step.BEGIN: Verdict.FATAL,
        Step.PRODUCE: Verdict.ABORT,
        Step.OFFSETS: Verdict.ABORT,
        Step.COMMIT: Verdict.INDETERMINATE,
        Step.ABORT: Verdict.INDETERMINATE,
    }


class Scripted:
    """A producer whose steps fail as told: one error per call, then well; a lasting error for ever."""

    def __init__(self, **errors: Any) -> None:
        self._errors = errors
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        failure = self._errors.get(name)
        if isinstance(failure, list):
            failure = failure.pop(0) if failure else None
        if isinstance(failure, BaseException):
            raise failure
        if failure is not None:
            raise KafkaException(failure)

    def begin_transaction(self) -> None:
        self._call("begin")

    def produce(self, *_: Any, **__: Any) -> None:
        self._call("produce")

    def send_offsets_to_transaction(self, *_: Any) -> None:
        self._call("offsets")

    def commit_transaction(self, _: float) -> None:
        self._call("commit")

    def abort_transaction(self, _: float) -> None:
        self._call("abort")

    def poll(self, _: float) -> int:
        self.calls.append("poll")
        return 0


Run = Callable[[Scripted], list[str]]
SMALL, BIG = Output("sent", 0, b"k", b"v"), Output("sent", 0, b"k", b"v" * 100)


@pytest.fixture
def run() -> Run:
    def go(producer: Scripted) -> list[str]:
        dog = Watchdog("test", overrun=lambda message: pytest.fail(message))
        try:
            limits = lambda topics: dict.fromkeys(topics, 50)  # noqa: E731
            transactor = Transactor(producer, "batch", {"sent": "p.sent"}, 0.2, dog, limits, abort_seconds=0.2)
            transactor.run([SMALL, BIG], [], b"")
        finally:
            dog.close()
        return producer.calls

    return go


def test_the_steps_in_their_order(run: Run) -> None:
    assert run(Scripted()) == ["begin", "produce", "produce", "offsets", "commit"]


def test_a_retriable_error_is_called_again_until_it_works(run: Run) -> None:
    again = error(E.CONCURRENT_TRANSACTIONS, retriable=True)
    calls = run(Scripted(offsets=[again, again], commit=[again]))
    assert [c for c in calls if c != "poll"] == ["begin", "produce", "produce", *3 * ["offsets"], *2 * ["commit"]]


def test_a_full_queue_is_drained_and_nothing_skipped(run: Run) -> None:
    calls = run(Scripted(produce=[BufferError("full"), None, BufferError("full")]))
    assert calls == ["begin", "produce", "poll", "produce", "produce", "poll", "produce", "offsets", "commit"]


@pytest.mark.parametrize(
    ("script", "raised", "aborted"),
    [
        ({"offsets": error(E.UNKNOWN_TOPIC_OR_PART, abort=True)}, Abortable, True),
        ({"produce": BufferError("full")}, Abortable, True),
        ({"produce": error(E._UNKNOWN_PARTITION)}, Abortable, True),
        ({"offsets": error(E.COORDINATOR_NOT_AVAILABLE, retriable=True)}, Abortable, True),
        ({"offsets": error(E.ILLEGAL_GENERATION, abort=True)}, StaleMember, True),
        ({"commit": error(E._TIMED_OUT, retriable=True)}, Indeterminate, False),
        ({"commit": error(E._TIMED_OUT)}, Indeterminate, False),
        ({"commit": error(E._FENCED, fatal=True)}, Fatal, False),
        ({"commit": error(E.UNKNOWN)}, Fatal, False),
        ({"begin": error(E._STATE)}, Fatal, False),
        (
            {"commit": error(E._TIMED_OUT, abort=True), "abort": error(E._TIMED_OUT, retriable=True)},
            Indeterminate,
            True,
        ),
        ({"offsets": error(E.UNKNOWN, abort=True), "abort": error(E.UNKNOWN, abort=True)}, Fatal, True),
    ],
)
def test_errors_become_the_tree(run: Run, script: dict[str, Any], raised: type[Exception], aborted: bool) -> None:
    producer = Scripted(**script)
    with pytest.raises(raised) as caught:
        run(producer)
    assert caught.type is raised
    assert ("abort" in producer.calls) == aborted


def test_a_size_error_hidden_by_a_later_step_is_found(run: Run) -> None:
    with pytest.raises(TooLarge) as caught:
        run(Scripted(offsets=error(E._STATE, abort=True)))
    assert caught.value.output == BIG


@pytest.mark.parametrize("where", ["produce", "commit"])
def test_the_output_that_is_too_large_is_named(run: Run, where: str) -> None:
    refusal = error(E.MSG_SIZE_TOO_LARGE, abort=where == "commit")
    producer = Scripted(**{where: [None, refusal] if where == "produce" else refusal})
    with pytest.raises(TooLarge) as caught:
        run(producer)
    assert caught.value.output == BIG
    assert producer.calls[-1] == "abort"


class Reporting(Scripted):
    """A producer that says of each message where it lies, when the transaction commits."""

    def __init__(self, offsets: Mapping[str, int | None]) -> None:
        super().__init__()
        self._offsets, self._reports = offsets, list[tuple[str, Any]]()

    def produce(self, topic: str, *_: Any, on_delivery: Any, **__: Any) -> None:
        self._reports.append((topic, on_delivery))

    def commit_transaction(self, _: float) -> None:
        for topic, heard in self._reports:
            heard(None, SimpleNamespace(offset=lambda topic=topic: self._offsets[topic]))


def test_a_row_that_is_acknowledged_without_its_offset_leaves_the_position_open() -> None:
    """A broker answers so when it has a batch already and no longer knows where (it was sent twice)."""
    rows = [Output("heads", 0, b"k", b"v"), Output("windows", 0, b"k", b"v")]
    dog = Watchdog("test", overrun=lambda message: pytest.fail(message))
    try:
        topics = {"heads": "p.heads", "windows": "p.windows"}
        producer = Reporting({"p.heads": None, "p.windows": 7})
        reached = Transactor(producer, "batch", topics, 0.2, dog, lambda names: {}, 0.2).run(rows, [], b"")
    finally:
        dog.close()
    assert reached == {("windows", 0): 8}


def test_tx7_a_call_that_ignores_its_time_out_is_noticed_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """As send_offsets may while the group coordinator is down; in a worker the process ends there."""
    monkeypatch.setattr(transaction, "WATCHDOG_GRACE", 0.05)
    overrun = threading.Event()
    messages: list[str] = []

    def end(message: str) -> None:
        messages.append(message)
        overrun.set()

    class Stuck(Scripted):
        def send_offsets_to_transaction(self, *_: Any) -> None:
            assert overrun.wait(60)

    dog = Watchdog("slot 0", end)
    Transactor(Stuck(), "batch", {"sent": "p.sent"}, 0.05, dog, lambda topics: {}).run([SMALL], [], b"")
    dog.close()
    assert len(messages) == 1
    assert "transaction step send-offsets overran" in messages[0]
