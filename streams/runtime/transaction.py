"""Steps 3 to 5 of the chunk transaction, and what every error in them means.

`classify` is the only place that judges an error; `Transactor` runs the numbered steps with one deadline each, under
the watchdog (TX7). After any error but Indeterminate and Fatal the transaction has been aborted when it is raised.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.runtime import failpoints
from streams.runtime.log import Abortable, Fatal, Indeterminate, LogError, Reached, StaleMember, TooLarge
from streams.runtime.watchdog import Watchdog
from streams.stage import Output
from topology.model import ANY_TABLE

WATCHDOG_GRACE = 10.0
"""Seconds past a step's own deadline before the watchdog ends the process: a slow answer is not a lost thread."""
ABORT_SECONDS = 15.0
"""Deadline of an abort where the transaction time-out is shorter: a new epoch may be asked for in it."""
ABORT_SLICE = 0.2
"""One call of abort. Each call purges the queue first, and that must happen again: a message that is queued anew after
the first purge is else waited for until it times out, together with the transaction, and the abort ends up fenced
(measured after a message that was too large, with more behind it)."""
COMMIT_SLICE = 0.5
"""One call of commit, which is resumed where it was. A transaction that fails while the queue is flushed is noticed at
the next call only; waited for in one call, it would end as a time-out, and a message that is too large as unknown."""
RETRY_WAIT = 0.02
"""Seconds between two calls of a step that asks to be called again."""
TABLES = frozenset(ANY_TABLE)


class Step(Enum):
    """The steps, by the failpoint names around them."""

    INIT = "init"
    BEGIN = "begin"
    PRODUCE = "produce"
    OFFSETS = "send-offsets"
    COMMIT = "commit"
    ABORT = "abort"


class Verdict(Enum):
    """What an error means; the rows of the error table in DESIGN.md."""

    RETRY = "call again within the deadline"
    ABORT = "abort, then rebuild"
    TOO_LARGE = "abort; one message is larger than its topic takes"
    STALE = "abort, close, rejoin, rebuild"
    INDETERMINATE = "discard the producer, new one, rebuild"
    FATAL = "end the process"


STALE = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.FENCED_MEMBER_EPOCH,
    KafkaError._ASSIGNMENT_LOST,
}
FENCED = {
    KafkaError._FENCED,
    KafkaError._FATAL,
    KafkaError.PRODUCER_FENCED,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.TRANSACTION_COORDINATOR_FENCED,
}
SIZE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
TIMED_OUT = {
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError._MSG_TIMED_OUT,
}


def classify(error: Any, step: Step) -> Verdict:
    """What a KafkaError in a step means. Time-outs flagged retriable are RETRY; `expired` judges the last one."""
    code = error.code()
    if error.fatal() or code in FENCED:
        return Verdict.FATAL
    if step is Step.ABORT:  # an abort that asks for an abort would go round for ever
        return _ending(error, code)
    if code in STALE:
        return Verdict.STALE
    if code in SIZE:
        return Verdict.TOO_LARGE
    if step is Step.PRODUCE:
        # the producer refuses to queue: either it already wants an abort (state), or this message cannot be sent;
        # an abort is always open, and an unusable producer shows itself there
        return Verdict.ABORT
    if error.txn_requires_abort():
        return Verdict.ABORT
    if step is Step.COMMIT:
        return _ending(error, code)
    return Verdict.RETRY if error.retriable() else Verdict.FATAL


def _ending(error: Any, code: int) -> Verdict:
    """An error of commit or abort: what timed out may still have happened (law 4)."""
    if error.retriable():
        return Verdict.RETRY
    return Verdict.INDETERMINATE if code in TIMED_OUT else Verdict.FATAL


def expired(step: Step) -> Verdict:
    """What it means that a step still wants to be called again when its deadline is over."""
    if step in (Step.COMMIT, Step.ABORT):
        return Verdict.INDETERMINATE
    return Verdict.FATAL if step in (Step.INIT, Step.BEGIN) else Verdict.ABORT


