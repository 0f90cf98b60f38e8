"""`waybill trace`: the life of one record, from the publisher's message to the final answer and its audit entries."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waybill.context import Brokers, Folder, Json, find_brokers, load_some, pipeline_and_id
from waybill.output import (
    KEY_SEPARATOR,
    Code,
    Fault,
    count,
    emit,
    event_utc,
    finding_text,
    finish,
    key_text,
    line,
    safe,
    say,
    utc,
)

if TYPE_CHECKING:
    from schemas.canonical import RawPosition
    from schemas.pack import ItemSearch
    from topology.model import Pipeline
    from waybill.life import Finder, Life, Step

HEX = re.compile(r"[0-9a-fA-F]{64}(/\d+)?")
POSITION = re.compile(r".+/\d+/\d+(/\d+)?")
AWAITED = 5
"""Things named that a record waits for."""
DETAILED = 10
"""Records shown step by step; above it one line each."""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(trace)


def trace(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[PIPELINE] ID",
            help="record id, submission id, position on another topic, digest, batch id, key (fields joined by |), "
            "an item of EPCIS events (EPC URN or Digital Link), or such an event: its eventID or event hash",
        ),
    ],
    pipeline: Annotated[str | None, typer.Option(help="look here only; as PIPELINE before the id")] = None,
    audit: Annotated[bool, typer.Option("--audit/--no-audit", help="with the audit entries, at the end")] = True,
    brokers: Brokers = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Show what a record is, its every stage, position, batch, attempt, answer, digest and audit entry, and its state.
    Without a pipeline it is looked for in every one that the cluster has.

    Exit 1: nothing is known of it; 3: it has no final answer yet.
    """
    from topology.lanes import each_lane
    from waybill.commands.reconcile import present
    from waybill.life import Finder
    from waybill.reader import Decoder, Reader

    pipeline, id = pipeline_and_id(words, pipeline)
    cluster = find_brokers(brokers)
    candidates = each_lane(present(cluster, load_some(pipeline, folder), named=pipeline is not None))
    for one in candidates:
        with Reader(cluster) as reader:
            finder = Finder(reader, Decoder(one), one)
            lives = find(finder, reader, one, id)
        if lives:
            show(lives, one, json, audit)
            if HEX.fullmatch(id):
                show_result(id, lives, one, json)
            finish(Code.INCOMPLETE if any(life.in_flight for life in lives) else Code.FINE)
    names = ", ".join(one.pipeline for one in candidates)
    raise Fault(f"nothing is known of {id!r} in {names}", Code.FOUND)


def find(finder: Finder, reader: Any, pipeline: Pipeline, text: str) -> list[Life]:
    """The records an id speaks of; none where it speaks of nothing here."""
    from schemas.canonical import UNIT_SEPARATOR
    from schemas.packs import item_search

    if (search := item_search(pipeline.pack, text)) is not None:
        return by_item(finder, search)
    if HEX.fullmatch(text):
        name, _, index = text.partition("/")
        positions = by_digest(finder, bytes.fromhex(name), int(index) if index else None)
        return finder.lives(positions, audit=len(positions) <= DETAILED) if positions else []
    if POSITION.fullmatch(text):
        return by_position(finder, reader, pipeline, text)
    key = text.replace(KEY_SEPARATOR, UNIT_SEPARATOR)
    positions = finder.records(key.encode(), lambda fields: fields["key"] == key)
    return finder.lives(positions, audit=len(positions) <= DETAILED) if positions else []


def by_item(finder: Finder, search: ItemSearch) -> list[Life]:
    """The records that name an item or event, valid and refused, by the times of their events; those without a time
    last."""
    from schemas.canonical import UNIT_SEPARATOR

    def matches(fields: dict[str, Any]) -> bool:
        if search.key_field is not None and search.key_field in (fields["key"] or "").split(UNIT_SEPARATOR):
            return True
        return search.names(fields.get("payload") or fields.get("original") or b"")

    def when(life: Life) -> tuple[float, bool, int]:
        """At one time a duplicate stands behind what it repeats."""
        if not life.validated:
            return inf, False, 0
        fields = life.validated[0][1]
        return fields["event_time"], any(ack["outcome"] == "duplicate" for _, ack in life.sent), fields["recorded_at"]

    positions = finder.records(search.mark, matches)
    return sorted(finder.lives(positions, audit=len(positions) <= DETAILED), key=when) if positions else []


