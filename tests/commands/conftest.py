"""Running commands inside the test: exit code, data and talk apart; a home folder of the test's own; logs as lines."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog

from tests.commands.bench_kafka import Bench
from tests.support import Names
from waybill.logs import configure
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


Ask = Callable[..., Ran]


@pytest.fixture
def bench(kafka: str, names: Names, tmp_path: Path) -> Bench:
    return Bench(kafka, names.prefix, tmp_path / "topology")


@pytest.fixture
def ask(cli: Cli, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """A command against the bench's pipeline and broker."""

    def _ask(*arguments: object, stdin: bytes | None = None) -> Ran:
        monkeypatch.setenv("WAYBILL_BROKERS", bench.bootstrap)
        monkeypatch.setenv("WAYBILL_TOPOLOGY", str(bench.folder))
        return cli(*arguments, stdin=stdin)

    # `cli` clears the variables once, when it is made
    return _ask


class Clock:
    """Seconds that only the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stderr on which a person looks."""

    def isatty(self) -> bool:
        return True


Setup = Callable[..., io.StringIO]
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def setup(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    """Sets logging up as a command does, into a stderr of the test's own."""
    root, ours = logging.getLogger(), logging.getLogger("waybill")
    before = root.handlers[:], root.level, ours.level

    def _setup(stderr: io.StringIO | None = None, **options: Any) -> io.StringIO:
        stream = io.StringIO() if stderr is None else stderr
        monkeypatch.setattr(sys, "stderr", stream)
        configure(clock=clock, **options)
        return stream

    yield _setup
    root.handlers[:], root.level = before[0], before[1]
    ours.setLevel(before[2])
    structlog.reset_defaults()


@pytest.fixture
def lines(setup: Setup) -> Lines:
    """JSON logging; gives what was logged since the last call."""
    stream = setup()

    def _lines() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in stream.getvalue().splitlines()]
        stream.seek(0)
        stream.truncate()
        return found

    return _lines
