"""kill -9 at every numbered step of the chunk transaction, on real Kafka with real processes: law 1, law 2, law 7."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.packs.cold_chain.sample import manifest, sample
from tests.support import Names
from tests.system.judge import Judge, judge
from tests.system.plant import Plant, died_of_kill

pytestmark = pytest.mark.kafka

STEPS = ("after-fetch", "after-process", "mid-produce", "before-offsets", "before-commit", "after-commit")
SENDING = ("before-send", "after-send")
ROUND = 70
"""Messages published before each kill."""


@pytest.mark.parametrize("stage", ["validate", "batch", "dispatch"])
def test_killed_at_every_step_and_started_again(kafka: str, tmp_path: Path, names: Names, stage: str) -> None:
    steps = [*STEPS, *(SENDING if stage == "dispatch" else ())]
    total = ROUND * (len(steps) + 1)
    load = list(sample(total))
    with Plant(kafka, tmp_path, names.prefix) as plant:
        for number, step in enumerate(steps):
            plant.publish(load[number * ROUND : (number + 1) * ROUND])
            # now the first transaction after a restart, now the second
            worker = plant.worker(failpoint=f"{stage}:{step}:{number % 2 + 1}")
            assert died_of_kill(worker), f"{step}: {worker.tail()}"
        plant.publish(load[-ROUND:])
        plant.finish()
        found, expected = judge(plant), manifest(total)
        outcomes = found.outcomes()
        assert outcomes["delivered"] == expected.acknowledged
        assert outcomes["duplicate"] == expected.duplicate
        if stage == "dispatch":
            attempts = {attempt["key"] for attempt in plant.partner.attempts}
            assert len(plant.partner.attempts) > len(attempts), "no batch was sent twice: after-send was not met"


def test_ba4_records_read_again_with_several_windows_open_are_answered_once(
    kafka: str, tmp_path: Path, names: Names
) -> None:
    """Nothing seals a window here, so a killed worker's successor reads every record again."""
    load = list(sample(500))
    with Plant(kafka, tmp_path, names.prefix, batching={"max_records": 1000, "linger": 3600, "idle": 3600}) as plant:
        for start in (0, 200, 400):
            plant.publish(load[start : start + 200])
            worker = plant.worker()
            Judge(plant).wait_until_batched_through()
            worker.kill()
            before = Judge(plant)
            heads = {key: row for key, row in before.table("heads").items() if row["stage"] == "batch"}
            for row in heads.values():
                assert before.committed("batch")[row["partition"]] < row["processed_through"] - 50, (
                    "nothing is read again"
                )
            assert before.decoded("batched") == []
        plant.finish()
        after = judge(plant)
        assert len({(batch["group"], batch["date"]) for _, batch in after.decoded("batched")}) > 3, "one window only"
        assert after.outcomes()["duplicate"] == manifest(500).duplicate
