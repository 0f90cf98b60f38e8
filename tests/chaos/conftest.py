"""What tests of the chaos tools share: the evidence of a real round, judged sound, for the checker's tests to alter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.checker.__main__ import main
from chaos.checker.evidence import Evidence, load
from chaos.checker.facts import Facts
from tests.chaos.altered import Finder
from tests.chaos.checker_round import run
from tests.support import unique_names
from tests.system.plant import Plant

SUPERSEDE = {
    "acks": "batch",
    "on_conflict": "supersede",
    "ordering_by": "zone_id",
    "idempotency": ["sensor_id", "event_time", "product"],
}


@pytest.fixture(scope="session", params=["records", "supersede"])
def played(kafka: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The evidence of one real round: acks for each record, or for each batch with `supersede`."""
    where = tmp_path_factory.mktemp(request.param)
    changes: dict[str, Any] = SUPERSEDE if request.param == "supersede" else {}
    with Plant(kafka, where / "plant", unique_names().prefix, **changes) as plant:
        run(plant, where / "round", 5, bool(changes))
        assert main([str(where / "round"), "--brokers", kafka]) == 0
        yield where / "round"


@pytest.fixture(scope="session")
def evidence(played: Path) -> Evidence:
    """Read back from the folder, without the brokers."""
    return load(played)


@pytest.fixture(scope="session")
def find(evidence: Evidence) -> Finder:
    """Picks what to alter."""
    return Finder(Facts(evidence))
