"""`waybill tail`: a topic of a pipeline, decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from waybill.context import Brokers, Folder, Json, PipelineName, find_brokers, load, load_lane, require_topics
from waybill.moments import age, instant
from waybill.output import Code, Fault, emit, event_utc, finish, flush, key_text, line, safe, utc

if TYPE_CHECKING:
    from streams.stage import Message
    from waybill.reader import Decoder, Offsets, Reader

TIMES = ("recorded_at", "event_time", "first_recorded_at", "last_recorded_at", "written_at", "admitted_at",
         "not_before", "first_attempt_at", "last_attempt_at", "begun_at", "stream_time", "at")  # fmt: skip
"""Fields in ms since epoch."""
PREVIEW = 160
"""Characters of a payload shown on a line."""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(tail)


def tail(
    name: PipelineName,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="raw, validated, batched, sent, dead-letter, audit, …")],
    start: Annotated[str, typer.Option("--from", help="start, end, an RFC 3339 time, an age (10m), or @OFFSET")] = "",
    until_end: Annotated[bool, typer.Option("--until-end", help="stop at what is the end now")] = False,
    partition: Annotated[int | None, typer.Option(min=0, help="this partition only")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="stop after so many messages")] = None,
    brokers: Brokers = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Read a topic, decoded, one message a line. Without --until-end it goes on until Ctrl-C.

    Each partition in its order; between partitions there is none, as in Kafka. `control` is what operators ordered, and
    the list of trading partners, of all pipelines of the cluster.
    --from is `start` with --until-end, else `end`.
    """
    from topology.model import ANY_NAMES
    from waybill.reader import Decoder, Reader

    pipeline = load(name, folder) if topic == "control" else load_lane(name, folder)
    if topic not in ("raw", *ANY_NAMES, "control"):
        raise Fault(f"no topic {topic!r}; allowed: raw, {', '.join(ANY_NAMES)}, control")
    cluster = find_brokers(brokers)
    require_topics(cluster, pipeline, topic)
    full = pipeline.topic(topic)
    decoder = Decoder(pipeline)
    count = 0
    with Reader(cluster) as reader:
        ends = reader.ends(full)
        begin = offsets(reader, full, start or ("start" if until_end else "end"))
        if partition is not None:
            if partition not in begin:
                raise Fault(f"{full} has no partition {partition}; allowed: 0 to {len(begin) - 1}")
            begin = {partition: begin[partition]}
        for slice_ in reader.read(full, begin, ends.high if until_end else None):
            for message in slice_:
                row = decoded(decoder, full, topic, message)
                if json:
                    emit(row)
                else:
                    line(text(row))
                count += 1
                if limit is not None and count >= limit:
                    finish(Code.FINE)
            flush()
    finish(Code.FINE)


def offsets(reader: Reader, topic: str, start: str) -> Offsets:
    """Where to begin, by partition. Raises Fault for a text that says none of the allowed."""
    ends = reader.ends(topic)
    if start == "start":
        return ends.low
    if start == "end":
        return ends.high
    if start.startswith("@") and start[1:].isdigit():
        return {p: min(max(int(start[1:]), low), ends.high[p]) for p, low in ends.low.items()}
    return reader.at_time(topic, moment(start))


def moment(text: str) -> int:
    """RFC 3339 with its zone, or an age such as 90s, 10m, 2h, 1d: as ms since epoch. Raises Fault."""
    import time

    back = age(text)
    at = instant(text) if back is None else max(0, int(time.time() * 1000) - back)
    if at is None:
        raise Fault(
            f"--from {text!r}: expected start, end, @OFFSET, an age such as 10m, or a time with its zone such as "
            "2026-03-02T08:00:00Z"
        )
    return at


