"""Owns how a command writes to the control topic: all of it acknowledged, or a Fault that says so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from waybill.context import client_settings, require_cluster
from waybill.output import Fault

ACK_SECONDS = 60.0


def write_control(brokers: str, messages: Iterable[tuple[bytes, bytes]], shown_by: str) -> None:
    """Writes messages (key, value) and waits for the broker's acks. `shown_by`: the command that tells whether they
    were taken. Raises Fault."""
    from confluent_kafka import Producer

    from topology.model import CONTROL_TOPIC

    if CONTROL_TOPIC not in require_cluster(brokers):
        raise Fault(
            f"{brokers} has no topic {CONTROL_TOPIC}: `waybill up PIPELINE` makes it; is this the right cluster?"
        )
    failed: list[str] = []

    def told(error: Any, _: Any) -> None:
        if error is not None:
            failed.append(error.str())

    producer = Producer(client_settings(brokers, **{"enable.idempotence": True}))
    for key, value in messages:
        producer.produce(CONTROL_TOPIC, value, key, 0, on_delivery=told)
        producer.poll(0)
    if producer.flush(ACK_SECONDS) or failed:
        why = failed[0] if failed else f"no ack within {ACK_SECONDS:g} s"
        raise Fault(f"{CONTROL_TOPIC}: not all may have been taken ({why}): {shown_by} shows it")
