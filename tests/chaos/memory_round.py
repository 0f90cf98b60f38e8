"""The evidence of a whole run in memory, for laws that ask for partners which a real round meets by chance only: one
with a limit that nobody wrote down, one that refuses single records, and a store that fails."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from chaos.checker.evidence import Admin, Evidence, LedgerLine, Message, Record, Round, StoredObject, Submission
from chaos.checker.wire import shipped_schemas
from chaos.load import Load, Sent
from chaos.plan import CLINIC, LAKE, OTHERS, PIPELINE, SEVERAL
from chaos.round import facts_of
from streams.delivery.answers import Answer, judge
from streams.delivery.per_record import RecordReader
from streams.delivery.protocol import Envelope, Outcome, OutcomeKind
from streams.driver import TopologyDriver
from topology.load import load_pipeline
from topology.model import SHORT_NAMES, Pipeline
from topology.partner import RecordAnswers
from waybill.partner_sim import Partner

STAGES = {"validate": "raw", "batch": "validated", "dispatch": "batched"}
PRODUCTS = {"refrigerator": (3.0, 7.0), "freezer": (-24.0, -16.0), "cool": (8.5, 14.5), "controlled-cold": (3.0, 7.0)}
CAPACITY = 2_600
REFUSES_EVERY = 3


class Api:
    """The fake HTTP partner without the HTTP: its ledger, and the outcome that its answers come to."""

    def __init__(self, response: Mapping[str, Any] | None, capacity: int | None, refusing: bool) -> None:
        self.partner = Partner(keep_bodies=True)
        self._reader = RecordReader(RecordAnswers(**response)) if response else None
        self._capacity, self._refusing = capacity, refusing

    def __call__(self, envelope: Envelope) -> Outcome:
        numbers = {"Waybill-Attempt": str(envelope.attempt), "Waybill-Life": str(envelope.life)}
        headers = {"Idempotency-Key": envelope.idempotency_key, **numbers}
        request: Any = SimpleNamespace(headers=headers, transport=None)
        fault = self._fault(envelope)
        digest = sha256(envelope.body).hexdigest()
        self.partner.note("attempt", request, key=envelope.idempotency_key, digest=digest, fault=fault)
        status, said = 413, {"error": "too large"}
        if fault == "refuse_some":
            status, said = self.partner.take_but(request, envelope.body, 1)
        elif fault == "none":
            status, said = self.partner.take(request, envelope.body)
        body = json.dumps(said).encode()
        answer = Answer(status, "", {"content-type": "application/json"}, body, True)
        return judge(answer, {envelope.body_digest}, time.time(), records=self._reader, names=envelope.names)

    def _fault(self, envelope: Envelope) -> str:
        if self._capacity is not None and len(envelope.body) > self._capacity:
            return "status:413"
        nth = len(self.partner.attempts) % REFUSES_EVERY == REFUSES_EVERY - 1
        return "refuse_some" if self._refusing and nth else "none"


class FailingStore:
    """An object store that takes every second batch and refuses the others for good."""

    def __init__(self) -> None:
        self.asked = 0
        self.objects: list[StoredObject] = []

    def __call__(self, envelope: Envelope) -> Outcome:
        self.asked += 1
        if self.asked % 2:
            return Outcome(OutcomeKind.REFUSED, "403 no room")
        digest = sha256(envelope.body).hexdigest()
        self.objects.append(StoredObject(LAKE, envelope.path, digest, 1, envelope.body, time.time()))
        return Outcome(OutcomeKind.DELIVERED, "created")


def played(folder: Path, seed: int = 3, messages: int = 400) -> Evidence:
    """A run from the first message to the last answer."""
    pipeline = _pipeline(folder)
    apis = {
        CLINIC: Api(None, None, refusing=False),
        "hospital": Api(OTHERS["hospital"]["response"], None, refusing=True),
        "pharmacy": Api(OTHERS["pharmacy"]["response"], CAPACITY, refusing=False),
    }
    store = FailingStore()
    driver = TopologyDriver(pipeline, {**apis, LAKE: store}, start=int(time.time() * 1000) - 3_600_000)
    load = list(Load(seed, products=PRODUCTS).take(messages))
    for first in range(0, messages, 40):
        for sent in load[first : first + 40]:
            sent.partition, sent.offset = driver.publish(sent.key, sent.value)
        driver.advance(2)
    driver.finish()
    for _ in range(20):
        driver.advance(5)
    return _evidence(pipeline, driver, load, apis, store)


def _pipeline(folder: Path) -> Pipeline:
    declared: dict[str, Any] = {
        name: {"kind": "http", "url": f"http://{name}", **OTHERS.get(name, {})} for name in (CLINIC, *OTHERS)
    }
    declared[LAKE] = {"kind": "object-store", "url": "s3://lake", "prefix": "cc"}
    (folder / "partners.yaml").write_text(json.dumps(declared))
    settings = PIPELINE | {
        "application": "memory", "raw": {"topic": "memory.raw"}, "partitions": 2,
        "partner": {"by": "product", "map": SEVERAL, "default": CLINIC},
        "batching": {"max_records": 20, "linger": 1.0, "idle": 1.0},
    }  # fmt: skip
    (folder / "cc.yaml").write_text(json.dumps(settings))
    return load_pipeline(str(folder / "cc.yaml"))


def _evidence(
    pipeline: Pipeline, driver: TopologyDriver, load: list[Sent], apis: dict[str, Api], store: FailingStore
) -> Evidence:
    broker, partitions = driver.broker, range(pipeline.partitions)
    shorts = ("raw", *SHORT_NAMES)
    ends = {short: {partition: broker.end(short, partition) for partition in partitions} for short in shorts}
    committed = {stage: {p: broker.committed(pipeline.group_id(stage), p) or 0 for p in partitions} for stage in STAGES}
    ids = {short: f"memory-{short}" for short in shorts}
    ledger = [
        LedgerLine(
            line["kind"], line["key"], line["digest"], line["life"], line["attempt"],
            tuple(line["records"]) if "records" in line else None, line.get("fault", "none") == "none", line["time"],
            name, tuple(line.get("refused", ())),
        )
        for name, api in apis.items()
        for line in api.partner.lines
    ]  # fmt: skip
    return Evidence(
        round=_round(pipeline),
        manifest=[_submission(sent) for sent in load],
        ledger=ledger,
        bodies={key: body for api in apis.values() for key, body in api.partner.bodies.items()},
        objects=store.objects,
        topics={short: [Message(*m[:5]) for m in broker.all(short)] for short in shorts},
        admin=Admin(committed, ends, ends, ids, shipped_schemas()),
    )


def _submission(sent: Sent) -> Submission:
    records = [
        Record(
            r["index"], r["id"], r.get("sequence"), r.get("kind", sent.kind), r.get("time"), r.get("sha256"),
            r.get("value"), tuple(r.get("wrong", ())),
        )
        for r in sent.records
    ]  # fmt: skip
    assert sent.offset is not None
    return Submission(sent.partition, sent.offset, sent.kind, sent.key, tuple(records))


def _round(pipeline: Pipeline) -> Round:
    return Round(
        seed=3, **facts_of(pipeline), harmed=[LAKE], deadline_met=True, drained=True, restarts={}, max_restarts=0,
        exits=[],
    )  # fmt: skip
