"""The whole dispatch stage as a member of the dispatch world: bytes in, bytes out, Avro and audit included."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from random import Random

from schemas.canonical import sha256
from streams.deadletter import DeadLetters
from streams.delivery.protocol import Envelope, Outcome
from streams.dispatch import DispatchStage
from streams.progress import Identity
from streams.stage import Chunk, Message
from streams.tables import MemoryRows
from tests.streams.dispatch_desk import CODEC, START, TOPIC_ID, PlainPack, batched, batched_again, pipeline, record
from tests.streams.dispatch_world import TIMEOUT, Bad, Entry, Launched, Setting, Turn
from topology.model import Retry
from topology.partner import BreakerSettings, HttpPartner, Rate

RECORDS = 2
"""In each batch."""


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
                key_retention=retention, rate=Rate(attempts=10, per=7.0, burst=2) if own.rate.interval else None,
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
            value = batched_again(spec.batch_id, spec.offset, entry.life, partition, spec.group, spec.partner)
        else:
            records = [
                record(f"{spec.batch_id[:2].hex()}{n}", spec.offset, spec.group, spec.partner) for n in range(RECORDS)
            ]
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
        lives: dict[bytes, int] = {}
        told: dict[bytes, list[str]] = {}
        released: set[bytes] = set()
        for output in work.outputs:
            if output.topic == "audit":
                continue
            value = CODEC.decode(output.value)[1] if output.value else {}
            if output.topic in ("heads", "delivery"):
                rows[output.partition, output.key or b""] = output.value
                if output.topic == "delivery" and "life" in value:
                    lives[output.key or b""] = value["life"]
            elif output.topic == "sent":
                told.setdefault(value["batch_id"], []).append("ack")
            elif output.topic == "dead-letter":
                told.setdefault(value["batch_id"], []).append("dead?" if value["outcome_unknown"] else "dead")
            else:
                released.add(value["batch_id"])
        result = []
        for batch_id, answered in told.items():
            if len(answered) != RECORDS or len(set(answered)) != 1:
                raise Bad(f"law 1: the {RECORDS} records of batch {batch_id[:2].hex()} have answers {answered}")
            # Released is what counts as dead for good: whoever repeats the record is admitted (BA8).
            dead = "dead" if batch_id in released else "dead?"
            result.append((batch_id, lives[batch_id], "ack" if answered[0] == "ack" else dead))
            if answered[0] == "dead" and dead != "dead":
                raise Bad("BA8: a known death that released nothing")
        launches = []
        for envelope in work.effects:
            if sha256(envelope.body) != envelope.body_digest:
                raise Bad("law 3: the digest is not the body's")
            partition = envelope.batch_id[0]
            launched = Launched(
                partition, envelope.batch_id, envelope.life, envelope.attempt, envelope.body_digest
            )  # fmt: skip
            self.envelopes[launched] = envelope
            launches.append(launched)
        return Turn(rows, result, launches, work.offsets, partial(self.stage.committed, work, now))
