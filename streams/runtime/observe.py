"""What a worker shows of itself: Prometheus metrics and structured logs. Reads steps, decides nothing.

Names follow OpenTelemetry's messaging conventions where they exist; the rest begins with `waybill_`. Record ids and
keys are never labels.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.canonical import record_id
from schemas.codec import Codec
from schemas.messages import position_of
from streams.delivery.protocol import Envelope, Outcome
from streams.dispatch.agent import PARTNER_KEY, PartnerView
from streams.dispatch.attempts import NO_ANSWER
from streams.runtime.runner import Step, steady_clock
from topology.model import Pipeline

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Seconds; the buckets that the conventions name."""
ATTEMPT_SECONDS = (*BUCKETS, 20, 30, 60)
"""Partners may take long: the time-out is 30 s unless it says another."""
ATTEMPT_BUCKETS = (0, 1, 2, 3, 4, 5, 10, 20, 50)
"""Attempts of one life; 0: it died before the first."""
PARTNER_STATES = ("closed", "open", "half-open", "paused", "stopped")
MOST_OPENINGS = 3
"""Of one input that count as progress: a commit may fail now and then, but not whatever is done again and again."""
DEAD_LETTERS_LOGGED = 20
"""Per transaction; the rest is counted in one line. A flood of bad records must not become a flood of logs."""

log = structlog.get_logger("waybill")

_topic = itemgetter(0)


