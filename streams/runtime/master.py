"""Reads the rows about trading partners from the control topic, each time to its end as it is at that moment.

A record that is at hand was taken in before; so were all rows that count for it, and they are read now. Nothing depends
on how fast this worker is.
"""

from __future__ import annotations

import time
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.codec import SingleObjectCodec, WireError
from streams.runtime.clients import control_reader
from streams.runtime.log import Abortable
from streams.validate.authorised import TradingPartners, decode
from topology.model import CONTROL_TOPIC

READ_SECONDS = 20.0
"""For the rows that are new; without them no record can be judged. Below HAND_OVER_SECONDS."""
LOOK_SECONDS = 0.5

log = structlog.get_logger("waybill")


class MasterReader:
    """Used by one thread at a time."""

    def __init__(self, bootstrap: str) -> None:
        self._partners = TradingPartners()
        self._codec = SingleObjectCodec()  # as all that stands in the control topic
        self._next = 0
        self._consumer: Any = Consumer(control_reader(bootstrap))
        self._consumer.assign([TopicPartition(CONTROL_TOPIC, 0, 0)])

    def current(self) -> TradingPartners:
        """The list with every row that the topic holds now. Raises Abortable where it cannot be read: that is no fault
        of any record."""
        deadline = time.monotonic() + READ_SECONDS
        end = self._end(deadline)
        while self._next < end:
            for message in self._consumer.consume(1000, LOOK_SECONDS):
                self._next = max(self._next, message.offset() + (0 if message.error() else 1))
                if message.error() is None and message.value() is not None:
                    self._learn(message)
            if self._next < end and time.monotonic() > deadline:
                raise Abortable(f"{CONTROL_TOPIC} could not be read to {end} in {READ_SECONDS:g} s")
        return self._partners

    def close(self) -> None:
        """Closes the client."""
        self._consumer.close()

    def _end(self, deadline: float) -> int:
        while True:
            left = max(0.1, deadline - time.monotonic())
            try:
                return int(self._consumer.get_watermark_offsets(TopicPartition(CONTROL_TOPIC, 0), timeout=left)[1])
            except KafkaException as failed:
                if time.monotonic() > deadline:
                    raise Abortable(f"{CONTROL_TOPIC} does not tell where it ends: {failed}") from failed
                time.sleep(LOOK_SECONDS)

    def _learn(self, message: Any) -> None:
        try:
            row = decode(self._codec, message.value())
        except WireError as unreadable:
            log.warning("a message of the control topic cannot be read", offset=message.offset(), error=str(unreadable))
            return
        if row is not None:
            self._partners.learn(row, message.timestamp()[1])
