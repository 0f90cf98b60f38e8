"""Kept values: made once, in bounds, and never where making fails."""

from __future__ import annotations

import pytest

from schemas.kept import Kept


def test_a_value_is_made_once_and_begins_anew_at_the_bound() -> None:
    asked: list[int] = []

    def make(key: int) -> str:
        asked.append(key)
        return str(key)

    kept = Kept(make, 3)
    assert [kept[key] for key in (1, 2, 1, 3, 2)] == ["1", "2", "1", "3", "2"]
    assert asked == [1, 2, 3]
    for key in range(100):
        assert kept[key] == str(key)
        assert len(kept) <= 3


def test_what_cannot_be_made_is_raised_each_time_and_not_kept() -> None:
    kept = Kept(int, 3)
    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            kept["x"]
    assert not kept
