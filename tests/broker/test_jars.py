"""Kafka's jars are found or fetched once, whole or not at all, whoever else fetches at the same time."""

import subprocess
import sys
from pathlib import Path

import pytest

from waybill.kafka_jars import KAFKA_VERSION, BrokerError, BrokerUnavailable, kafka_libs

FAKE_MAVEN = """#!{python}
import pathlib, sys
counter = pathlib.Path({log!r})
with counter.open("a") as log:
    log.write("run\\n")
folder = pathlib.Path(next(a for a in sys.argv if a.startswith("-DoutputDirectory=")).split("=", 1)[1])
folder.mkdir()
(folder / "log4j-api.jar").write_text("half")
if {fails!r}:
    print("[ERROR] could not resolve")
    sys.exit(1)
(folder / "kafka_2.13-4.2.1.jar").write_text("jar")
"""


class Machine:
    """A machine with nothing but a Maven of our making, and an empty cache."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache = folder / "cache"
        self.libs = self.cache / "waybill" / f"kafka-{KAFKA_VERSION}" / "libs"
        self.runs = folder / "runs"
        self.bin = folder / "bin"
        self.bin.mkdir()
        monkeypatch.setenv("PATH", str(self.bin))
        monkeypatch.setenv("XDG_CACHE_HOME", str(self.cache))
        monkeypatch.delenv("WAYBILL_KAFKA_LIBS", raising=False)

    def maven(self, fails: bool = False) -> None:
        script = self.bin / "mvn"
        script.write_text(FAKE_MAVEN.format(python=sys.executable, log=str(self.runs), fails=fails))
        script.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_fetched_once_and_then_found(machine: Machine) -> None:
    machine.maven()
    said: list[str] = []
    assert kafka_libs(said.append) == machine.libs
    assert kafka_libs(said.append) == machine.libs
    assert machine.runs.read_text() == "run\n"
    assert len(said) == 1
    assert KAFKA_VERSION in said[0]


def test_two_processes_fetch_once(machine: Machine) -> None:
    machine.maven()
    script = "from waybill.kafka_jars import kafka_libs; print(kafka_libs(lambda line: None))"
    command = [sys.executable, "-c", script]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [process.communicate(timeout=60)[0].strip() for process in both]
    assert answers == [str(machine.libs)] * 3
    assert machine.runs.read_text() == "run\n"


def test_a_failed_fetch_leaves_nothing_that_looks_whole(machine: Machine) -> None:
    machine.maven(fails=True)
    with pytest.raises(BrokerError, match="could not resolve"):
        kafka_libs(lambda line: None)
    assert not machine.libs.exists()
    assert list(machine.libs.parent.iterdir()) == []
    machine.maven()
    assert kafka_libs(lambda line: None) == machine.libs


def test_without_maven_one_line_says_what_to_install(machine: Machine) -> None:
    with pytest.raises(BrokerUnavailable) as absent:
        kafka_libs(lambda line: None)
    assert "install Maven" in str(absent.value)
    assert "\n" not in str(absent.value)


def test_a_named_folder_is_used_and_checked(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_KAFKA_LIBS", str(tmp_path))
    with pytest.raises(BrokerUnavailable, match="WAYBILL_KAFKA_LIBS"):
        kafka_libs(lambda line: None)
    (tmp_path / "kafka_2.13-4.2.1.jar").touch()
    assert kafka_libs(lambda line: None) == tmp_path
