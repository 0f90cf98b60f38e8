"""What tests of the chaos tools share: the evidence of a real round, judged sound, for the checker's tests to alter."""

from __future__ import annotations

import os
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
from waybill.kafka_jars import only_one

SUPERSEDE = {
    "acks": "batch",
    "on_conflict": "supersede",
    "ordering_by": "zone_id",
    "idempotency": ["sensor_id", "event_time", "product"],
}


@pytest.fixture(scope="session", params=["records", "supersede"])
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evidence of one real round: acks for each record, or for each batch with `supersede`. Of all processes of a
    run, the first that needs it plays it; the others wait and read. Nobody writes there."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / f"played-{request.param}"
    with only_one(folder.with_suffix(".lock")):
        if not folder.exists():
            scratch = tmp_path_factory.mktemp(request.param)
            play(request.getfixturevalue("kafka"), scratch, SUPERSEDE if request.param == "supersede" else {})
            (scratch / "round").rename(folder)
    return folder


def play(kafka: str, scratch: Path, changes: dict[str, Any]) -> None:
    """Leaves the evidence of a round in `round`."""
    with Plant(kafka, scratch / "plant", unique_names().prefix, **changes) as plant:
        run(plant, scratch / "round", 5, bool(changes))
        assert main([str(scratch / "round"), "--brokers", kafka]) == 0


@pytest.fixture(scope="session")
def evidence(played: Path) -> Evidence:
    """Read back from the folder, without the brokers."""
    return load(played)


@pytest.fixture(scope="session")
def find(evidence: Evidence) -> Finder:
    """Picks what to alter."""
    return Finder(Facts(evidence))