def by_digest(finder: Finder, digest: bytes, index: int | None) -> list[RawPosition]:
    """Members of a batch or a part of one, records of a submission with these bytes, or records with this payload."""
    from schemas.messages import position_of

    members = finder.members(digest) if index is None else []
    if members:
        return [position_of(finder.codec.decode(data)[1]) for data in members]

    def matches(fields: dict[str, Any]) -> bool:
        if fields["submission_digest"] == digest:
            return index is None or fields["raw_index"] == index
        return index is None and fields["digest"] == digest

    return finder.records(digest, matches)


def by_position(finder: Finder, reader: Any, pipeline: Pipeline, text: str) -> list[Life]:
    """A record or submission by its raw position, or the record a message of another topic is about."""
    from schemas.canonical import RawPosition, parse_record_id
    from schemas.messages import position_of
    from topology.model import EVENT_TOPICS
    from waybill import condemned

    try:
        raw = parse_record_id(text)
    except ValueError as error:
        raise Fault(str(error)) from error
    whole = not re.fullmatch(r".+/\d+/\d+/\d+", text)
    for short in EVENT_TOPICS:
        if raw.topic == pipeline.topic(short):
            if not whole:
                raise Fault(f"{text!r}: a position on {raw.topic} has the form topic/partition/offset")
            found = reader.at(raw.topic, raw)
            kind, fields = finder.codec.decode(found.value) if found and found.value else ("", {})
            if kind == "review":
                kind, fields = finder.codec.decode(fields["dead_letter"])
            named = [fields] if "raw_topic" in fields else []
            if kind == "dead_letter":
                named = list(condemned.each(fields, pipeline, finder.codec, reader))
            return finder.lives(map(position_of, named)) if named else []
    if raw.topic != pipeline.raw_topic:
        return []
    if not whole:
        lives = finder.lives([raw])
        known = [life for life in lives if life.validated or life.dead or life.sent]
        return known or [life for life in lives if life.submission is not None and not _counted(finder, raw)]
    lives = finder.lives([RawPosition(*raw[:4], -1)])
    if lives:
        return lives
    waiting = finder.lives([raw])
    return [life for life in waiting if life.submission is not None]


def _counted(finder: Finder, raw: RawPosition) -> bool:
    """Whether the submission was unpacked: then a record that is not there was never in it."""
    from schemas.canonical import RawPosition

    return bool(finder.lives([RawPosition(*raw[:4], -1)], audit=False))


def show(lives: list[Life], pipeline: Pipeline, json: bool, audit: bool = True) -> None:
    """Prints lives: step by step, or one line each where they are many."""
    from schemas.canonical import record_id
    from waybill.life import steps

    def told(life: Life) -> list[Step]:
        return [step for step in steps(life, pipeline) if audit or step.name != "AUDIT"]

    for life in lives:
        id = record_id(life.raw)
        detailed = len(lives) <= DETAILED
        what = brief_of(life, pipeline)
        if json:
            for step in told(life):
                emit({"record": id, "step": step.name, "at": utc(step.at), "position": step.position, **facts(step)})
        answer = life.answer
        if json:
            emit(
                {
                    "record": id,
                    "step": "STATE",
                    "what": what or None,
                    "state": life.state,
                    "transmission": life.transmission,
                    "in_flight": life.in_flight,
                    "answer": answer[0] if answer else None,
                    "outcome": _outcome(life),
                    "batch_id": life.batch_id,
                    "delivery": None if life.delivery is None else _delivery(life.delivery),
                    "deadline": utc(_deadline(life, pipeline)),
                    "waits": waits_for(life, pipeline) or None,
                    "duplicates": [record_id(raw) for raw in life.repeats],
                }
            )
            continue
        batch = f", batch {life.transmission}" if life.transmission else ""
        ends = utc(_deadline(life, pipeline))
        flying = (f", in flight until {ends}" if ends else ", in flight") if life.in_flight else ""
        words = "  ".join([value if name == "type" else f"{name}={value}" for name, value in what.items()])
        short = f"  {safe(words)}" if words else ""
        line(f"{safe(id)}  {life.state}  ({_outcome(life) or 'no answer yet'}{batch}{flying})" + short * (not detailed))
        if short and detailed:
            line(short)
        if waits := waits_for(life, pipeline):
            line(f"  waiting for {safe(waits)}")
        if detailed:
            for step in told(life):
                line(f"  {utc(step.at) or '-':<24}  {step.name:<12}  {safe(step.position)}")
                line(f"  {'':<24}  {'':<12}  {safe(as_words(step))}")
            if life.repeats:
                line(f"  named by {count(len(life.repeats), 'duplicate')}: {', '.join(map(record_id, life.repeats))}")
    say(f"{count(len(lives), 'record')} of {pipeline.pipeline}")


