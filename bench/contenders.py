"""The runs of one round, in order: each leaves behind what the next one reads or is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import world
from bench.process import Measurement, run
from bench.world import RAW, cluster, create, fill, read
from schemas.canonical import sha256
from schemas.codec import SingleObjectCodec
from topology.model import Pipeline
from topology.topics import topic_specs

FAUST_RAW = "bench.raw.small"
STAGES = ("validate", "batch", "dispatch")
WRITES = {
    "validate": ("validated",),
    "batch": ("batched", "idempotency", "windows"),
    "dispatch": ("sent", "delivery"),
}
"""Topics that one stage alone writes; audit and heads are shared by all."""


class Mismatch(Exception):
    """Contenders that did not do the same."""


@dataclass(frozen=True)
class Sizes:
    """How much each contender works."""

    records: int
    faust: int


class Turn:
    """Pipelines of its own, with topics and lakes, over a raw topic in a shared broker that is filled once."""

    def __init__(self, bootstrap: str, folder: Path, records: int, number: int, raw: str) -> None:
        """records: messages of the raw topic. number: unlike that of any other turn on this broker."""
        self.bootstrap, self.records, self.number, self.raw = bootstrap, records, number, raw
        self.folder = folder

    def pipeline(self, name: str) -> Pipeline:
        """A new one."""
        lake = self.folder / f"lake-{self.number}-{name}"
        lake.mkdir()
        made = world.pipeline(f"bench{self.number}-{name}", str(lake))
        create(self.bootstrap, made)
        return made

    def job(self, made: Pipeline, **more: object) -> dict[str, object]:
        """What every contender over this pipeline is told."""
        lake = str(self.folder / f"lake-{made.application.removeprefix('bench')}")
        return {"bootstrap": self.bootstrap, "application": made.application, "raw": self.raw, "lake": lake, **more}

    def ours(self, name: str, made: Pipeline, due: dict[str, int | None], **more: object) -> Measurement:
        """Stages of the product over a pipeline; due: see bench.ours. Raises Mismatch."""
        job = self.job(made, records=self.records, due=due, **more)
        measured = run(name, "bench.ours", job)
        if measured.report.redone:
            raise Mismatch(f"{name}: {measured.report.redone} transactions had to be done again")
        return measured


class Round(Turn):
    """The stages, alone and together, beside the roof and stock Faust."""

    def __init__(self, bootstrap: str, folder: Path, sizes: Sizes, number: int) -> None:
        super().__init__(bootstrap, folder, sizes.records, number, RAW)
        self._faust_records = sizes.faust
        self._alone, self._framed, self._whole = map(self.pipeline, ("alone", "framed", "whole"))

    def contenders(self) -> Iterator[Measurement]:
        """Every contender once. Raises Mismatch."""
        records = self.records
        yield self.ours("validate", self._alone, {"validate": records})
        yield self.ours("batch", self._alone, {"batch": records})
        batches = sum(1 for _ in read(self.bootstrap, self._alone.topic("batched")))
        yield self.ours("dispatch", self._alone, {"dispatch": batches})
        yield self.ours("pipeline", self._whole, {"validate": records, "batch": records, "dispatch": None})
        yield self.ours("validate-in-frame", self._framed, {"validate": records}, frame=True)
        made = self._check()
        for name, stages in (("validate", STAGES[:1]), ("batch", STAGES[1:2]), ("pipeline", STAGES)):
            yield self._roof_of(f"roof-{name}", made, stages, batches)
        yield self._faust()

    def _roof_of(
        self, name: str, made: dict[str, dict[str, int]], stages: tuple[str, ...], batches: int
    ) -> Measurement:
        """The roof over some stages; each writes what the product's stage wrote, and reads what that one read."""
        due = {"validate": self.records, "batch": self.records, "dispatch": batches}
        parts = {stage: {"due": due[stage], "counts": made[stage]} for stage in stages}
        target = self.pipeline(name)
        job = self.job(self._alone, target=target.application, stages=parts, records=self.records)
        return run(name, "bench.roof", job)

    def _faust(self) -> Measurement:
        target = f"bench{self.number}.faust.validated"
        spec = next(spec for spec in topic_specs(self._alone) if spec.short == "validated")
        cluster(self.bootstrap).create([spec._replace(name=target)])
        job = self.job(self._alone, target=target, records=self._faust_records) | {"raw": FAUST_RAW}
        measured = run("faust-validate", "bench.faust_peer", job)
        theirs = [sha256(value or b"") for _, value in read(self.bootstrap, target)]
        if len(theirs) != self._faust_records or not set(theirs) <= self._digests:
            raise Mismatch(f"Faust's {len(theirs)} payloads are not the first {self._faust_records} of the product's")
        return measured

    # ---- what was written ------------------------------------------------------------------------

    def _check(self) -> dict[str, dict[str, int]]:
        """Messages by stage and topic, after a look that every run of the product answered every record."""
        codec, records = SingleObjectCodec(), self.records
        found: dict[str, set[bytes]] = {}
        for made, short in ((self._alone, "validated"), (self._whole, "validated"), (self._whole, "sent")):
            name = made.topic(short)
            found[name] = {codec.decode(value or b"")[1]["digest"] for _, value in read(self.bootstrap, name)}
        self._digests = found[self._alone.topic("validated")]
        if any(digests != self._digests for digests in found.values()) or len(self._digests) != records:
            raise Mismatch(f"of {records} records: { ({name: len(digests) for name, digests in found.items()}) }")
        return self._written()

    def _written(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        for stage, shorts in WRITES.items():
            counts[stage] = {s: sum(1 for _ in read(self.bootstrap, self._alone.topic(s))) for s in shorts}
        for stage, short in (("validate", "validated"), ("batch", "idempotency"), ("dispatch", "sent")):
            if counts[stage][short] != self.records:
                raise Mismatch(f"{stage} wrote {counts[stage][short]} messages to {short}")
        for short in ("audit", "heads"):
            for key, _ in read(self.bootstrap, self._alone.topic(short)):
                stage = (key or b"").decode().partition("/")[0]
                counts[stage][short] = counts[stage].get(short, 0) + 1
        return counts


def prepare(bootstrap: str, raw: str, messages: list[tuple[str, bytes]], packed: str = "lz4") -> None:
    """Creates and fills a raw topic."""
    made = world.pipeline("bench", "/")
    cluster(bootstrap).create([topic_specs(made)[0]._replace(name=raw)])
    fill(bootstrap, raw, messages, made.partitions, packed)
