"""What a seed makes of the pipeline: small bounds, so that every rule has its moment within a short history."""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

from topology.model import Pipeline
from topology.partner import Adaptive, HttpPartner, ObjectStorePartner, Partner
from topology.sections import Batching, Chunking, PartnerRule, Retry, Topic

PARTNERS = ("clinic", "lake")
TIMEOUT = 30.0
"""Seconds after which an attempt's outcome is unknown, as the pipeline declares it."""
ARRIVES = 15_000
"""Milliseconds in which a request arrives or is lost: less than TIMEOUT, so that a worker that was held up between
its decision and the sending has as much again."""


class Setting(NamedTuple):
    """One seed's world."""

    pipeline: Pipeline
    workers: dict[str, int]
    """Workers each stage begins with."""
    moody: bool
    """A partner that may refuse what it has stored before."""
    stage_faults: bool
    """Whether packs and stages may raise."""
    moves: int

    def __str__(self) -> str:
        p = self.pipeline
        shown: dict[str, Any] = {
            "partitions": p.partitions, "deterministic": p.deterministic, "on_conflict": p.on_conflict,
            "ordering": p.ordering, "acks": p.acks, "keep": p.keep, "batching": p.batching.model_dump(),
            "chunk.bytes": p.chunk.bytes, "raw.timestamps": p.raw.timestamps, "retry": p.retry.model_dump(),
            "key_retention": p.partners[PARTNERS[0]].key_retention, "partition_by": p.partition_by,
            "deadlines": [p.partners[name].deadline for name in PARTNERS],
            "adaptive": [name for name in PARTNERS if vars(p.partners[name]).get("adaptive")],
            "stores": [name for name in PARTNERS if p.partners[name].kind == "object-store"],
            "group_by": p.group_by, "workers": self.workers, "moody": self.moody, "stage_faults": self.stage_faults,
            "moves": self.moves,
        }  # fmt: skip
        return ", ".join(f"{name}={value}" for name, value in shown.items())


def setting(r: Random) -> Setting:
    """Draws a pipeline and how many workers it begins with."""
    deterministic = r.random() < 0.3
    supersede = r.random() < 0.5
    linger = r.choice((4.0, 8.0))
    retention = r.choice((None, None, 100.0, 400.0))
    batching = Batching(
        max_records=r.choice((2, 3, 4)),
        linger=linger,
        idle=5.0,
        max_reread=r.choice((8, 20)) if deterministic else None,
    )
    chosen = r.getstate()[1][0]  # no draw of its own: the histories of the other seeds stay what they are
    adaptive = [name for n, name in enumerate(PARTNERS) if chosen >> n & 1]
    deadlines = {name: (None, None, 30.0, 90.0)[chosen >> 2 * n + 2 & 3] for n, name in enumerate(PARTNERS)}
    store = bool(chosen >> 6 & 1)
    rule = PartnerRule(by="g", map={"g1": PARTNERS[1]}, default=PARTNERS[0])
    made = Pipeline(
        pipeline="sim",
        pack="lines",
        partitions=1 if deterministic else r.choice((1, 2, 2, 3)),
        partition_by=r.choice((["k"], ["g", "k"])) if supersede else ["k"],
        idempotency=["g", "k"] if supersede else ["k"],
        group_by=["g"],
        on_conflict="supersede" if supersede else "conflict",
        ordering_by="o" if supersede else None,
        keep=r.choice((25.0, 60.0, 3600.0)),
        batching=batching,
        chunk=Chunking(records=r.choice((3, 50))),
        partner=rule,
        retry=Retry(
            backoff=r.choice(("documents", "inventory", "packets")),
            attempts=r.randint(1, 3),
            unknown_attempts=r.randint(1, 4),
        ),
        ordering="group" if supersede else r.choice(("group", "none")),
        acks=r.choice(("record", "batch")),
        deterministic=deterministic,
        raw=Topic(timestamps="log-append" if deterministic else r.choice(("log-append", "create")), max_ahead=5.0),
        partners={
            name: _partner(r.randint(1, 3), retention, deadlines[name], name in adaptive, store and name == PARTNERS[1])
            for name in PARTNERS
        },
    )
    # Below what a file may ask for.
    bounds = {"max_bytes": r.choice((10**6, 10**6, 700)), "max_open_bytes": r.choice((10**6, 900))}
    made = made.model_copy(
        update={
            "batching": made.batching.model_copy(update=bounds),
            "chunk": made.chunk.model_copy(update={"bytes": r.choice((10**6, 300))}),
        }
    )
    workers = {stage: r.choice((1, 1, 2, 3)) for stage in ("validate", "batch", "dispatch")}
    return Setting(
        made, workers, r.random() < 0.4, not deterministic and r.random() < 0.5, r.randint(60, 160)
    )  # fmt: skip


def _partner(connections: int, retention: float | None, deadline: float | None, adaptive: bool, store: bool) -> Partner:
    common: dict[str, Any] = {"timeout": TIMEOUT, "key_retention": retention, "deadline": deadline}
    if store:
        return ObjectStorePartner(kind="object-store", url="s3://lake", **common)
    return HttpPartner(
        kind="http",
        url="http://partner",
        connections=connections,
        adaptive=Adaptive(min_records=1, step=1) if adaptive else None,
        **common,
    )
