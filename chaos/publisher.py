"""Publishes a round's load, and knows of every message where it lies: the round's manifest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from confluent_kafka import Producer

from chaos.checker.evidence import Message
from chaos.checker.kafka import read_topic
from chaos.load import MORE_PRODUCTS, NOWHERE, PRODUCTS, Load, Sent

RATE, MESSAGES = 40, 600
"""So many messages a second while the faults are at work, up to so many: 15 s."""
TRICKLE = 5
"""Messages a second after those: a fault that drags on, on a busy machine, still meets traffic, but no backlog that
grows with the machine's slowness."""
FLUSH_SECONDS = 180.0
"""For the broker to take everything: it may just have been killed, on a busy machine."""


class Publisher:
    """Publishes the load, and writes down where each message lies."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, seed: int, several: bool = False) -> None:
        """several: there are products for several partners."""
        self.taken: list[Sent] = []
        self._bootstrap, self._topic, self._partitions = bootstrap, topic, partitions
        self._load = Load(seed, products=MORE_PRODUCTS if several else PRODUCTS)
        self._lock = threading.Lock()
        self._producer: Any = Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 2, "log_level": 0,
             "delivery.timeout.ms": int(1000 * FLUSH_SECONDS), "retry.backoff.max.ms": 200}
        )  # fmt: skip
        self._made = 0

    def run(self, over: Callable[[], bool]) -> None:
        """At a steady rate, until it is over."""
        started = time.monotonic()
        while not over():
            due = made_by(time.monotonic() - started) - self._made
            with self._lock:
                for sent in self._load.take(max(0, due)):
                    self._send(sent)
                self._made += max(0, due)
            self._producer.poll(0.02)

    def flood(self, values: list[bytes]) -> None:
        """Refused messages in a row."""
        with self._lock:
            for value in values:
                self._send(Sent("flood", value, "bad", [{"index": 0, "id": "", "kind": "bad", "wrong": [""]}]))

    def recent(self, count: int, products: Collection[str] = MORE_PRODUCTS) -> list[str]:
        """Ids of the last readings of these products that the broker took."""
        good = [sent.records[0] for sent in self.taken[-200:] if sent.kind == "good"]
        return [record["id"] for record in good if record["value"]["product"] in products][-count:]

    def flush(self) -> None:
        """Everything is with the broker. Raises AssertionError where that takes too long."""
        left = self._producer.flush(FLUSH_SECONDS)
        assert left == 0, f"{left} messages could not be published in {FLUSH_SECONDS:g} s"
        if any(sent.offset is None for sent in self.taken):
            locate(self.taken, read_topic(self._bootstrap, self._topic, self._partitions))

    def _send(self, sent: Sent) -> None:
        def taken(error: Any, message: Any) -> None:
            assert error is None, f"a message could not be published: {error}"
            sent.partition, sent.offset = message.partition(), message.offset()
            self.taken.append(sent)

        self._producer.produce(self._topic, sent.value, sent.key, on_delivery=taken)


def made_by(seconds: float) -> int:
    """Messages that are due so long after the first."""
    return int(min(seconds * RATE, MESSAGES + max(0.0, seconds - MESSAGES / RATE) * TRICKLE))


def locate(taken: Sequence[Sent], messages: Iterable[Message]) -> None:
    """Finds the places that the broker did not name: it acknowledges a batch that was sent twice, the first time before
    it was killed, without an offset. Among the messages of `raw` that nobody claims, each belongs to the first one in
    the order of publishing that has its key and bytes. What is not found keeps no offset, which the checker finds."""
    named = {(sent.partition, sent.offset) for sent in taken}
    free = [message for message in messages if (message.partition, message.offset) not in named]
    for sent in taken:
        if sent.offset is not None:
            continue
        mine = (sent.partition, sent.key.encode(), sent.value)
        found = next((m for m in free if (m.partition, m.key, m.value) == mine), None)
        if found is None:
            sent.offset = NOWHERE
        else:
            sent.offset = found.offset
            free.remove(found)