class StepFailed(Exception):
    """A step that did not go well, and what that means."""

    def __init__(
        self, step: Step, verdict: Verdict, why: str, output: Output | None = None, code: int | None = None
    ) -> None:
        self.step, self.verdict, self.output, self.code = step, verdict, output, code
        super().__init__(f"{step.value}: {why}")


class Transactor:
    """One transactional producer and its steps.

    seconds: transaction.timeout.ms, the deadline of each step. limits: max.message.bytes by full topic name, asked for
    only when a message was refused for its size.
    """

    def __init__(
        self,
        producer: Any,
        stage: str,
        topics: Mapping[str, str],
        seconds: float,
        watchdog: Watchdog,
        limits: Callable[[Sequence[str]], Mapping[str, int]],
        abort_seconds: float = ABORT_SECONDS,
    ) -> None:
        self._producer = producer
        self._stage = stage
        self._topics = topics
        self._seconds = seconds
        self._watchdog = watchdog
        self._limits = limits
        self._abort_seconds = max(seconds, abort_seconds)
        self.open = False
        """A transaction was begun and neither committed nor aborted."""

    def init(self, seconds: float) -> None:
        """Fences older producers of this id and ends their transaction. Raises Fatal."""
        try:
            self._step(Step.INIT, self._producer.init_transactions, seconds)
        except StepFailed as failed:
            raise Fatal(f"the producer could not be set up: {failed}") from failed

    def run(self, outputs: Sequence[Output], offsets: Sequence[Any], token: bytes) -> Reached:
        """Commits outputs and offsets together; see `log.Log.transact`. Raises Abortable, StaleMember, Indeterminate
        or Fatal."""
        reached: dict[tuple[str, int], int] = {}
        bulk, last = _last_rows_apart(outputs)
        half = len(bulk) // 2
        try:
            self._step(Step.BEGIN, lambda _: self._producer.begin_transaction())
            self.open = True
            # 3. produce all
            self._produce(bulk[:half])
            failpoints.hit(f"{self._stage}:mid-produce")
            self._produce(bulk[half:])
            self._produce(last, reached)
            # 4. offsets, under the generation the input was read in
            failpoints.hit(f"{self._stage}:before-offsets")
            self._step(
                Step.OFFSETS, lambda left: self._producer.send_offsets_to_transaction(list(offsets), token, left)
            )
            # 5. commit
            failpoints.hit(f"{self._stage}:before-commit")
            commit = self._producer.commit_transaction
            self._step(Step.COMMIT, lambda left: commit(min(left, COMMIT_SLICE)))
            self.open = False
            failpoints.hit(f"{self._stage}:after-commit")
            return reached
        except StepFailed as failed:
            raise self._ended(failed, outputs) from failed

    def abort(self) -> None:
        """Ends an open transaction without effect. Raises Indeterminate or Fatal."""
        if not self.open:
            return
        self.open = False  # whatever comes of it: nothing more can be done with this transaction
        try:
            abort = self._producer.abort_transaction
            self._step(Step.ABORT, lambda left: abort(min(left, ABORT_SLICE)), self._abort_seconds)
        except StepFailed as failed:
            if failed.verdict is Verdict.INDETERMINATE:
                raise Indeterminate(str(failed)) from failed
            raise Fatal(f"a transaction could not be aborted: {failed}") from failed

    def discard(self) -> None:
        """Drops the client without waiting for anything: its successor ends what it left open. Idempotent."""
        if self._producer is not None:
            self._producer.purge()
        self._producer, self.open = None, False

    def _ended(self, failed: StepFailed, outputs: Sequence[Output]) -> LogError:
        """The error to raise, after the abort it asks for."""
        if failed.verdict in (Verdict.FATAL, Verdict.INDETERMINATE):
            self.open = False  # not ours to abort any more
        if failed.verdict is Verdict.FATAL:
            return Fatal(f"{failed}: fenced by a newer owner, or beyond repair")
        if failed.verdict is Verdict.INDETERMINATE:
            return Indeterminate(f"{failed}: it may or may not have committed")
        self.abort()
        if failed.verdict is Verdict.STALE:
            return StaleMember(str(failed))
        culprit: Output | None = None
        if failed.verdict is Verdict.TOO_LARGE:
            culprit = failed.output or self._largest_refused(outputs)
        elif failed.code == KafkaError._STATE:
            # the transaction failed in the background before this step, which hides why: size is the one cause that
            # doing it again would not cure
            culprit = self._largest_refused(outputs)
        if culprit is not None:
            return TooLarge(culprit, str(failed))
        return Abortable(str(failed))

    def _largest_refused(self, outputs: Sequence[Output]) -> Output | None:
        """The output furthest above its topic's limit: the broker names none."""
        limits = self._limits(sorted({self._topics[output.topic] for output in outputs}))
        over = [(_size(output) - limits[self._topics[output.topic]], place) for place, output in enumerate(outputs)]
        excess, place = max(over, default=(0, 0))
        return outputs[place] if excess > 0 else None

    def _produce(self, outputs: Sequence[Output], reached: dict[tuple[str, int], int] | None = None) -> None:
        """reached: filled, by the time the transaction has committed, with the offset behind each of `outputs`."""
        produce, topics = self._producer.produce, self._topics
        deadline = time.monotonic() + self._seconds
        with self._watchdog.step(Step.PRODUCE.value, self._seconds + WATCHDOG_GRACE):
            for output in outputs:
                topic, partition, key, value, headers = output
                while True:
                    try:
                        if reached is not None:
                            heard = _delivered(reached, (topic, partition))
                            produce(topics[topic], value, key, partition, on_delivery=heard, headers=list(headers))
                        elif headers:
                            produce(topics[topic], value, key, partition, headers=list(headers))
                        else:
                            produce(topics[topic], value, key, partition)
                        break
                    except BufferError:  # the queue is full: let it drain
                        if time.monotonic() >= deadline:
                            why = f"the queue stayed full for {self._seconds:g} s"
                            raise StepFailed(Step.PRODUCE, Verdict.ABORT, why) from None
                        self._producer.poll(RETRY_WAIT)
                    except KafkaException as refused:
                        error = refused.args[0]
                        verdict = classify(error, Step.PRODUCE)
                        raise StepFailed(Step.PRODUCE, verdict, _words(error), output, error.code()) from refused

    def _step(self, step: Step, call: Callable[[float], object], seconds: float | None = None) -> None:
        """Calls until it works, or the error is another than `call again`, or the deadline is over."""
        allowed = self._seconds if seconds is None else seconds
        deadline = time.monotonic() + allowed
        with self._watchdog.step(step.value, allowed + WATCHDOG_GRACE):
            while True:
                try:
                    call(max(deadline - time.monotonic(), RETRY_WAIT))
                except KafkaException as failed:
                    error = failed.args[0]
                    verdict = classify(error, step)
                    if verdict is Verdict.RETRY:
                        if time.monotonic() < deadline:
                            self._producer.poll(RETRY_WAIT)
                            continue
                        verdict = expired(step)
                    raise StepFailed(step, verdict, _words(error), code=error.code()) from failed
                else:
                    return


