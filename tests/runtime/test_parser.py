"""Rule VA3 on the real parser process: whatever a submission does to its reader, it is that submission's dead letter
and nobody else's trouble."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.pack import Record, Refusal, Submission
from streams.runtime.log import Abortable, Fatal
from streams.runtime.parser import ParserProcess
from streams.runtime.parser_child import READ, Ask
from streams.runtime.slices import Answer
from tests.streams.line_pack import HeavyPack
from tests.streams.toy_pack import Toy, line_pipeline
from tests.support import wait_for
from topology.sections import Parsing

LIMITS = Parsing(seconds=20, memory=2**28, output=100_000)
SHORT = LIMITS.model_copy(update={"seconds": 2.0})
"""For what hangs; everything else has all the time it may need on a busy machine."""
SAID = {
    "%hang": "ran longer than 2 s",
    "%spin": "ran longer than 2 s",
    "%memory": f"needed more than {2**28} bytes of memory",
    "%eat": f"needed more than {2**28} bytes of memory",
    "%exit": "ended with exit code 3",
    "%segv": "crashed (SIGSEGV)",
    "%raise": "raised RuntimeError",
    "%k g " + "1" * 100_000: "gave more than 100000 bytes of records",
}
"""What a submission does, and what its dead letter says."""

Make = Callable[..., ParserProcess]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[ParserProcess] = []

    def build(limits: Parsing = LIMITS, pack: Callable[[], HeavyPack] = HeavyPack) -> ParserProcess:
        made.append(ParserProcess(pack, limits))
        return made[-1]

    yield build
    for parser in made:
        parser.close()


def pid_of(parser: ParserProcess) -> int:
    (record,) = parser.unpack(Submission(b"%who")).records()
    assert isinstance(record, Record)
    return int(record.fields["o"])


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody reaps has, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_va3_a_heavy_submission_is_read_elsewhere_and_comes_back_whole(make: Make) -> None:
    parser = make()
    value = b"%a g 1\n!bad\nb g 2"
    found, plain = parser.unpack(Submission(value)), HeavyPack().unpack(Submission(value))
    assert (found.content_type, found.count, dict(found.notes)) == (plain.content_type, 3, {})
    for start in range(4):
        assert list(found.records(start)) == list(plain.records(start))
    assert pid_of(parser) == pid_of(parser) != os.getpid()


def test_va3_what_is_not_heavy_is_read_here(make: Make) -> None:
    parser = make()
    assert parser.unpack(Submission(b"a g 1")).count == 1
    assert parser._child is None


@pytest.mark.parametrize("value", SAID)
def test_va3_a_submission_that_breaks_its_reader_twice_is_one_refusal(make: Make, value: str) -> None:
    parser = make(SHORT if value in ("%hang", "%spin") else LIMITS)
    before = pid_of(parser)
    found = parser.unpack(Submission(value.encode(), "text/plain"))
    again = parser.unpack(Submission(value.encode(), "text/plain"))
    (refusal,) = found.records()
    assert list(again.records()) == [refusal], "the dead letter of a submission redone says the same"
    assert isinstance(refusal, Refusal)
    assert (found.count, refusal.original, refusal.content_type) == (1, value.encode(), "text/plain")
    (finding,) = refusal.findings
    assert (finding.code, finding.message) == ("PARSER_FAILED", f"the reader {SAID[value]}; tried twice")
    assert is_gone(before)
    assert parser.unpack(Submission(b"%a g 1")).count == 1, "the next one has a process of its own"


def test_va3_a_crash_that_does_not_come_again_is_none(make: Make, tmp_path: Path) -> None:
    parser = make()
    (record,) = parser.unpack(Submission(f"%once:{tmp_path / 'before'}".encode())).records()
    assert isinstance(record, Record)


def test_va3_neighbours_in_the_chunk_are_unharmed_and_the_books_hold(make: Make) -> None:
    toy = Toy(line_pipeline(), unpack=make(SHORT).unpack)
    toy.publish("a g 1", "%b g 1\n!bad", "%exit", "c g 1", "%memory", "%hang", "%d g 1")
    toy.run()
    assert [m["key"] for m in toy.validated()] == ["a", "b", "c", "d"]
    assert [(m["raw_offset"], m["raw_index"], m["count"], m["findings"][0]["code"]) for m in toy.dead()] == [
        (1, 1, 2, "MALFORMED_CSV"), (2, 0, 1, "PARSER_FAILED"), (4, 0, 1, "PARSER_FAILED"), (5, 0, 1, "PARSER_FAILED"),
    ]  # fmt: skip
    assert [m["original"] for m in toy.dead()[1:]] == [b"%exit", b"%memory", b"%hang"]
    assert {(m["error_class"], m["route"]) for m in toy.dead()} == {("FATAL_SCHEMA_MISMATCH", "dlq")}


def test_va3_a_chunk_is_cut_after_a_submission_that_took_long_to_read() -> None:
    """Else a row of slow ones would outlast the hand-over. (Those with a short cut are quick.)"""
    toy = Toy(line_pipeline())
    clock = iter(range(0, 10_000, 10))
    toy.stage._limits._clock = lambda: next(clock)
    toy.publish("a g 1\n!bad", "b g 1\n!bad", "c g 1\n!bad")
    toy.runner.step(timeout=0)
    toy.runner.step(timeout=0)
    assert [m["key"] for m in toy.validated()] == ["a"]
    toy.run()
    assert [m["key"] for m in toy.validated()] == ["a", "b", "c"]


@pytest.mark.parametrize("count", [1, 7, 9])
def test_va3_a_submission_that_is_another_one_in_the_middle_stops_the_worker(count: int) -> None:
    """Its first records have committed with a count: any answer for the rest would contradict them."""
    toy = Toy(line_pipeline(chunk={"bytes": 1024}))
    toy.publish("\n".join(f"k{i} g {i}" for i in range(8)))
    toy.runner.step(timeout=0)
    toy.runner.step(timeout=0)
    assert 1 < toy.head()["next_index"] < 8
    toy.kill()
    toy.stage._spanning._unpack = lambda *_: HeavyPack().unpack(Submission(b"a g 1" + b"\nb g 1" * (count - 1)))
    with pytest.raises(Fatal, match=f"of 8, but unpacks to {count} now"):
        toy.run()


def test_va3_the_process_does_not_outlive_a_worker_that_was_killed(tmp_path: Path) -> None:
    """Neither while it waits, nor while it hangs in what it reads."""
    script = (
        "import sys\n"
        "from schemas.pack import Submission\n"
        "from tests.runtime.test_parser import SHORT, pid_of\n"
        "from streams.runtime.parser import ParserProcess\n"
        "from streams.runtime.parser_child import Ask\n"
        "from tests.streams.line_pack import HeavyPack\n"
        "parser = ParserProcess(HeavyPack, SHORT)\n"
        "print(pid_of(parser), flush=True)\n"
        "parser._send(parser._child, Ask(99, 0, 1, True, None), Submission(sys.argv[1].encode()))\n"
        "print('sent', flush=True)\n"
        "sys.stdin.read()\n"
    )
    for value in ("%who", "%hang"):
        worker = subprocess.Popen(
            [sys.executable, "-c", script, value], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        with worker, worker.stdin, worker.stdout:
            pid = int(worker.stdout.readline())
            assert worker.stdout.readline() == "sent\n"
            assert not is_gone(pid)
            worker.send_signal(signal.SIGKILL)
            wait_for(lambda pid=pid: is_gone(pid), 20, f"the parser process ends ({value})")  # type: ignore[misc]


def test_va3_signals_for_a_stop_do_not_end_it(make: Make) -> None:
    parser = make()
    pid = pid_of(parser)
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert pid_of(parser) == pid


def no_pack() -> HeavyPack:
    """A pack that can be made in this process and in no other."""
    if sys.argv[0].endswith("parser_child.py"):
        os._exit(1)
    return HeavyPack()


def test_va3_a_process_that_cannot_start_is_no_fault_of_the_submission(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.runtime.parser.PARSER_START_SECONDS", 120)  # a busy machine comes to the exit late
    parser = make(pack=no_pack)
    with pytest.raises(Abortable, match=r"the parser process ended with exit code 1 before it was ready"):
        parser.unpack(Submission(b"%a g 1"))


def test_va3_nor_is_a_machine_that_starts_no_process(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*what: object, **more: object) -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", full)
    toy = Toy(line_pipeline(), unpack=make().unpack)
    toy.publish("%a g 1")
    assert [toy.runner.step(timeout=0).result for _ in range(4)][-1] == "abort"
    assert toy.dead() == []
    monkeypatch.undo()
    toy.run()
    assert [m["key"] for m in toy.validated()] == ["a"]


def test_va3_nothing_is_started_once_it_is_closed(make: Make) -> None:
    parser = make()
    pid = pid_of(parser)
    parser.close()
    assert is_gone(pid)
    with pytest.raises(Fatal):
        parser.unpack(Submission(b"%a g 1"))


def test_va3_an_answer_can_make_nothing_but_plain_values(make: Make) -> None:
    with pytest.raises(Exception, match="cannot be read"):
        make()._understood(pickle.dumps((READ, Evil())), Ask(1, 0, 1, True, None), Answer())
    assert MADE == []


MADE: list[str] = []


class Evil:
    """What a reader that was taken over might answer."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return MADE.append, ("something",)


def test_va3_two_readings_must_fit_into_a_chunks_time() -> None:
    with pytest.raises(ValueError, match=r"chunk.seconds: with twice parser.seconds \(18 s\) must be at most 40 s"):
        line_pipeline(parser={"seconds": 18}, chunk={"seconds": 10})
    assert line_pipeline(parser={"seconds": 18}, chunk={"seconds": 4}).parser.seconds == 18
