"""The whole dispatch stage as a member of the dispatch world: bytes in, bytes out, Avro and audit included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Any

from schemas.canonical import sha256
from streams.deadletter import DeadLetters
from streams.delivery.protocol import Envelope, Outcome
from streams.dispatch.agent import DispatchStage
from streams.progress import Identity
from streams.stage import Chunk, Message
from streams.tables import MemoryRows
from tests.streams.dispatch_desk import CODEC, START, TOPIC_ID, PlainPack, batched, batched_again, pipeline, record
from tests.streams.dispatch_world import TIMEOUT, Bad, Entry, Launched, Record, Setting, Told, Turn, Unit
from topology.partner import BreakerSettings, HttpPartner, Rate
from topology.sections import Retry


class StageMember:
    """See dispatch_world.Member. Rows are the encoded rows of `delivery` and `heads`, told apart by their keys."""

    stage_type: type[DispatchStage] = DispatchStage

    def __init__(self, setting: Setting) -> None:
        self.log = setting.log
        terms = setting.terms
        partners = {}
        for name, own in terms.partners.items():
            retention = None if own.key_retention is None else (own.key_retention + TIMEOUT) / 1000
            partners[name] = HttpPartner(
                kind="http", url="http://partner", timeout=TIMEOUT / 1000, connections=own.connections,
                key_retention=retention, max_records=own.max_records,
                deadline=None if own.deadline is None else own.deadline / 1000,
                rate=Rate(attempts=10, per=7.0, burst=2) if own.rate.interval else None,
                breaker=BreakerSettings(failures=own.breaker.failures),
            )  # fmt: skip
        retry = Retry(
            backoff=terms.backoff, attempts=terms.attempts, unknown_attempts=terms.unknown_attempts,
            outage=max(1.0, terms.outage / 1000),
        )  # fmt: skip
        self.stage = self.stage_type(
            pipeline(partners, retry=retry), CODEC, PlainPack(), Identity("worker", "0", "1"), DeadLetters(CODEC, 2),
            self.fetch, Random(setting.seed), lambda table, partition: MemoryRows(), setting.busy,
        )  # fmt: skip
        self.stage.input_topic_id = TOPIC_ID
        self.envelopes: dict[Launched, Envelope] = {}

    def message(self, partition: int, offset: int, entry: Entry) -> Message:
        spec = entry.spec
        if entry.life > 1:
            value = batched_again(entry.unit.batch_id, spec.offset, entry.life, partition, spec.group, spec.partner)
        else:
            records = [record(key_of(one), spec.offset, spec.group, spec.partner) for one in spec.records(spec.whole)]
            value = batched(spec.batch_id, records, spec.group, spec.partner)
        return Message(partition, offset, START, None, value)

    def fetch(self, partition: int, offset: int) -> Message | None:
        return self.message(partition, offset, self.log[partition][offset])

    def restore(self, partition: int, rows: Mapping[bytes, bytes], offset: int | None, now: int) -> int:
        heads, delivery = MemoryRows(), MemoryRows()
        heads.apply(((k, v) for k, v in rows.items() if k.startswith(b"dispatch/")), 0)
        delivery.apply(((k, v) for k, v in rows.items() if not k.startswith(b"dispatch/")), 0)
        return self.stage.restore(partition, {"heads": heads, "delivery": delivery}, offset, now)

    def forget(self, partition: int) -> None:
        self.stage.forget(partition)

    def process(
        self, entries: list[tuple[int, int, Entry]], answers: list[tuple[Launched, Outcome]], now: int, may_send: bool
    ) -> Turn:
        self.stage.may_send = may_send
        messages = [self.message(*entry) for entry in entries]
        paired = [(self.envelopes[launched], outcome) for launched, outcome in answers]
        work = self.stage.process(Chunk(messages, now, paired))
        rows: dict[tuple[int, bytes], bytes | None] = {}
        units: dict[bytes, dict[str, Any]] = {}
        told: dict[bytes, list[tuple[Record, str]]] = {}
        released: set[bytes] = set()
        for output in work.outputs:
            if output.topic == "audit":
                continue
            value = CODEC.decode(output.value)[1] if output.value else {}
            if output.topic in ("heads", "delivery"):
                rows[output.partition, output.key or b""] = output.value
                if output.topic == "delivery" and "life" in value:
                    units[output.key or b""] = {**value, "partition": output.partition}
            elif output.topic == "sent":
                told.setdefault(value["batch_id"], []).append((named(value["key"]), "ack"))
            elif output.topic == "dead-letter":
                answer = "dead?" if value["outcome_unknown"] else "dead"
                told.setdefault(value["batch_id"], []).append((named(value["key"]), answer))
            else:
                released.add(value["batch_id"])
        result = []
        for batch_id, answered in told.items():
            row, said = units[batch_id], {answer for _, answer in answered}
            if len(answered) != row["count"] or len(said) != 1:
                raise Bad(f"law 1: the {row['count']} records of batch {batch_id.hex()} have answers {answered}")
            # Released is what counts as dead for good: whoever repeats the record is admitted (BA8).
            dead = "dead" if batch_id in released else "dead?"
            unit = Unit(batch_id, row["parent"], row["first"], row["count"])
            records = tuple(record for record, _ in answered)
            result.append(Told(unit, row["life"], "ack" if said == {"ack"} else dead, records))
            if said == {"dead"} and dead != "dead":
                raise Bad("BA8: a known death that released nothing")
        launches = []
        for envelope in work.effects:
            if sha256(envelope.body) != envelope.body_digest:
                raise Bad("law 3: the digest is not the body's")
            records = tuple(named(one["key"]) for one in json.loads(envelope.body)["records"])
            launched = Launched(
                units[envelope.batch_id]["partition"], envelope.batch_id, envelope.life, envelope.attempt,
                envelope.body_digest, records,
            )  # fmt: skip
            self.envelopes[launched] = envelope
            launches.append(launched)
        return Turn(rows, result, launches, work.offsets, partial(self.stage.committed, work, now))


def key_of(one: Record) -> str:
    """The key of a record of the world."""
    return "-".join(map(str, one))


def named(key: str) -> Record:
    """The record that has a key."""
    partition, offset, place = map(int, key.split("-"))
    return partition, offset, place
