"""The measurement of the stages without a broker works all of them, and two turns write the same bytes."""

from __future__ import annotations

from itertools import islice

from bench.stages import measure
from streams.pipeline import STAGES


def test_every_stage_is_measured_and_every_turn_writes_the_same() -> None:
    first, second = islice(measure(300), 2)  # raises where a reading has no answer
    assert list(first["micros"]) == list(STAGES)
    assert all(micros > 0 for micros in first["micros"].values())
    assert first["digest"] == second["digest"] != next(measure(299))["digest"]
