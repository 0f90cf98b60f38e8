"""Alterations of a round's evidence: each breaks one thing, as a fault of the system would, and keeps the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from typing import Any

import fastavro

from chaos.checker.evidence import Evidence, LedgerLine, Message
from chaos.checker.facts import Decoded, Effect, Facts, Place
from chaos.checker.judge import hold
from chaos.checker.wire import Reader


def found(evidence: Evidence, invariant: str) -> str:
    """Every finding of one invariant, as text."""
    return "\n".join(f"{f.words}: {', '.join(f.ids)}" for f in hold(Facts(evidence), invariant).findings)


def topics(evidence: Evidence, short: str, change: Callable[[list[Message]], list[Message]]) -> Evidence:
    """Another list of messages in one topic."""
    return replace(evidence, topics=evidence.topics | {short: change(evidence.topics[short])})


def without(evidence: Evidence, short: str, *messages: Message) -> Evidence:
    """Messages that were never written."""
    return topics(evidence, short, lambda found: [m for m in found if m not in messages])


def more(evidence: Evidence, short: str, message: Message, key: bytes | None = None) -> Evidence:
    """A message that was written once more, at the end of its partition."""
    last = max(m.offset for m in evidence.topics[short] if m.partition == message.partition)
    return topics(evidence, short, lambda found: [*found, message._replace(offset=last + 1, key=key or message.key)])


def instead(evidence: Evidence, short: str, message: Message, value: bytes | None) -> Evidence:
    """Other bytes in one message."""
    return topics(evidence, short, lambda found: [m._replace(value=value) if m == message else m for m in found])


def ledger(evidence: Evidence, *lines: LedgerLine) -> Evidence:
    """Another ledger."""
    return replace(evidence, ledger=list(lines))


def admin(evidence: Evidence, name: str, key: str, partition: int, by: int) -> Evidence:
    """An offset moved."""
    rows: dict[str, dict[int, int]] = getattr(evidence.admin, name)
    moved = rows | {key: rows[key] | {partition: rows[key][partition] + by}}
    changes: dict[str, Any] = {name: moved}
    return replace(evidence, admin=replace(evidence.admin, **changes))


def published(evidence: Evidence, where: Place, **changes: Any) -> Evidence:
    """A manifest that says otherwise of one record: the same as a system that did otherwise with it."""
    manifest = []
    for submission in evidence.manifest:
        if (submission.partition, submission.offset) == where[:2]:
            records = tuple(r._replace(**changes) if r.index == where[2] else r for r in submission.records)
            submission = submission._replace(records=records)
        manifest.append(submission)
    return replace(evidence, manifest=manifest)


def body(evidence: Evidence, batch: str, change: Callable[[bytes], bytes]) -> Evidence:
    """Other bytes at the partner."""
    if batch in evidence.bodies:
        return replace(evidence, bodies=evidence.bodies | {batch: change(evidence.bodies[batch])})
    objects = [o._replace(body=change(o.body)) if f"batch_{batch}.json" in o.path else o for o in evidence.objects]
    return replace(evidence, objects=objects)


def one_byte(record_id: str) -> Callable[[bytes], bytes]:
    """Alters one digit of the temperature of a record in a body."""

    def change(data: bytes) -> bytes:
        at = data.index(json.dumps(record_id).encode())
        digit = data.index(b'"temperature_c":"', at) + len(b'"temperature_c":"')
        digit += data[digit : digit + 1] == b"-"
        return data[:digit] + (b"1" if data[digit : digit + 1] != b"1" else b"3") + data[digit + 1 :]

    return change


def content(evidence: Evidence, batch: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Evidence:
    """Another JSON object at the partner: `change` gives the fields that differ."""

    def rewritten(data: bytes) -> bytes:
        found = json.loads(data)
        return json.dumps(found | change(found)).encode()

    return body(evidence, batch, rewritten)


class Finder:
    """Picks what to alter out of a round."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def encoded(self, message: Decoded, **changes: Any) -> bytes:
        """A message with other values, in the schema it was written with; the checksum of an audit block fits."""
        assert message.at.value is not None
        schemas = self.facts.admin.schemas
        (schema,) = (s for s in schemas.values() if Reader({message.name: s}).knows(message.at.value))
        out = BytesIO()
        out.write(message.at.value[:10])
        fastavro.schemaless_writer(out, fastavro.parse_schema(schema, named_schemas={}), message.value | changes)
        data = out.getvalue()
        return data[:-32] + sha256(data[:-32]).digest() if message.name == "block" else data

    def of(self, outcome: str, **fields: Any) -> Place:
        """The first record with an answer of this outcome and these fields."""
        return min(
            where
            for where, answers in self.facts.answers.items()
            if answers[0].outcome == outcome and all(answers[0].value[name] == v for name, v in fields.items())
        )

    def message(self, short: str, where: Place) -> Decoded:
        """The message of a record on a topic; on `sent` and `dead-letter` its answer."""
        names = ("raw_partition", "raw_offset", "raw_index")
        return next(
            m
            for m in self.facts.decoded(short)
            if "raw_topic" in m.value and tuple(m.value[n] for n in names) == where and m.name != "release"
        )

    def row(self, short: str, state: str | None = None) -> Decoded:
        """The last row of a table, of a state if it matters."""
        return [m for m in self.facts.decoded(short) if m.name and state in (None, m.value.get("state"))][-1]

    def effect(self, kind: str) -> Effect:
        """An effect at a partner of this kind, of a delivered batch with several records, which is no part of one."""
        for effect in self.facts.effects:
            batch = self.facts.batch[effect.batch]
            several = len(batch.places) > 1 and batch.parent is None
            if self.facts.round.partners[effect.partner]["kind"] == kind and several:
                return effect
        raise AssertionError(f"no {kind} partner has a batch of several records")

    def http_batches(self) -> list[str]:
        """Two delivered batches of one group that follow each other at the HTTP partner, in their order."""
        effects = [e for e in self.facts.effects if e.order is not None]
        for first in effects:
            for second in effects:
                one, two = self.facts.batch[first.batch], self.facts.batch[second.batch]
                same = all(one.value[name] == two.value[name] for name in ("partition", "group"))
                if same and (first.order or 0) < (second.order or 0):
                    return [first.batch, second.batch]
        raise AssertionError("no two batches of one group")