def decoded(decoder: Decoder, full: str, short: str, message: Message) -> dict[str, Any]:
    """A message as a row: position, time, kind, and its fields. What cannot be decoded says why."""
    row: dict[str, Any] = {
        "position": f"{full}/{message.partition}/{message.offset}",
        "at": utc(message.timestamp),
        "key": None if message.key is None else message.key.decode("utf-8", "backslashreplace"),
        "headers": {name: (value or b"").decode("utf-8", "backslashreplace") for name, value in message.headers},
    }
    if message.value is None:
        return row | {"kind": "tombstone", "value": None}
    if short == "raw":
        return row | {"kind": "raw", "value": as_text(message.value), "bytes": len(message.value)}
    try:
        kind, fields = decoder.decode(message.value)
    except ValueError as error:
        return row | {"kind": "undecodable", "error": str(error), "value": message.value.hex()}
    return row | {"kind": kind, "value": readable(decoder, fields)}


def readable(decoder: Decoder, fields: dict[str, Any]) -> dict[str, Any]:
    """Fields with times in UTC, JSON payloads as JSON, digests as hex, members of a batch decoded."""
    return {name: _value(decoder, name, value) for name, value in fields.items()}


def _value(decoder: Decoder, name: str, value: Any) -> Any:
    if name in TIMES and isinstance(value, int):
        return event_utc(value) if name == "event_time" else utc(value) if 0 < value < 2**60 else None
    if isinstance(value, dict):
        return readable(decoder, value)
    if isinstance(value, list):
        return [_value(decoder, name, item) for item in value]
    if isinstance(value, bytes):
        if name in ("payload", "original"):
            return as_text(value)
        if name in ("records", "dead_letter"):
            return readable(decoder, decoder.codec.decode(value)[1])
        return value.hex()
    return value


def as_text(data: bytes) -> str | dict[str, str]:
    """Bytes as text; as hex where they are none."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"hex": data.hex()}


def text(row: dict[str, Any]) -> str:
    """A row as one line for a person."""
    head = f"{row['at'] or '-'}  {row['position']}  {row['kind']}"
    value = row.get("value")
    if not isinstance(value, dict) or "hex" in value:
        body = row.get("error") or (value if isinstance(value, str) else f"{row.get('bytes', 0)} bytes")
        return f"{head}  {preview(safe(str(body)))}"
    return f"{head}  {safe(summary(row['kind'], value))}"


def summary(kind: str, value: dict[str, Any]) -> str:
    """What matters most in a message."""
    parts: list[str] = []
    if kind == "review":
        return f"{summary('dead_letter', value['dead_letter'])}  {value['why']}"
    if kind == "control":
        parts += [value["kind"], value["subject"], f"version {value['version']}", value["body"]]
        return "  ".join([*parts, f"by {value['actor']}: {value['reason']}"])
    if "raw_topic" in value:
        parts.append(f"{value['raw_topic']}/{value['raw_partition']}/{value['raw_offset']}/{value['raw_index']}")
    if kind == "batched":
        parts += [f"batch {value['batch_id']}", f"{value['count']} records", value["close_reason"]]
    if kind in ("sent_batch", "batched_again", "retain", "replay", "delivery"):
        parts.append(f"batch {value['batch_id']}")
    if kind == "audit_block":
        parts += [f"{value['stage']}/{value['partition']}", f"sequence {value['sequence']}"]
        parts += [f"{len(value['entries'])} entries", f"head {value['head']}"]
    if value.get("key"):
        parts.append(str(key_text(value["key"])))
    for name in ("outcome", "state", "error_class", "group", "date", "partner", "answer", "attempt"):
        if value.get(name) is not None:
            parts.append(str(value[name]))
    if kind == "cap":
        parts += [f"{value['records']} records", value["reason"]]
    parts += [f"{found['code']} {found['path']}".rstrip() for found in value.get("findings", [])]
    return "  ".join(parts) or preview(str(value))


def preview(text: str) -> str:
    """The beginning of a payload; `…` where more follows."""
    return text if len(text) <= PREVIEW else text[:PREVIEW] + "…"