class Metrics:
    """Every metric of a worker, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        stage = ("pipeline", "stage")
        self.consumed = Counter(
            "messaging_client_consumed_messages", "Messages taken from the input topic", stage, registry=self.registry
        )
        self.sent = Counter(
            "messaging_client_sent_messages",
            "Messages committed, by topic; tables and audit included",
            (*stage, "topic"),
            registry=self.registry,
        )
        self.duration = Histogram(
            "messaging_process_duration_seconds",
            "From fetch to commit of a chunk",
            stage,
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.transactions = Counter(
            "waybill_transactions",
            "Turns by result: commit, abort, stale, indeterminate, failed",
            (*stage, "result"),
            registry=self.registry,
        )
        self.dead_letters = Counter(
            "waybill_dead_letters", "Dead letters, by class", (*stage, "error_class"), registry=self.registry
        )
        self.batches = Counter(
            "waybill_batch_close", "Frozen batches, by why they were closed", ("pipeline", "reason"),
            registry=self.registry,
        )  # fmt: skip
        self.partitions = Gauge(
            "waybill_partitions", "Partitions restored and being worked", stage, registry=self.registry
        )
        self.progress_age = Gauge(
            "waybill_progress_age_seconds", "Since the last turn of the loop", stage, registry=self.registry
        )
        partition = (*stage, "partition")
        self.lag = Gauge(
            "waybill_lag_messages", "Input not taken yet, transaction markers counted", partition,
            registry=self.registry,
        )  # fmt: skip
        self.waiting = Gauge(
            "waybill_input_waiting_seconds",
            "How long a partition's input has been there without anything of it being taken",
            partition,
            registry=self.registry,
        )
        self.unsettled = Gauge(
            "waybill_unsettled_batches", "Batches without a final answer", ("pipeline",), registry=self.registry
        )
        self.waits = Gauge(
            "waybill_waiting_records", "Records that wait for what must come before them (`items.wait`)",
            ("pipeline", "partition"), registry=self.registry,
        )  # fmt: skip
        partner = ("pipeline", "partner")
        self.attempts = Counter(
            "waybill_partner_attempts",
            "Attempts answered or given up, by what they came to and the class of the HTTP status (none: no answer)",
            (*partner, "outcome", "status"),
            registry=self.registry,
        )
        self.attempt_seconds = Histogram(
            "waybill_partner_attempt_seconds", "From the begin of an attempt to its answer, or to when it was given up",
            partner, buckets=ATTEMPT_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.partner_state = Gauge(
            "waybill_partner_state",
            "1 for the state a partner is in: closed, open, half-open, paused, stopped",
            (*partner, "state"),
            registry=self.registry,
        )
        self.partner_paused = Gauge(
            "waybill_partner_paused", "1 while an operator has paused a partner", partner, registry=self.registry
        )
        self.partner_cap = Gauge(
            "waybill_partner_batch_cap_records", "Records that a batch for a partner may have (`adaptive`)", partner,
            registry=self.registry,
        )  # fmt: skip
        self.partner_left = Gauge(
            "waybill_partner_attempts_left",
            "Attempts that may still fail before a dead letter, of the unsettled batch that has the fewest left",
            partner,
            registry=self.registry,
        )
        self.partner_time_left = Gauge(
            "waybill_partner_deadline_seconds",
            "Until a batch without a final answer is given up (`deadline`), of the one whose time is up first",
            partner,
            registry=self.registry,
        )
        self.partner_used = Histogram(
            "waybill_partner_attempts_used",
            "Attempts that a batch had when it was settled (sent, dead), those that an outage cost included",
            (*partner, "state"),
            buckets=ATTEMPT_BUCKETS,
            registry=self.registry,
        )
        self.partner_unsettled = Gauge(
            "waybill_partner_unsettled_batches", "Batches of a partner without a final answer", partner,
            registry=self.registry,
        )  # fmt: skip
        self.partner_age = Gauge(
            "waybill_partner_queue_age_seconds",
            "Since the first record of a partner's oldest unsettled batch was recorded",
            partner,
            registry=self.registry,
        )


class Observer:
    """Watches the steps of one stage."""

    def __init__(
        self,
        metrics: Metrics,
        pipeline: Pipeline,
        stage: str,
        codec: Codec,
        schema_version: str,
        clock: Callable[[], int] = steady_clock,
    ) -> None:
        """clock: ms since epoch, the one by which the stage stamps its attempts."""
        self._metrics, self._codec, self._clock = metrics, codec, clock
        self._labels = (pipeline.pipeline, stage)
        self._log = log.bind(pipeline=pipeline.pipeline, stage=stage, schema_version=schema_version)
        self.last_turn = time.monotonic()
        self._again: dict[str, int] = {}
        """When partners that are left alone are asked again, ms since epoch."""
        self._caps: dict[str, int] = {}
        self._waits: set[int] = set()
        """Records that batches may have, as told last."""
        self.moved: dict[int, float] = {}
        """When input of a partition was committed last, or gone on with that takes long to open; monotonic."""
        self._openings: dict[int, int] = {}
        """Partitions whose input is being opened, and how often that was undone: see MOST_OPENINGS."""

    def alive(self) -> None:
        """The loop turns, or what it does in this turn goes on."""
        self.last_turn = time.monotonic()

    def __call__(self, step: Step) -> None:
        self.alive()
        if step.result == "idle":
            return
        metrics, labels = self._metrics, self._labels
        metrics.transactions.labels(*labels, step.result).inc()
        if step.error is not None:
            self._log.warning("redone", result=step.result, error=f"{type(step.error).__name__}: {step.error}")
            self._openings = {partition: undone + 1 for partition, undone in self._openings.items()}
        if step.work is not None and step.result in ("commit", "rebuilt-window"):
            for partition in step.work.opening:
                if self._openings.setdefault(partition, 0) < MOST_OPENINGS:
                    self.moved[partition] = self.last_turn
        if step.result != "commit" or step.work is None:
            return
        if step.messages:
            self.moved.update(dict.fromkeys(step.work.offsets, self.last_turn))
            for partition in step.work.offsets.keys() & self._openings.keys():
                del self._openings[partition]
        metrics.consumed.labels(*labels).inc(step.messages)
        metrics.duration.labels(*labels).observe(step.seconds)
        topics = Tally(map(_topic, step.work.outputs))
        for topic, count in topics.items():
            metrics.sent.labels(*labels, topic).inc(count)
        self._log.debug(
            "committed",
            messages=step.messages,
            latency_ms=round(step.seconds * 1000, 1),
            offsets=step.work.offsets,
            **{name.replace("-", "_"): count for name, count in sorted(topics.items())},
        )
        if "dead-letter" in topics:
            self._dead_letters(step)
        if "delivery" in topics:
            self._deliveries(step)
        if "batched" in topics:
            self._batches(step)

    def answered(self, envelope: Envelope, outcome: Outcome) -> None:
        """An attempt came to its end."""
        status = f"{outcome.status // 100}xx" if outcome.status is not None else "none"
        self._metrics.attempts.labels(self._labels[0], envelope.partner, outcome.kind.value, status).inc()
        if outcome.seconds is not None:
            self._metrics.attempt_seconds.labels(self._labels[0], envelope.partner).observe(outcome.seconds)

    def waits(self, counts: Mapping[int, int]) -> None:
        """How many records wait, by partition; of a partition that is not here, another worker tells."""
        pipeline = self._labels[0]
        for partition in self._waits - counts.keys():
            self._metrics.waits.remove(pipeline, str(partition))
        self._waits = set(counts)
        for partition, count in counts.items():
            self._metrics.waits.labels(pipeline, str(partition)).set(count)

    def partners(self, views: Iterable[PartnerView]) -> None:
        """How partners stand now."""
        for view in views:
            labels = self._labels[0], view.partner
            for state in PARTNER_STATES:
                self._metrics.partner_state.labels(*labels, state).set(state == view.state)
            self._metrics.partner_paused.labels(*labels).set(view.paused)
            self._metrics.partner_unsettled.labels(*labels).set(view.unsettled)
            self._metrics.partner_left.labels(*labels).set(view.attempts_left)
            if view.time_left is not None:
                self._metrics.partner_time_left.labels(*labels).set(view.time_left / 1000)
            if view.cap is not None:
                self._metrics.partner_cap.labels(*labels).set(view.cap)
            self._metrics.partner_age.labels(*labels).set(max(0, view.age) / 1000)

    def _outputs(self, step: Step, topic: str) -> list[bytes]:
        work = step.work
        return [o.value for o in work.outputs if o.topic == topic and o.value is not None] if work else []

    def _dead_letters(self, step: Step) -> None:
        letters = [self._codec.decode(value)[1] for value in self._outputs(step, "dead-letter")]
        for error_class, count in Tally(letter["error_class"] for letter in letters).items():
            self._metrics.dead_letters.labels(*self._labels, error_class).inc(count)
        for letter in letters[:DEAD_LETTERS_LOGGED]:
            self._log.warning(
                "dead letter",
                id=record_id(position_of(letter)),
                digest=letter["digest"].hex(),
                site=letter["site"],
                error_class=letter["error_class"],
                codes=[finding["code"] for finding in letter["findings"]],
                latency_ms=round(step.seconds * 1000, 1),
                since_recorded_ms=self._since(letter["recorded_at"]),
            )
        if len(letters) > DEAD_LETTERS_LOGGED:
            last = record_id(position_of(letters[DEAD_LETTERS_LOGGED - 1]))
            self._log.warning("more dead letters", count=len(letters) - DEAD_LETTERS_LOGGED, after=last)

    def _deliveries(self, step: Step) -> None:
        """Rows about partners first: how long a batch waits for its partner stands there."""
        batches = []
        for output in step.work.outputs if step.work else ():
            if output.topic != "delivery":
                continue
            key, value = output.key or b"", output.value
            if key.startswith(PARTNER_KEY):
                self._partner(key.removeprefix(PARTNER_KEY).decode(), value)
            elif value is not None:
                batches.append(self._codec.decode(value)[1])
        for row in batches:
            self._batch(row, step.work.ended.get(row["batch_id"]) if step.work else None)

    def _partner(self, name: str, value: bytes | None) -> None:
        row = None if value is None else self._codec.decode(value)[1]
        if row is not None and row["sizing"] is not None:
            self._cap(name, row["sizing"]["records"])
        if row is None or row["state"] == "well":
            if self._again.pop(name, None) is not None or row is None:
                self._log.info("partner is well again", partner=name)
        elif self._again.get(name) != row["until"]:
            self._again[name] = row["until"]
            self._left_alone(row)

    def _cap(self, name: str, records: int) -> None:
        if self._caps.get(name) != records:
            self._caps[name] = records
            self._log.info("batch cap", partner=name, records=records)

    def _batch(self, row: dict[str, Any], heard: bool | None) -> None:
        """OBS-07: every attempt but the last has one warning, with its number, why it was not the last, and how long
        the next one waits."""
        state, attempt = row["state"], row["attempt"]
        if state in ("sent", "dead"):
            self._metrics.partner_used.labels(self._labels[0], row["partner"], state).observe(attempt)
            tell, what = (self._log.info, "delivered") if state == "sent" else (self._log.error, "batch is dead")
            tell(what, **self._known(row), records=row["count"])
        elif state == "split":
            self._log.warning("batch goes on in halves", **self._known(row), records=row["count"])
        elif state == "pending" and attempt and heard:  # else the row says anew what was told
            if row["spared"] and not row["not_before"]:
                again = self._again.get(row["partner"])
                delay, what = None if again is None else max(0, again - self._clock()), "waits for its partner"
            else:
                delay, what = max(0, row["not_before"] - row["last_attempt_at"]), "retry"
            delay_s = None if delay is None else delay / 1000
            self._log.warning(what, **self._known(row), delay_s=delay_s, unknown=row["unknown"])
        elif state == "in_flight" and heard is False:
            known = self._known(row) | {"attempt": attempt - 1, "answer": NO_ANSWER, "latency_ms": None}
            self._log.warning("retry", **known, delay_s=0.0, unknown=row["unknown"])

    def _left_alone(self, row: dict[str, Any]) -> None:
        """A partner that refuses us needs people (401, 403); the others may come back by themselves."""
        tell = self._log.error if row["state"] == "stopped" else self._log.warning
        what = {"open": "partner is down", "paused": "partner asks for patience", "stopped": "partner refuses us"}
        seconds = max(0, row["until"] - row["at"]) / 1000
        tell(what[row["state"]], partner=row["partner"], answer=row["answer"], again_in_s=seconds)

    def _known(self, row: dict[str, Any]) -> dict[str, Any]:
        """What every line about a delivery says. A batch that died before any attempt has no digest and no latency."""
        digest, began = row["body_digest"], row["last_attempt_at"]
        return {
            "batch": row["batch_id"].hex(),
            "digest": digest.hex() if digest is not None else None,
            "partner": row["partner"],
            "attempt": row["attempt"],
            "answer": row["answer"],
            "latency_ms": self._since(began) if began else None,
            "since_recorded_ms": self._since(row["recorded_at"]),
        }

    def _since(self, ms: int) -> int:
        """Milliseconds since a time, which another clock may have told."""
        return max(0, self._clock() - ms)

    def _batches(self, step: Step) -> None:
        for value in self._outputs(step, "batched"):
            name, batched = self._codec.decode(value)
            if name == "batched":
                self._metrics.batches.labels(self._labels[0], batched["close_reason"]).inc()