def _last_rows_apart(outputs: Sequence[Output]) -> tuple[Sequence[Output], list[Output]]:
    """The last row of each table's partition apart from the rest; produced last it keeps its place there, and its
    delivery report says how far the changelog has come without one callback for each row."""
    places = {output[:2]: n for n, output in enumerate(outputs) if output[0] in TABLES}
    if not places:
        return outputs, []
    rest = list(outputs)
    last = [rest.pop(place) for place in sorted(places.values(), reverse=True)]
    return rest, last


def _delivered(reached: dict[tuple[str, int], int], where: tuple[str, int]) -> Callable[[Any, Any], None]:
    def heard(error: Any, message: Any) -> None:
        # A broker that has forgotten where it put a batch acknowledges its repeat without an offset.
        if error is None and message.offset() is not None:
            reached[where] = message.offset() + 1

    return heard


def _size(output: Output) -> int:
    return len(output.key or b"") + len(output.value or b"") + sum(len(name) + len(v) for name, v in output.headers)


def _words(error: Any) -> str:
    return f"{error.str()} ({error.name()})"


def offsets_of(topic: str, offsets: Mapping[int, int]) -> list[Any]:
    """Offsets in the client's form."""
    return [TopicPartition(topic, partition, offset) for partition, offset in sorted(offsets.items())]
