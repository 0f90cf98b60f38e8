"""The whole topology through random histories, from `raw` to the partner: 2,000 seeds a run, WAYBILL_SIM sets another
number. A failing seed prints itself, its setting and its last events, and is replayed exactly by

    WAYBILL_SEED=n pytest tests/simulation -k replay

With one rule broken, some history must break a law, or the simulation proves nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any
from unittest.mock import patch

import pytest

from schemas.delivery import Row
from schemas.errors import DEADLINE_EXCEEDED
from streams.batch.lot import Lot
from streams.delivery.protocol import Outcome, OutcomeKind
from streams.dispatch import attempts, deliveries
from streams.dispatch.attempts import Settled
from streams.runtime.runner import Runner, Step
from streams.stage import Message, Output, Work
from streams.tables import table_rows
from tests.simulation.log import SimLog
from tests.simulation.schedule import run
from tests.simulation.world import Broken
from tests.support import processes

HISTORIES = int(os.environ.get("WAYBILL_SIM") or 2_000)
SLICE = 25
REPLAYED = [int(os.environ["WAYBILL_SEED"])] if os.environ.get("WAYBILL_SEED") else list(range(12))
WITH_RULE_BROKEN = 1_000
"""Seeds within which a broken rule must have shown."""


def failures(seeds: Sequence[int]) -> list[str]:
    """What the seeds that broke a law have to say."""
    broken = []
    for seed in seeds:
        try:
            run(seed)
        except Broken as error:
            broken.append(str(error))
    return broken


@pytest.mark.timeout(3600)  # two minutes on two idle cores; a busy machine is no failure
def test_no_history_breaks_a_law() -> None:
    slices = [range(at, min(at + SLICE, HISTORIES)) for at in range(0, HISTORIES, SLICE)]
    with processes() as workers:
        broken = list(chain.from_iterable(workers.map(failures, slices)))
    assert not broken, "\n\n".join([f"{len(broken)} of {HISTORIES} histories broke a law:", *broken[:3]])


def digest(seed: int) -> str:
    return run(seed).digest()


def test_a_replay_of_a_seed_is_the_same_history() -> None:
    """In this process and in another one: every event, and every message on every topic."""
    here = [digest(seed) for seed in REPLAYED]
    with processes() as workers:
        elsewhere = list(workers.map(digest, REPLAYED))
    assert here == elsewhere
    assert len(set(elsewhere)) == len(REPLAYED)


def test_the_histories_reach_what_they_are_for() -> None:
    """A simulator that never gets into trouble proves nothing."""
    seen: Counter[Any] = Counter()
    wanted: list[Any] = [
        "commit", "abort", "lost-yes", "lost-no", "indeterminate", "stale", "fatal", "dead", "crash", "failed",
        "stopped", "pending", "store kept", "asked", "held up at before-commit", "held up at catch-up heads", "unknown",
        "split", "garbled", "second life", "again", ("sent", "delivered"), ("sent", "duplicate"),
        ("dead_letter", "validate"), ("dead_letter", "batch"), ("dead_letter", "dispatch"), ("release", None),
        ("retain", None), ("replay", None), ("cap", None), ("review", None),
        *(("batched", reason) for reason in ("count", "linger", "bytes", "memory", "wall", "stop", "end", "reread")),
        ("batched", "cap"), DEADLINE_EXCEEDED,
    ]  # fmt: skip
    for seed in range(400):
        w = run(seed)
        seen += w.count
        for topic in ("sent", "dead-letter", "review", "validated", "batched"):
            for message in w.broker.all(topic):
                if (message.partition, message.offset) in w.garbled and topic == "validated":
                    seen["garbled"] += 1
                    continue
                name, value = w.decode(message.value or b"")
                seen[name, value.get("outcome") or value.get("close_reason") or value.get("stage")] += 1
                seen["unknown"] += bool(value.get("outcome_unknown"))
                seen.update(finding["code"] for finding in value.get("findings", ()))
        rows = [w.decode(m.value)[1] for m in w.broker.all("delivery") if m.value]
        seen["second life"] += any(row.get("life", 1) > 1 for row in rows)
        seen["split"] += any(row.get("parent") and row["state"] == "sent" for row in rows)
        seen["sent"] += sum(row["state"] == "sent" for row in rows)
        seen["again"] += sum(after.after is not None for after in w.published.values())
        if all(seen[what] for what in wanted):
            return
    pytest.fail(f"never seen: {[what for what in wanted if not seen[what]]}")


# ---- one rule broken ---------------------------------------------------------------------------------


def found(target: Any, name: str, broken: Callable[..., Any]) -> str:
    """What the first history says once a rule is broken; fails if none says anything."""
    with patch.object(target, name, broken):
        for seed in range(WITH_RULE_BROKEN):
            if said := failures([seed]):
                return said[0]
    raise AssertionError("no history noticed that the rule is broken")


def test_law7_effects_before_the_write_ahead_are_noticed() -> None:
    commit = Runner._commit

    def effects_first(self: Runner, work: Work, step: Step) -> None:
        self._exchange.launch(work.effects)
        work.effects = []
        commit(self, work, step)

    assert "write-ahead" in found(Runner, "_commit", effects_first)


def test_law2_offsets_outside_the_transaction_are_noticed() -> None:
    def outside(self: SimLog, outputs: Sequence[Output], offsets: Mapping[int, int], token: Any) -> Any:
        reached = self.commit_now(outputs, {})
        self._world.at(self._process, "before-commit")
        self._broker.commit([], self.group, offsets)
        return reached

    assert found(SimLog, "transact", outside)


def test_di1_a_commit_without_a_check_of_the_generation_is_noticed() -> None:
    def unfenced(self: SimLog, outputs: Sequence[Output], offsets: Mapping[int, int], token: Any) -> Any:
        self._world.at(self._process, "before-commit")
        return self.commit_now(outputs, offsets)

    assert found(SimLog, "transact", unfenced)


def test_tx1_table_rows_before_their_commit_are_noticed() -> None:
    commit = Runner._commit

    def table_early(self: Runner, work: Work, step: Step) -> None:
        for (table, partition), rows in table_rows(work.outputs, self.stage.tables).items():
            store = self._stores[partition][table]
            store.apply(rows, store.position)
        commit(self, work, step)

    assert found(Runner, "_commit", table_early)


def test_tx1_tables_read_before_the_stable_offset_are_noticed() -> None:
    restore = Runner._restore

    def tables_first(self: Runner, partition: int) -> tuple[int | None, int]:
        stores = self._stores.setdefault(
            partition, {table: self.stage.store(table, partition) for table in self.stage.tables}
        )
        for table, store in stores.items():
            self.log.catch_up(table, partition, store)
        with patch.object(SimLog, "catch_up", lambda *rest: None):
            return restore(self, partition)

    assert found(Runner, "_restore", tables_first)


def test_ba4_doing_again_what_was_done_is_noticed() -> None:
    take = Lot.take_all

    def as_if_new(self: Lot, work: Work, messages: Sequence[Message], *rest: Any) -> None:
        self.progress.processed_through = min(self.progress.processed_through, messages[0].offset - 1)
        take(self, work, messages, *rest)

    assert found(Lot, "take_all", as_if_new)


def test_di2_unknown_taken_for_failed_is_noticed() -> None:
    def hopeful(row: Row, outcome: Outcome, *rest: Any) -> Settled:
        if outcome.kind is OutcomeKind.UNKNOWN:
            outcome = outcome._replace(kind=OutcomeKind.FAILED)
        return attempts.settle(row, outcome, *rest)

    assert "law" in found(deliveries, "settle", hopeful)


def test_di2_an_attempt_found_in_flight_and_not_taken_for_unknown_is_noticed() -> None:
    assert found(deliveries, "found_in_flight", lambda row: row)


def test_law4_unknown_taken_for_success_is_noticed() -> None:
    def trusting(row: Row, outcome: Outcome, *rest: Any) -> Settled:
        if outcome.kind is OutcomeKind.UNKNOWN:
            outcome = outcome._replace(kind=OutcomeKind.DELIVERED)
        return attempts.settle(row, outcome, *rest)

    assert "law 4" in found(deliveries, "settle", trusting)


def test_law6_a_cut_by_the_clock_is_noticed() -> None:
    linger = Lot._linger

    def by_the_clock(self: Lot, work: Work) -> None:
        if self.observed_at % 2:
            linger(self, work)

    assert "law 6" in found(Lot, "_linger", by_the_clock)


def test_a_stage_that_stands_still_is_noticed() -> None:
    assert "liveness" in found(deliveries.Deliveries, "start", lambda *rest: None)
