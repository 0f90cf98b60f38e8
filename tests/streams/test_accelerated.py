"""Compiled modules run only while they are what the sources say, and every command says so where they are not."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from streams import accelerated
from streams.accelerated import LIBRARY, MODULES, RECORD, Stale, compiled, source_digest
from waybill import main


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with every module compiled from the sources in it."""
    for name in MODULES:
        source = tmp_path / f"{name.replace('.', '/')}.py"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text("one = 1\n", "utf-8")
        source.with_suffix(EXTENSION_SUFFIXES[0]).touch()
    (tmp_path / f"{LIBRARY.replace('.', '/')}{EXTENSION_SUFFIXES[0]}").touch()
    (tmp_path / RECORD).write_text(source_digest(tmp_path), "utf-8")
    return tmp_path


def test_every_module_of_the_list_is_one_of_ours() -> None:
    assert all((accelerated.ROOT / f"{name.replace('.', '/')}.py").is_file() for name in MODULES)


def test_a_checkout_without_compiled_modules_needs_nothing(tmp_path: Path) -> None:
    assert compiled(tmp_path) == 0


def test_compiled_modules_count_while_no_source_has_changed(root: Path) -> None:
    assert compiled(root) == len(MODULES)


@pytest.mark.parametrize(
    "what", ["a compiled one changed", "another one appeared", "one is missing", "one too many", "no record"]
)
def test_what_was_compiled_from_other_sources_is_refused(root: Path, what: str) -> None:
    if what == "a compiled one changed":
        (root / "schemas/avro.py").write_text("one = 2\n", "utf-8")
    elif what == "another one appeared":
        (root / "schemas/other.py").touch()
    elif what == "one is missing":
        (root / f"schemas/avro{EXTENSION_SUFFIXES[0]}").unlink()
    elif what == "one too many":
        (root / f"schemas/sent{EXTENSION_SUFFIXES[0]}").touch()
    else:
        (root / RECORD).unlink()
    with pytest.raises(Stale, match="make plain"):
        compiled(root)


def test_no_command_runs_on_stale_modules(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / RECORD).unlink()
    monkeypatch.setattr(main, "compiled", lambda: compiled(root))
    assert main.run(["topology", "check"]) == 2
    assert "make accelerate" in capsys.readouterr().err
