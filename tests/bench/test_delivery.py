"""A delivery counts only where every batch arrived, once and as it was sent."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from bench.contenders import Mismatch
from bench.delivery import compare, objects
from streams.delivery.object_store import object_path, sidecar_path

SENT = Counter({("a", "1"): 1, ("b", "2"): 1})


@pytest.mark.parametrize(
    ("arrived", "words"),
    [
        (
            Counter({("a", "1"): 1}),
            "of 2 batches 1 did not arrive as they were sent, 0 came twice or were none of them",
        ),
        (Counter({("a", "1"): 2, ("b", "2"): 1}), "of 2 batches 0 .*, 1 came twice"),
        (Counter({("a", "1"): 1, ("b", "3"): 1}), "of 2 batches 1 .*, 1 came twice or were none of them"),
    ],
)
def test_what_is_missing_doubled_or_changed_is_no_measurement(arrived: Counter[tuple[str, str]], words: str) -> None:
    compare("ours", SENT, Counter(SENT))
    with pytest.raises(Mismatch, match=f"ours: {words}"):
        compare("ours", SENT, arrived)


def test_the_objects_of_a_folder_are_told_by_id_and_bytes_and_sidecars_are_none(tmp_path: Path) -> None:
    path = object_path("coldchain", "2026-03-02", "ab" * 32)
    for name, data in ((path, b"body"), (sidecar_path(path), b"{}")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert objects(tmp_path) == {("ab" * 32, sha256(b"body").hexdigest()): 1}
