"""Follows the control topic and has dispatch obey it: read in full, from the beginning, by assignment, because a group
would give it to one worker only; then for as long as the worker runs, so that an order is obeyed within two seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.codec import SingleObjectCodec, WireError
from streams.dispatch.agent import DispatchStage
from streams.dispatch.orders import Order, Orders, decode
from streams.runtime.clients import control_reader
from streams.runtime.log import Fatal, LogError
from topology.model import CONTROL_TOPIC, Pipeline

READ_SECONDS = 60.0
"""For the topic as it was at the start; a worker that cannot read it must not send (DI5)."""
LOOK_SECONDS = 1.0
"""Between two looks at whether to stop."""
RETRY_SECONDS = 0.2

log = structlog.get_logger("waybill")


class ControlWatch(threading.Thread):
    """Keeps `orders` up to date. One for a process."""

    def __init__(self, bootstrap: str, tell: Callable[[LogError], None]) -> None:
        """`tell` is told what ends the following: orders that are not seen are not obeyed."""
        super().__init__(name="control", daemon=True)
        self.orders = Orders()
        self._brokers, self._tell = bootstrap, tell
        # Always this one: the topic is shared by pipelines with a schema registry and such without.
        self._codec = SingleObjectCodec()
        self._read, self._off = threading.Event(), threading.Event()
        self._wrong: LogError | None = None
        self._unreadable = 0

    def stop(self) -> None:
        """No more following."""
        self._off.set()

    def wait_read(self, stopping: threading.Event) -> bool:
        """Whether the topic has been read to the end offset taken at the start (DI5); waits for that, or for
        `stopping`. Raises Fatal."""
        deadline = time.monotonic() + READ_SECONDS
        while not self._read.wait(RETRY_SECONDS):
            if stopping.is_set():
                return False
            if self._wrong is not None:
                raise self._wrong
            if time.monotonic() > deadline:
                raise Fatal(f"{CONTROL_TOPIC} could not be read to its end in {READ_SECONDS:g} s")
        return True

    def run(self) -> None:
        try:
            self._follow()
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must learn of it and end
            self._wrong = Fatal(f"{CONTROL_TOPIC} cannot be followed: {type(error).__name__}: {error}")
            self._tell(self._wrong)

    def _follow(self) -> None:
        consumer: Any = Consumer(control_reader(self._brokers))
        try:
            end = self._end(consumer)
            consumer.assign([TopicPartition(CONTROL_TOPIC, 0, 0)])
            position = 0
            while not self._off.is_set():
                if position >= end and not self._read.is_set():
                    if self._unreadable:
                        log.warning("messages of the control topic cannot be read", count=self._unreadable)
                    self._read.set()
                for message in consumer.consume(1000, LOOK_SECONDS):
                    position = max(position, message.offset() + (0 if message.error() else 1))
                    if message.error() is None and message.value() is not None:
                        self._learn(message.offset(), message.value())
        finally:
            consumer.close()

    def _end(self, consumer: Any) -> int:
        """The end offset now; asked again while the cluster does not answer, for as long as it may take at all."""
        deadline = time.monotonic() + READ_SECONDS
        while True:
            try:
                return int(consumer.get_watermark_offsets(TopicPartition(CONTROL_TOPIC, 0), timeout=30)[1])
            except KafkaException:
                if time.monotonic() > deadline or self._off.wait(RETRY_SECONDS):
                    raise

    def _learn(self, offset: int, value: bytes) -> None:
        """What is no message of ours stops nobody: it names no partner that could be left alone."""
        try:
            order = decode(self._codec, value)
        except WireError as unreadable:
            self._unreadable += 1
            if self._read.is_set():
                log.warning("a message of the control topic cannot be read", offset=offset, error=str(unreadable))
            return
        if order is not None:
            self.orders.learn(order)


class Pauses:
    """Has a dispatch stage obey the orders about its partners. Used by the stage's thread alone."""

    def __init__(self, orders: Orders, pipeline: Pipeline) -> None:
        self._orders, self._pipeline = orders, pipeline
        self._obeyed: dict[str, Order] = {}
        self._seen = 0

    @property
    def waiting(self) -> bool:
        """Whether there are orders that have not been looked at."""
        return self._orders.learnt != self._seen

    def obey(self, stage: DispatchStage) -> None:
        """Looks at the orders as they are now; says so where one is new."""
        if not self.waiting:
            return
        learnt = self._orders.learnt
        paused, self._seen = self._orders.paused(self._pipeline), learnt
        for partner in paused.keys() - self._obeyed.keys():
            self._say(log.warning, "partner is paused", partner, paused[partner])
        for partner in self._obeyed.keys() - paused.keys():
            self._say(log.info, "partner is resumed", partner, self._orders.newest(self._pipeline, partner))
        self._obeyed = paused
        stage.pause(paused)

    def _say(self, tell: Callable[..., None], what: str, partner: str, order: Order | None) -> None:
        who = {} if order is None else {"by": order.actor, "reason": order.reason}
        tell(what, pipeline=self._pipeline.pipeline, partner=partner, **who)
