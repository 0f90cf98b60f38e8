"""A folder with one pipeline and two partners, and a pack that needs no domain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from schemas.packs import PACKS
from topology.load import load_pipeline
from topology.model import Pipeline

PIPELINE = """\
pipeline: demo
pack: fake
partitions: 4
partition_by: [sensor_id]
idempotency: [sensor_id, event_time]
group_by: [product]
batching: telemetry-run
partner:
  by: product
  map: {frozen: clinic}
  default: lake
retry: {backoff: packets, attempts: 3}
options: {limit: 7}
"""

PARTNERS = """\
lake:
  kind: object-store
  url: ${DEMO_LAKE:-file:lake}
clinic:
  kind: http
  url: http://127.0.0.1:8081/batches
unused:
  kind: http
  url: ${NEVER_SET_ANYWHERE}
"""

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def fake_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast(dict[str, str], PACKS), "fake", "tests.topology.fake_pack")
    monkeypatch.delenv("WAYBILL_TOPOLOGY", raising=False)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the demo pipeline with replacements `old -> new`, and its partners; gives the pipeline's path."""

    def _write(*changes: tuple[str, str], partners: str = PARTNERS, name: str = "demo") -> Path:
        text = PIPELINE
        for old, new in changes:
            assert text.count(old) == 1, f"{old!r} is not once in the demo pipeline"
            text = text.replace(old, new)
        (tmp_path / "partners.yaml").write_text(partners)
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        return path

    return _write


@pytest.fixture
def demo(write: Write) -> Pipeline:
    return load_pipeline(str(write()))
