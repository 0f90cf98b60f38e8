"""Reads the control topic in full, by assignment: a group would give it to one worker only (DI5)."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, TopicPartition

from streams.runtime.log import Fatal
from topology.model import CONTROL_TOPIC


def read_control(bootstrap: str) -> int:
    """Reads the control topic to the end offset taken at start (DI5); returns how many messages there were.

    Nothing in it holds sends back yet; what does will stand here, and dispatch may not send before it was seen.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "waybill.control.reader",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(CONTROL_TOPIC, 0), timeout=30)
        consumer.assign([TopicPartition(CONTROL_TOPIC, 0, 0)])
        seen, position, deadline = 0, 0, time.monotonic() + 60
        while position < end:
            if time.monotonic() > deadline:
                raise Fatal(f"{CONTROL_TOPIC} could not be read to offset {end} in 60 s (DI5)")
            for message in consumer.consume(1000, 0.5):
                position = max(position, message.offset() + (0 if message.error() else 1))
                seen += 0 if message.error() else 1
        return seen
    finally:
        consumer.close()
