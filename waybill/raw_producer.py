"""Owns how a submission gets onto a raw topic: one idempotent producer, the SHA-256 of the bytes beside
them (ING-10), and what the broker said of each. `waybill publish` and the gateway both send through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from waybill.context import client_settings

if TYPE_CHECKING:
    from topology.model import Pipeline

DIGEST = "waybill-digest"
PRIORITY = "waybill-priority"
"""Names the lane on whose raw topic the submission is."""


def settings(brokers: str, pipelines: Iterable[Pipeline]) -> dict[str, Any]:
    """Of a producer for the raw topics of these pipelines: idempotent, acknowledged by all in-sync replicas."""
    from topology.topics import message_limit

    return client_settings(
        brokers,
        **{
            "enable.idempotence": True,
            "acks": "all",
            "message.max.bytes": max(map(message_limit, pipelines)),
            "linger.ms": 5,
            "compression.type": "lz4",
        },
    )


class Receipt(NamedTuple):
    """What became of one submission."""

    position: str | None = None
    """topic/partition/offset; None also where the broker acknowledged a repeated send without saying where the first
    one lies: the submission is there, once."""
    error: str | None = None
    """Why the broker did not acknowledge it. It may have it all the same (law 4)."""


class RawProducer:
    """Used from one thread at a time, apart from `poll`, which another one may call all the time."""

    def __init__(self, brokers: str, pipelines: Iterable[Pipeline], ack_seconds: float) -> None:
        """For the raw topics of these pipelines. `ack_seconds`: after these a submission's outcome is unknown. The
        client would hold a gigabyte: how much is handed over and not acknowledged yet is for the caller to bound."""
        from confluent_kafka import Producer

        waits = {"message.timeout.ms": round(ack_seconds * 1000)}
        self._producer: Any = Producer(settings(brokers, pipelines) | waits)

    def send(
        self,
        topic: str,
        value: bytes,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        answered: Callable[[Receipt], None],
    ) -> str:
        """Hands one submission to the client; its SHA-256 in hex. `answered` is called from `poll`, once. A digest
        among `headers` is left as it is. Raises BufferError while the client's queue is full."""
        digest = sha256(value).hexdigest()

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                answered(Receipt(error=error.str()))
            elif message.offset() is None:
                answered(Receipt())
            else:
                answered(Receipt(f"{message.topic()}/{message.partition()}/{message.offset()}"))

        receipt = [] if any(name == DIGEST for name, _ in headers) else [(DIGEST, digest.encode())]
        self._producer.produce(topic, value, key, headers=[*receipt, *headers], on_delivery=delivered)
        return digest

    def poll(self, seconds: float) -> None:
        """Gives out answers; waits for one up to `seconds`."""
        self._producer.poll(seconds)
