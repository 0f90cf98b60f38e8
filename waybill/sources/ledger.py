"""Owns the one transaction of a source: a submission on `raw` and the row that says so, or neither.

A producer with the source's own transactional id: a second process of the same source fences the first, and whoever
starts ends what its predecessor left open. After any doubt the rows are read again from the topic, and they decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from confluent_kafka import KafkaException, Producer

from streams.runtime import failpoints
from topology.lanes import lane_named
from topology.model import Pipeline
from waybill.output import Fault
from waybill.raw_producer import DIGEST, PRIORITY, settings
from waybill.reader import Reader

INIT_SECONDS = 60.0
"""For a predecessor's transaction to be ended: a broker that restarts is back by then."""
COMMIT_SECONDS = 60.0
TRANSACTION_MS = 60_000
"""After which the broker aborts the transaction of a source that is gone."""


class Doubt(Exception):
    """Whether the submission is published is not known, or it is not. `Ledger.open` tells."""


class Ledger:
    """What one source has published. Used from one thread."""

    def __init__(self, brokers: str, pipeline: Pipeline, source: str, lane: str | None = None) -> None:
        """Connects at `open`. `pipeline`: as it is declared; `lane`: the source's. The rows are the same in every
        lane, so that a source that changes its lane publishes nothing again. Raises ValueError, in words, for a lane
        that the pipeline does not have."""
        self._brokers, self._pipeline = brokers, pipeline
        self._topic, self._raw = pipeline.source_topic(source), lane_named(pipeline, lane).raw_topic
        self._named = [] if lane is None else [(PRIORITY, lane.encode())]
        self._producer: Any = None

    def open(self) -> dict[bytes, bytes]:
        """Ends whatever is open of this source, and gives its rows as they stand. Raises Fault where the cluster does
        not answer."""
        if self._producer is not None:
            self._producer.purge()
        own = {"transactional.id": self._topic, "transaction.timeout.ms": TRANSACTION_MS}
        self._producer = Producer(settings(self._brokers, [self._pipeline]) | own)
        try:
            self._producer.init_transactions(INIT_SECONDS)
        except KafkaException as failed:
            raise Fault(f"the producer could not be set up at {self._brokers}: {failed.args[0].str()}") from failed
        with Reader(self._brokers) as reader:
            return {key: row.value for (_, key), row in reader.table(self._topic).items() if row.value is not None}

    def close(self) -> None:
        """Lets go of the client; a transaction that is open is ended by the next process."""
        if self._producer is not None:
            self._producer.purge()
        self._producer = None

    def publish(
        self,
        value: bytes | None,
        key: bytes,
        headers: Sequence[tuple[str, bytes]],
        rows: Mapping[bytes, bytes | None],
    ) -> str | None:
        """Publishes a submission (None: none) and rows (None: it is no more) together; topic/partition/offset, None
        where the broker does not say. Raises Doubt, and Fault where another process of this source has taken over."""
        assert self._producer is not None
        position: list[str] = []

        def delivered(error: Any, message: Any) -> None:
            if error is None and message.offset() is not None:
                position.append(f"{message.topic()}/{message.partition()}/{message.offset()}")

        try:
            self._producer.begin_transaction()
            if value is not None:
                digest = (DIGEST, sha256(value).hexdigest().encode())
                named = [digest, *self._named, *headers]
                self._producer.produce(self._raw, value, key, headers=named, on_delivery=delivered)
            for name, row in rows.items():
                self._producer.produce(self._topic, row, name, 0)
            failpoints.hit("source:before-commit")
            self._producer.commit_transaction(COMMIT_SECONDS)
        except (KafkaException, BufferError) as failed:
            error = failed.args[0] if isinstance(failed, KafkaException) else None
            if error is not None and error.fatal():
                raise Fault(f"another process of this source has taken over: {error.str()}") from failed
            raise Doubt(error.str() if error is not None else "the client's queue is full") from failed
        failpoints.hit("source:after-commit")
        return position[0] if position else None
