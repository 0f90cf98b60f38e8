"""The archive of Kafka's classes is written once, whole or not at all, and a broker starts without one too."""

import os
from pathlib import Path

import pytest

from waybill.class_archive import class_archive
from waybill.kafka_jars import KAFKA_VERSION, BrokerError


class Machine:
    """A Java that writes what it is told to at its end, or does not."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
        self.cache = folder / "waybill" / f"kafka-{KAFKA_VERSION}"
        self.java = folder / "java"
        self.java.touch()
        self.libs = folder / "libs"
        self.libs.mkdir()
        (self.libs / "kafka_2.13-4.2.1.jar").touch()
        self.said: list[str] = []
        self.starts = 0
        self.fails: Exception | None = None
        self.writes = True

    def run_once(self, home: Path, option: str) -> None:
        """As a broker that starts and stops."""
        self.starts += 1
        if self.fails:
            raise self.fails
        if self.writes:
            Path(option.removeprefix("-XX:ArchiveClassesAtExit=")).write_bytes(b"classes")

    def options(self) -> list[str]:
        """What a start would be given."""
        return class_archive(str(self.java), self.libs, self.run_once, self.said.append)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_written_by_the_first_start_and_used_by_every_one(machine: Machine) -> None:
    first, second = machine.options(), machine.options()
    assert first == second
    assert machine.starts == 1
    (option,) = first
    assert Path(option.removeprefix("-XX:SharedArchiveFile=")).read_bytes() == b"classes"
    assert machine.said == []


@pytest.mark.parametrize("changed", ["java", "libs/kafka_2.13-4.2.1.jar"])
def test_another_java_or_other_jars_get_their_own(machine: Machine, changed: str) -> None:
    before = machine.options()
    os.utime(machine.java.parent / changed, ns=(1, 1))
    assert machine.options() != before
    assert machine.starts == 2


@pytest.mark.parametrize("error", [BrokerError("Kafka gave up at its start"), OSError("no space left")])
def test_a_broker_starts_without_one_and_says_why(machine: Machine, error: Exception) -> None:
    machine.fails = error
    assert machine.options() == []
    assert len(machine.said) == 1
    assert str(error) in machine.said[0]
    assert not list(machine.cache.glob("*.jsa"))


def test_a_java_that_writes_none_is_said(machine: Machine) -> None:
    machine.writes = False
    assert machine.options() == []
    assert "has written none" in machine.said[0]
    assert not [path for path in machine.cache.iterdir() if path.is_dir()], "the scratch folder is left behind"
