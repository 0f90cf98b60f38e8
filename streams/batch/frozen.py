"""How a sealed window is written: the frozen batch on `batched`, and the row that says how far its line is sealed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import orjson

from schemas.batched import encode_batched
from schemas.codec import Codec
from streams.batch.window import Line, Sealed
from streams.stage import Output
from topology.model import Pipeline, partition_for


def line_key(partition: int, line: Line) -> bytes:
    """Row key in the windows table."""
    return orjson.dumps([partition, line.group, line.date])


def frozen(pipeline: Pipeline, codec: Codec, partition: int, sealed: Sealed, observed_at: int) -> Iterator[Output]:
    """The messages of one sealed window. observed_at: wall clock, ms; it goes into a header, never into content."""
    window = sealed.window
    batched = encode_batched(
        codec,
        {
            "batch_id": sealed.batch_id,
            "pipeline": pipeline.pipeline,
            "partition": partition,
            "group": window.line.group,
            "date": window.line.date,
            "partner": window.partner,
            "close_reason": sealed.reason,
            "first_recorded_at": window.first_recorded_at,
            "last_recorded_at": window.last_recorded_at,
            "topology_version": pipeline.version,
            "life": 1,
            "passport": None,
            "count": len(window.records),
        },
        window.records,
    )
    stamp = datetime.fromtimestamp(observed_at / 1000, UTC)
    flushed = stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    target = partition_for(window.partner, pipeline.partitions)
    yield Output("batched", target, window.partner.encode(), batched, (("waybill-flushed-at", flushed.encode()),))
    row = {
        "partition": partition,
        "group": window.line.group,
        "date": window.line.date,
        "sealed_through": window.last_offset,
    }
    yield Output("windows", partition, line_key(partition, window.line), codec.encode("window", row))
