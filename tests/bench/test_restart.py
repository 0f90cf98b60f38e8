"""What a restored table is asked for lies all over it."""

from __future__ import annotations

import pytest

from bench.restart import REPEATS, readings, repeats


@pytest.mark.parametrize("keys", [1, 500, REPEATS, 1_999, 20_500])
def test_repeats_are_keys_of_the_table_from_all_over_it_whatever_its_size(keys: int) -> None:
    """With fewer keys than repeats a run waited for repeats that never came."""
    table, asked = list(readings(keys)), repeats(keys)
    assert 0 < len(asked) <= min(keys, REPEATS)
    places = [table.index(one) for one in asked]
    assert places == sorted(set(places))
    assert places[-1] >= keys * 0.99 - 1
