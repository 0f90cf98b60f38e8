"""What is wrong with an order for a benchmark is said before anything is measured, and what was measured is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as bench
from bench.report import Found
from bench.scale import __main__ as scale
from waybill.kafka_jars import BrokerUnavailable


class Started(Exception):
    """A broker was."""


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    def started() -> None:
        raise Started

    monkeypatch.setattr(bench, "broker", started)
    monkeypatch.setattr(scale, "broker", started)


def ordered(monkeypatch: pytest.MonkeyPatch, main: Any, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    main.main()


@pytest.mark.parametrize(
    ("main", "words", "said"),
    [
        (bench, ["--only", "stages,nope"], "--only nope: allowed are stages, peers"),
        (bench, ["--records", "0"], "--records: 0 is none"),
        (bench, ["--keys", "-5"], "--keys: -5 is none"),
        (scale, ["--axis", "keys", "--limit", "10"], "--limit 10: the smallest point of keys is 100,000"),
    ],
)
def test_a_wrong_option_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], main: Any, words: list[str], said: str
) -> None:
    with pytest.raises(SystemExit):
        ordered(monkeypatch, main, *words)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("main", [bench, scale])
def test_a_folder_of_results_that_cannot_be_written_is_told_before_an_hour_is_spent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, main: Any
) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(SystemExit):
        ordered(monkeypatch, main, "--results", str(tmp_path / "taken" / "here"))
    assert f"--results {tmp_path / 'taken' / 'here'}: Not a directory" in capsys.readouterr().err


def test_a_part_that_is_named_twice_is_measured_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    class Parts:
        def __init__(self, bootstrap: str, folder: Path, extent: object, parts: list[str]) -> None:
            seen.append(parts)
            raise Started

    monkeypatch.setattr(bench, "broker", nowhere)
    monkeypatch.setattr(bench, "Bench", Parts)
    with pytest.raises(Started):
        ordered(monkeypatch, bench, "--only", "stages,epcis,stages", "--results", str(tmp_path))
    assert seen == [["stages", "epcis"]]


def test_what_was_measured_is_told_also_where_it_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    class Measured:
        readings = (("key", b"value"),)

        def __init__(self, *given: object) -> None: ...

        def run(self) -> Found:
            return Found(ratios={"validate/roof": 0.5})

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench, "broker", nowhere)
    monkeypatch.setattr(bench, "Bench", Measured)
    monkeypatch.setattr("bench.report.write", full)
    with pytest.raises(OSError, match="No space"):
        ordered(monkeypatch, bench, "--only", "epcis", "--results", str(tmp_path))
    assert "ratio validate/roof 0.50" in capsys.readouterr().out


def test_a_machine_without_java_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing() -> None:
        raise BrokerUnavailable("install Java")

    monkeypatch.setattr(bench, "broker", missing)
    with pytest.raises(SystemExit, match="install Java"):
        ordered(monkeypatch, bench, "--results", str(tmp_path))


@contextmanager
def nowhere() -> Iterator[tuple[str, Path]]:
    yield "127.0.0.1:1", Path("/nowhere")
