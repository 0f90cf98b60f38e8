"""Contenders over EPCIS documents must have computed the same hashes, of the same events."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.contenders import Mismatch
from bench.epcis import part
from bench.epcis.documents import Documents, write
from bench.epcis.part import Sizes, _compare
from bench.process import Measurement, Report


def test_the_documents_hold_so_many_events_in_one_syntax(tmp_path: Path) -> None:
    for syntax, start in (("json", b"{"), ("xml", b"<?xml")):
        made = write(tmp_path, syntax, 20)  # type: ignore[arg-type]  # mypy widens the tuple's text
        lines = made.path.read_bytes().split(b"\n")
        assert 20 <= len(made.hashes) < 30
        assert all(line.startswith(start) for line in lines)


@pytest.mark.parametrize("written", ["a\nb", "a\nb\nc\nd", "a\nx\ny"])
def test_other_hashes_or_another_number_end_the_run(tmp_path: Path, written: str) -> None:
    given = Documents(tmp_path / "documents", ("a", "b", "c"))
    (tmp_path / "hashes").write_text(written)
    with pytest.raises(Mismatch, match="peer"):
        _compare("peer", given, tmp_path / "hashes", 0.6)


def test_a_peer_may_differ_where_it_is_known_to(tmp_path: Path) -> None:
    (tmp_path / "hashes").write_text("a\nb\nx")
    given = Documents(tmp_path / "documents", ("a", "b", "c"))
    _compare("peer", given, tmp_path / "hashes", 0.6)
    with pytest.raises(Mismatch):
        _compare("peer", given, tmp_path / "hashes")


def test_what_would_stand_without_its_peer_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The official schemas lie with the public cases, and no generator of event hashes is asked for."""
    monkeypatch.setenv("WAYBILL_CASES", str(tmp_path))
    monkeypatch.setattr(part, "_run", lambda name, *given, **more: Measurement(name, Report(1, 1.0, 1.0), 1.0, 1.0))
    monkeypatch.setattr("bench.process.run", lambda name, *given: Measurement(name, Report(1, 1.0, 1.0), 1.0, 1.0))
    said: list[str] = []
    found = [one.name for one in part.contenders(tmp_path, Sizes(20, 0, 1), said.append)]
    assert found == ["epcis-batch", "epcis-batch-items"]
    assert "set WAYBILL_CASES" in said[0]
