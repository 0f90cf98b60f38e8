"""Three presets, one function (trap T10)."""

from __future__ import annotations

from random import Random
from typing import get_args

import pytest

from streams.delivery.backoff import delay
from topology.sections import BackoffPreset


def test_documents_wait_min_2_to_the_n_or_10_plus_half_a_second_of_jitter() -> None:
    for failures, base in [(1, 2), (2, 4), (3, 8), (4, 10), (50, 10)]:
        waits = [delay("documents", failures, Random(seed)) for seed in range(200)]
        assert base <= min(waits) < base + 0.05
        assert base + 0.45 < max(waits) <= base + 0.5


def test_inventory_waits_2_4_8_without_jitter() -> None:
    assert [delay("inventory", n, Random(n)) for n in (1, 2, 3)] == [2.0, 4.0, 8.0]


def test_packets_wait_with_full_jitter_between_1_and_30() -> None:
    for failures, bound in [(1, 2), (2, 4), (3, 8), (4, 16), (5, 30), (1000, 30)]:
        waits = [delay("packets", failures, Random(seed)) for seed in range(500)]
        assert 1 <= min(waits) < 1 + bound / 20
        assert bound * 0.95 < max(waits) <= bound


@pytest.mark.parametrize("preset", get_args(BackoffPreset))
def test_jitter_repeats_with_its_seed(preset: BackoffPreset) -> None:
    waits = [[delay(preset, n, random) for n in range(1, 20)] for random in (Random(7), Random(7))]
    assert waits[0] == waits[1]


def test_failures_count_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        delay("packets", 0, Random(1))
