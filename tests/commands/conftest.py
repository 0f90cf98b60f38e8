"""Running commands inside the test: exit code, data and talk apart; a home folder of the test's own."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from waybill.main import run


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """stdout as JSON Lines."""
        return [json.loads(text) for text in self.out.splitlines()]


Cli = Callable[..., Ran]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Runs `waybill …` and gives back what it said. `stdin` is what is piped in."""
    monkeypatch.setenv("WAYBILL_HOME", str(tmp_path / "home"))
    for name in ("WAYBILL_BROKERS", "WAYBILL_TOPOLOGY"):
        monkeypatch.delenv(name, raising=False)

    def _run(*arguments: object, stdin: bytes | None = None) -> Ran:
        capfd.readouterr()
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Ran(int(code), out, err)

    return _run
