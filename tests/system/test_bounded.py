"""`waybill worker --until-end`: a bounded run works all there is, closes its windows and ends by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.packs.cold_chain.sample import manifest, sample
from tests.support import Names
from tests.system.judge import judge
from tests.system.plant import Plant

pytestmark = pytest.mark.kafka


def test_a_bounded_run_answers_every_record_and_ends(kafka: str, tmp_path: Path, names: Names) -> None:
    # windows that nothing but the end would close
    with Plant(kafka, tmp_path, names.prefix, batching={"max_records": 100, "linger": 3600, "idle": 3600}) as plant:
        plant.publish(sample(600))
        plant.finish()
        expected = manifest(600)
        outcomes = judge(plant).outcomes()
        assert outcomes["delivered"] == expected.acknowledged
        assert outcomes["duplicate"] == expected.duplicate
        assert outcomes["dead in validate"] + outcomes["dead in batch"] == expected.dead
        plant.publish(sample(600, seed=2))
        plant.finish()
        judge(plant)
