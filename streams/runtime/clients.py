"""Settings of every Kafka client of a worker, and the form of a consumer's group metadata. Pure: makes no client.

Sources: DESIGN.md rules TX1 to TX6. What a guarantee rests on cannot be overridden.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import NamedTuple

from streams.runtime.log import StaleMember
from topology.model import Pipeline
from topology.topics import message_limit

Settings = dict[str, str | int | bool]

CLIENT_LOG = logging.getLogger("kafka.client")
"""Where librdkafka's own lines go: without it they are written to stderr as they are. Not for consumers: their close
serves callbacks, and one of several hundred ended in a SystemError of the client (seen with 2.16.1)."""
SESSION_MS = 10_000
"""A silent member's partitions go to another one after this; with the transaction time-out, the fail-over time."""
FETCH_WAIT_MS = 500
"""How long a broker keeps a group's fetch that finds nothing; it answers at once when a message is committed. It is
also how late a partition is read again that was paused, or read from elsewhere, while the broker's others are quiet."""
LONG_FETCH_MS = 5_000
"""How long a broker keeps a fetch of the control topic that finds nothing: a message ends the wait at once, and
following a topic in which nothing happens costs next to nothing."""
BROKER_CLEANUP_SECONDS = 10.0
"""Default of transaction.abort.timed.out.transaction.cleanup.interval.ms: how much later than its time-out an
abandoned transaction may end."""

FIXED = {
    "acks",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "partition.assignment.strategy",
    "transactional.id",
}
CONSUMER_ONLY = {"session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms"}
PRODUCER_ONLY = {"transaction.timeout.ms", "linger.ms", "batch.size", "compression.type", "message.timeout.ms"}


class ClientSettings(NamedTuple):
    """The settings of one stage's clients."""

    common: Settings
    """For every client: where the cluster is, and how to get in."""
    consumer: Settings
    producer: Settings
    reader: Settings
    """A consumer without a group, for tables and single messages."""
    transaction_seconds: float
    """transaction.timeout.ms"""

    @property
    def patience(self) -> float:
        """Seconds to wait for an open transaction of another producer: its time-out and the broker's cleanup, and as
        much again for a slow broker. Longer is a loud stop (TX1)."""
        return 2 * (self.transaction_seconds + BROKER_CLEANUP_SECONDS)


def client_settings(
    bootstrap: str, pipeline: Pipeline, stage: str, slot: int, thread: int, overrides: Mapping[str, str]
) -> ClientSettings:
    """Settings for a stage. Raises ValueError where an override would break a guarantee."""
    if fixed := sorted(FIXED & overrides.keys()):
        raise ValueError(f"client settings {', '.join(fixed)} cannot be changed: exactly-once rests on them")
    session = int(overrides.get("session.timeout.ms", SESSION_MS))
    transaction = int(overrides.get("transaction.timeout.ms", session * 4 // 5))
    if transaction >= session:
        raise ValueError(
            f"transaction.timeout.ms ({transaction}) must be below session.timeout.ms ({session}): "
            "else a new owner waits for its predecessor's transaction longer than for its session"
        )
    group, who = pipeline.group_id(stage), pipeline.transactional_id(stage, slot, thread)
    everywhere = {k: v for k, v in overrides.items() if k not in CONSUMER_ONLY | PRODUCER_ONLY}
    common: Settings = {"bootstrap.servers": bootstrap, "client.id": who, **everywhere}
    reading: Settings = {
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # TX3: a skip is never silent
        "fetch.queue.backoff.ms": 10,  # TX5: the default 1000 starves a fast reader
        "fetch.wait.max.ms": 100,  # how late a reader learns that it is at the end
        "fetch.error.backoff.ms": 50,
    }
    consumer = (
        common
        | reading
        | {
            "group.id": group,
            "group.protocol": "classic",
            "partition.assignment.strategy": "range",
            "session.timeout.ms": session,
            "heartbeat.interval.ms": max(1, session // 4),
            "fetch.wait.max.ms": FETCH_WAIT_MS,
        }
    )
    reader = common | reading | {"group.id": f"{group}.reader", "enable.partition.eof": True}
    producer = common | {
        "transactional.id": who,
        "transaction.timeout.ms": transaction,
        "retry.backoff.ms": 1,  # TX6: else 100 ms between transactions
        "retry.backoff.max.ms": 20,
        "compression.type": "lz4",
        "linger.ms": 2,  # commit flushes anyway; this only lets batches form
        "message.max.bytes": message_limit(pipeline),
        "queue.buffering.max.messages": 500_000,
    }
    consumer |= {k: v for k, v in overrides.items() if k in CONSUMER_ONLY}
    producer |= {k: v for k, v in overrides.items() if k in PRODUCER_ONLY}
    return ClientSettings(common, consumer, producer, reader, transaction / 1000)


def control_reader(bootstrap: str) -> Settings:
    """Settings of a consumer without a group that reads the control topic from its beginning."""
    return {
        "bootstrap.servers": bootstrap,
        "group.id": "waybill.control.reader",  # asked for by the client; nothing is ever committed
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": LONG_FETCH_MS,
        "log_level": 0,
    }


def whole_ms(seconds: float) -> float:
    """A wait as the client takes it: it cuts to whole milliseconds, and what is less is no wait at all, so that a loop
    up to a deadline asked it some 370 times in its last millisecond (0.5 ms of processor time, with 2.16.1)."""
    return math.ceil(seconds * 1000) / 1000


TOKEN_PREFIX = b"CGMDv2:"


def check_token(token: object) -> bytes:
    """Group metadata that a broker will check. Raises StaleMember for any other form.

    librdkafka 2.16 writes `CGMDv2:`, the generation as 4 bytes little-endian, group, member. A broker takes
    generation -1 with an empty member id unfenced, so that form must never be sent.
    """
    if not isinstance(token, bytes) or not token.startswith(TOKEN_PREFIX) or len(token) < len(TOKEN_PREFIX) + 4:
        raise StaleMember(f"no group metadata of a known form: {token!r:.80}")
    generation = int.from_bytes(token[len(TOKEN_PREFIX) : len(TOKEN_PREFIX) + 4], "little", signed=True)
    if generation < 0:
        raise StaleMember(f"group metadata of generation {generation}: not a member of the group")
    return token