def brief_of(life: Life, pipeline: Pipeline) -> Mapping[str, str]:
    """What the record is, in a few words of its field; empty where its pack says nothing of it."""
    from schemas.packs import brief

    held = life.validated[0][1]["payload"] if life.validated else life.dead[-1][1]["original"] if life.dead else None
    return brief(pipeline.pack, held) if held else {}


def waits_for(life: Life, pipeline: Pipeline) -> str:
    """What a record waits for, and until when by the time of the records; empty: it does not wait."""
    from schemas.packs import load_pack
    from schemas.state import state_rules

    row = life.waits
    if row is None or life.answer is not None:
        return ""
    if row["returning"]:
        return "its turn: it was written to `validated` again, and is not read there yet"
    if not row["lacks"]:
        return "records before it about the same things, which wait"
    rules = state_rules(load_pack(pipeline.pack, pipeline.options, pipeline.profile))
    words = [rules.awaited(key) if rules else key for key in row["lacks"][:AWAITED]]
    more = len(row["lacks"]) - len(words)
    return f"{', '.join(words)}{f' and {more} more' if more else ''}, until {utc(row['until'])}"


def show_result(id: str, lives: list[Life], pipeline: Pipeline, json: bool) -> None:
    """Prints what became of a batch, if the id is one's."""
    from waybill.batch_result import batch_result

    result = batch_result(bytes.fromhex(id.partition("/")[0]), lives)
    if result is None:
        return
    ends = [at for life in lives if (at := _deadline(life, pipeline)) is not None]
    facts = result._asdict() | {"processed_at": utc(result.processed_at), "deadline": utc(min(ends, default=None))}
    if json:
        emit({"record": None, "step": "RESULT", **facts})
        return
    words = [f"{name}={value.hex() if isinstance(value, bytes) else value}" for name, value in facts.items()]
    line("  ".join(word for word, value in zip(words, facts.values(), strict=True) if value is not None))


def _outcome(life: Life) -> str | None:
    answer = life.answer
    if answer is None:
        return None
    return str(answer[2]["outcome"]) if answer[0] == "sent" else f"dead-lettered by {answer[2]['stage']}"


def _deadline(life: Life, pipeline: Pipeline) -> int | None:
    """When a record's batch is given up, ms since epoch; None: never, or it is settled, or there is none yet."""
    from streams.dispatch.attempts import Terms
    from waybill.partners import ends

    return None if life.delivery is None else ends(Terms.of(pipeline), life.delivery, int(time.time() * 1000))


def _delivery(row: dict[str, Any]) -> dict[str, Any]:
    times = ("not_before", "first_attempt_at", "last_attempt_at", "recorded_at", "begun_at")
    return {name: utc(value or None) if name in times else value for name, value in row.items()}


def facts(step: Step) -> dict[str, Any]:
    """A step's facts with times in UTC."""
    found = dict(step.facts)
    if "event_time" in found:
        found["event_time"] = event_utc(found["event_time"])
    if "until" in found:
        found["until"] = utc(found["until"])
    return found


def as_words(step: Step) -> str:
    """A step's facts on one line."""
    parts = []
    for name, value in facts(step).items():
        if value is None or value is False or value in ([], "", {}):  # a zero is a fact
            continue
        if name == "findings" or name == "warnings":
            value = "; ".join(map(finding_text, value))
        elif name == "headers" or name == "passport":
            value = " ".join(f"{key}={item}" for key, item in value.items())
        elif name == "key":
            value = key_text(value)
        elif isinstance(value, bytes):
            value = value.hex()
        parts.append(f"{name}={value}")
    return "  ".join(parts)
