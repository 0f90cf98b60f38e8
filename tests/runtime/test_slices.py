"""Rule VA3 for submissions of many records: they come out of the parser process in slices, in order and whole, and a
record that breaks its reader is refused alone. On the real process, but for the pure tests of what runs inside it."""

from __future__ import annotations

import pickle
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count, cycle
from pathlib import Path
from typing import Any

import pytest

from schemas.pack import Record, Refusal, Steps, Submission, Unpacked
from schemas.packs import load_pack
from schemas.packs.epcis.sample import one_document
from streams.runtime import parser_child, slices
from streams.runtime.log import Abortable, Fetched
from streams.runtime.parser import ParserProcess
from streams.runtime.parser_child import LARGE_SUBMISSION, Ask, Reader
from streams.runtime.slices import Answer, Failed, Sliced, never
from streams.stage import Message
from streams.validate.spanning import TURN_SECONDS, Rest, Spanning
from tests.streams.line_pack import HeavyPack, Lines
from tests.streams.toy_pack import Toy, line_pipeline
from topology.sections import Parsing

LIMITS = Parsing(seconds=20, memory=2**28, output=100_000)
LONG = "%" + "\n".join("!bad" if n % 4 == 3 else f"k{n} g {n}" for n in range(23))
"""A submission of several slices."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_RECORDS", 5)


@pytest.fixture
def make() -> Iterator[Callable[..., ParserProcess]]:
    made: list[ParserProcess] = []

    def build(**changes: Any) -> ParserProcess:
        made.append(ParserProcess(HeavyPack, LIMITS.model_copy(update=changes)))
        return made[-1]

    yield build
    for parser in made:
        parser.close()


@pytest.fixture
def parser(make: Callable[..., ParserProcess]) -> ParserProcess:
    return make()


def plain(text: str) -> list[Record | Refusal]:
    """What the pack gives where no process is between."""
    return list(HeavyPack().unpack(Submission(text.encode())).records())


def codes(items: list[Record | Refusal]) -> list[str]:
    """The first code of each refusal, and the key of each record."""
    return [i.findings[0].code if isinstance(i, Refusal) else i.fields["k"] for i in items]


@pytest.mark.parametrize("start", [0, 1, 5, 7, 22])
def test_va3_slices_are_what_the_pack_gives_in_one_go(parser: ParserProcess, start: int) -> None:
    found = parser.unpack(Submission(LONG.encode()), start)
    assert found.count == 23
    for first in (start, 0, 12, start):
        assert list(found.records(first)) == plain(LONG)[first:]


def test_va3_a_submission_may_give_more_than_an_answer_holds(make: Callable[..., ParserProcess]) -> None:
    text = "%" + "\n".join(f"k{n} g {n}" for n in range(200))
    for output in (1024, 3000, 100_000):
        assert list(make(output=output).unpack(Submission(text.encode())).records()) == plain(text)


def test_va3_a_document_of_events_comes_in_slices_too() -> None:
    build = partial(load_pack, "epcis", {}, "strict")
    value = b"".join(one_document("xml-1.2", 140_000))  # more than is read at once
    value = value.replace(b"<action>", b"<action>no such ", 1)
    cut = Submission(value[:-30] + b"<")
    parser = ParserProcess(build, LIMITS)
    try:
        found = list(parser.unpack(Submission(value)).records())
        (refusal,) = parser.unpack(cut).records()
    finally:
        parser.close()
    assert len(cut.value or b"") > LIMITS.output, "its own bytes are no part of what the reader gives"
    assert [refusal] == list(build().unpack(cut).records())
    assert found == list(build().unpack(Submission(value)).records())
    assert [isinstance(item, Refusal) for item in found].count(True) == 1


def test_va3_submissions_are_read_by_turns(parser: ParserProcess) -> None:
    """As those of several partitions are; also where the process has closed one, to have memory for another."""
    texts = ["%" + "\n".join(f"k{n}.{m} g {n}" for n in range(20)) for m in range(parser_child.MOST_OPEN + 2)]
    found = [parser.unpack(Submission(text.encode())) for text in texts]
    by_turns = [[next(one.records(n)) for one in found] for n in range(20)]
    assert [list(items) for items in zip(*by_turns, strict=True)] == [plain(text) for text in texts]


def test_va3_a_submission_that_was_read_through_leaves_nothing_behind(parser: ParserProcess) -> None:
    """Nor do those that were begun and never ended, in a worker that runs for months."""
    for _ in range(3):
        list(parser.unpack(Submission(LONG.encode())).records())
    assert parser._child is not None
    assert not parser._child.opened
    for _ in range(2 * parser_child.MOST_OPEN):
        next(parser.unpack(Submission(LONG.encode())).records())
    assert len(parser._child.opened) == parser_child.MOST_OPEN


def test_va3_a_record_that_breaks_its_reader_is_refused_alone(parser: ParserProcess) -> None:
    poison = [f"k g %{deed}" for deed in ("exit", "segv", "raise", "memory")] + ["k g " + "1" * 100_000]
    lines = LONG[1:].splitlines()
    places = (0, 7, 8, 20, 27)
    for place, line in zip(places, poison, strict=True):
        lines.insert(place, line)
    found = parser.unpack(Submission(("%" + "\n".join(lines)).encode(), "text/plain"))
    items = list(found.records())
    assert found.count == len(items) == 28
    assert [item for n, item in enumerate(items) if n not in places] == plain(LONG), "its neighbours are unharmed"
    refused = [item for n, item in enumerate(items) if n in places and isinstance(item, Refusal)]
    assert [item.findings[0].message for item in refused] == [
        f"the reader {why}; tried twice"
        for why in (
            "ended with exit code 3", "crashed (SIGSEGV)", "raised RuntimeError",
            f"needed more than {2**28} bytes of memory", "gave more than 100000 bytes of records",
        )
    ]  # fmt: skip
    assert {item.findings[0].code for item in refused} == {"PARSER_FAILED"}
    assert [item.original for item in refused] == [b"%" + line.encode() for line in poison]
    for refusal in refused[2::2]:
        (alone,) = parser.unpack(Submission(refusal.original, refusal.content_type)).records()
        assert alone == refusal, "a refusal's original is a submission of its own, and says the same again"


def test_va3_a_crash_in_the_middle_that_does_not_come_again_is_none(parser: ParserProcess, tmp_path: Path) -> None:
    text = LONG + f"\nk g %once:{tmp_path / 'before'}" + "\n" + LONG[1:]
    items = list(parser.unpack(Submission(text.encode())).records())
    assert (tmp_path / "before").exists()
    assert items == plain(text)


def test_va3_records_behind_many_that_break_the_reader_are_refused_unread(
    parser: ParserProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "MOST_BROKEN", 2)
    lines = ["a g 1", "b g %exit", "c g 1", "d g %exit", "e g 1", "f g %exit"]
    found = list(parser.unpack(Submission(("%" + "\n".join(lines)).encode())).records())
    assert codes(found) == ["a", "PARSER_FAILED", "c", *["PARSER_FAILED"] * 3]
    said = [i.findings[0].message for i in found if isinstance(i, Refusal)]
    assert said[2:] == ["not read: 2 records before it broke the reader"] * 2
    assert [i.original for i in found if isinstance(i, Refusal)] == [b"%" + lines[n].encode() for n in (1, 3, 4, 5)]


class Scripted:
    """A reader of four records, of which the first breaks it; behind it, each of `deeds` is what comes of one try."""

    def __init__(self, *deeds: str) -> None:
        self._deeds = iter(("opens", "opens", *deeds))

    def __call__(self, submission: Submission, start: int, most: int, judged: bool, found: Answer) -> None:
        deed = next(self._deeds)
        if deed != "dies":
            found.opened = "text/plain", 4, {}
        if deed != "tells":
            raise Failed(deed)
        found.alone, found.done = (b"line %d" % start, "text/plain", False), True


@pytest.mark.parametrize(
    ("deeds", "originals"),
    [
        (["tells", "dies", "tells", "tells"], [b"line 1", b"line 2", b"line 3"]),
        (["tells", "dies", "opens"], [b"line 1", b"all of it", b"all of it"]),
    ],
    ids=["one death", "it cannot be divided"],
)
def test_va3_one_death_of_the_process_does_not_cost_unread_records_their_originals(
    monkeypatch: pytest.MonkeyPatch, deeds: list[str], originals: list[bytes]
) -> None:
    """Where it dies twice on the bytes of a record it is asked no more: each death costs an opening."""
    monkeypatch.setattr(slices, "MOST_BROKEN", 1)
    found = list(Sliced(Scripted(*deeds), Submission(b"all of it")).open(0).records())
    assert [item.original for item in found if isinstance(item, Refusal)] == [b"all of it", *originals]


def test_va3_a_submission_that_cannot_be_opened_again_for_unread_records_is_begun_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not answered with a copy of all of it for each of them."""
    monkeypatch.setattr(slices, "MOST_BROKEN", 1)
    records = Sliced(Scripted("tells", "dies", "dies"), Submission(b"all of it")).open(0).records()
    assert len([next(records), next(records)]) == 2
    with pytest.raises(Abortable, match="where it opened a submission again"):
        next(records)


def test_va3_what_cannot_be_opened_again_is_no_fault_of_a_record(parser: ParserProcess, tmp_path: Path) -> None:
    """Records before it may have committed with a count."""
    text = f"%again:{tmp_path / 'before'}\n" + "\n".join(f"k{n} g {n}" for n in range(12)) + "\nx g %exit"
    records = parser.unpack(Submission(text.encode())).records()
    with pytest.raises(Abortable, match="where it opened a submission again"):
        list(records)


class Away:
    """A submission whose reader cannot be started."""

    content_type, count = "text/plain", 2
    notes: Mapping[str, int] = {}

    def records(self, start: int = 0) -> Iterator[Record | Refusal]:
        raise Abortable("no process")


def test_va3_nor_is_a_missing_process_where_the_rest_of_a_submission_is_refused() -> None:
    with pytest.raises(Abortable):
        list(Rest(Away(), Refusal((), b"", "")).records())


def test_va2_a_worker_killed_within_a_submission_goes_on_where_it_committed(parser: ParserProcess) -> None:
    """Also past a record that breaks the reader: every record has one answer, the same as without the kill."""
    lines = LONG[1:].splitlines()
    lines[9:9] = ["k g %exit"]
    answers = []
    for kills in (False, True):
        toy = Toy(line_pipeline(chunk={"bytes": 1024}), unpack=parser.unpack, pack=HeavyPack())
        toy.publish("a g 1", "%" + "\n".join(lines), "b g 1")
        seen = 0
        while kills and seen < 20:
            toy.runner.step(timeout=0)
            if toy.broker.end("heads", 0) and toy.head()["next_index"] > seen:
                seen = toy.head()["next_index"]
                toy.kill()
        toy.run()
        assert toy.answers() == [(0, 0, 0), *[(0, 1, n) for n in range(24)], (0, 2, 0)]
        assert {m["count"] for m in [*toy.validated(), *toy.dead()] if m["raw_offset"] == 1} == {24}
        answers.append((toy.validated(), toy.dead(), toy.head()["chain"]))
    assert answers[0] == answers[1]


def test_va2_how_many_records_have_broken_the_reader_is_known_after_a_restart(
    parser: ParserProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else which records are read, and which refused unread, would be a matter of when a worker was killed."""
    monkeypatch.setattr(slices, "MOST_BROKEN", 2)
    lines = [f"k{n} g {'%exit' if n % 4 == 1 else n}" for n in range(14)]
    toy = Toy(line_pipeline(chunk={"bytes": 1024}), unpack=parser.unpack, pack=HeavyPack())
    toy.publish("%" + "\n".join(lines))
    seen = 0
    while len(toy.answers()) < 14:
        toy.runner.step(timeout=0)
        if toy.broker.end("heads", 0) and toy.head()["next_index"] > seen:
            seen = toy.head()["next_index"]
            toy.kill()
    assert toy.answers() == [(0, 0, n) for n in range(14)]
    assert [m["raw_index"] for m in toy.validated()] == [0, 2, 3, 4]
    said = {m["raw_index"]: m["findings"][0]["message"] for m in toy.dead()}
    assert [n for n, why in said.items() if why.startswith("not read: 2 records")] == list(range(6, 14))


def test_va3_two_large_submissions_do_not_take_the_process_from_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits, with its partition, until the first has ended; a small one need not."""
    monkeypatch.setattr("streams.validate.spanning.LARGE_SUBMISSION", 100)
    pipeline = line_pipeline(partitions=3, chunk={"bytes": 1024})
    toy = Toy(pipeline, unpack=lambda submission, *_: HeavyPack().unpack(submission), pack=HeavyPack())
    in_order, sign = toy.log.fetch, cycle((1, -1))

    def by_turns(*asked: Any) -> Fetched:
        """One message of each partition after the other, now these first and now those."""
        fetched, first = in_order(*asked), next(sign)
        return fetched._replace(messages=sorted(fetched.messages, key=lambda m: (m.offset, first * m.partition)))

    monkeypatch.setattr(toy.log, "fetch", by_turns)
    for partition in (0, 1):
        toy.publish("%" + "\n".join(f"k{partition}.{n} g {n}" for n in range(20)), "c g 1", partition=partition)
    toy.publish("%a g 1\nb g 1", partition=2)
    held = []
    while len(toy.answers()) < 44:
        toy.runner.step(timeout=0)
        held.append(toy.runner.held)
        done = Counter(partition for partition, _, _ in toy.answers())
        assert not done[0] or not done[1] or done[0] > 19 or done[1] > 19
    assert {0} in held or {1} in held
    assert toy.stage.room is None


def large(name: str) -> str:
    """A submission that takes several chunks."""
    return "%" + "\n".join(f"{name}.{n} g {n}" for n in range(20))


def queueing(monkeypatch: pytest.MonkeyPatch, partitions: int) -> Toy:
    """One worker of partitions in which large submissions are too many."""
    monkeypatch.setattr("streams.validate.spanning.LARGE_SUBMISSION", 100)
    pipeline = line_pipeline(partitions=partitions, chunk={"bytes": 1024})
    return Toy(pipeline, unpack=lambda submission, *_: HeavyPack().unpack(submission), pack=HeavyPack())


def order_of_ends(toy: Toy, submissions: dict[int, int]) -> list[int]:
    """Partitions in the order in which their large submissions, so many of each, are worked to their end."""
    order: list[int] = []
    for _ in range(500):
        toy.runner.step(timeout=0)
        for partition, most in submissions.items():
            ended = min(toy.runner.positions.get(partition, 0), most)
            order += [partition] * (ended - order.count(partition))
        if len(order) == sum(submissions.values()):
            break
    return order


def test_va3_of_partitions_with_large_submissions_each_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """First come, first served: who has many more behind the one that ends waits for those that came meanwhile."""
    toy = queueing(monkeypatch, 3)
    toy.publish(*(large(f"a{n}") for n in range(5)), "c g 1", partition=0)
    for partition in (1, 2):
        toy.publish(*(large(f"b{partition}{n}") for n in range(2)), f"c{partition} g 1", partition=partition)
    assert order_of_ends(toy, {0: 5, 1: 2, 2: 2}) == [0, 1, 2, 0, 1, 2, 0, 0, 0]
    toy.run()
    assert len(toy.answers()) == 9 * 20 + 3
    assert toy.stage.room is None


def test_va3_a_partition_that_waits_and_goes_away_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = queueing(monkeypatch, 3)
    for partition in range(3):
        toy.publish(*(large(f"k{partition}{n}") for n in range(2)), partition=partition)
    toy.runner.step(timeout=0)
    toy.runner.step(timeout=0)
    assert toy.stage.room == {1: 0, 2: 0}
    toy.runner._forget(1)
    assert order_of_ends(toy, {0: 2, 2: 2}) == [0, 2, 0, 2]
    assert toy.stage.room is None


def test_va3_a_partition_whose_turn_it_is_does_not_keep_others_waiting_for_ever() -> None:
    """Its broker may be away, so that its submission never comes; when it comes, it queues again."""
    now = 0.0
    spanning = Spanning("raw", lambda submission, *_: Away(), HeavyPack().heavy, lambda: now)

    def held() -> set[int]:
        return set(spanning.room or ())

    submission = Submission(b"%" + b"x" * LARGE_SUBMISSION)
    away, other = (Message(partition, 0, 0, None, submission.value) for partition in (1, 2))
    spanning.keep(0, 0, submission, Away())
    assert spanning.waits(away)
    assert spanning.waits(other)
    assert held() == {1, 2}
    spanning.end(0)
    assert held() == {2}
    now += TURN_SECONDS
    assert held() == {2}
    now += 1
    assert not held()
    assert spanning.waits(away)
    assert held() == {1}
    assert not spanning.waits(other)
    spanning.keep(2, 0, submission, Away())
    now += 2 * TURN_SECONDS
    assert held() == {1}, "nobody's turn passes while another is being read"
    spanning.end(2)
    assert not held()
    assert not spanning.waits(away)


# ---- inside the process -----------------------------------------------------------------------------


class Inside:
    """A reader and what it has said."""

    def __init__(self, output: int = 100_000, pack: HeavyPack | None = None) -> None:
        self.said: list[tuple[str, Any]] = []
        self.reader = Reader(pack or HeavyPack(), 20.0, output, lambda data: self.said.append(pickle.loads(data)))

    def ask(self, start: int, most: int, text: str | None = None, number: int = 1, judged: bool = True) -> list[Any]:
        """Kinds of the answers, records as their number."""
        self.said.clear()
        submission = None if text is None else Submission(text.encode())
        stated = None if text is None else (None, None, None, len(text))
        if text is not None:
            self.reader.make_room(len(text))
        self.reader.answer(Ask(number, start, most, judged, stated), submission)
        return [len(value) if kind == parser_child.READ else kind for kind, value in self.said]


def test_a_slice_ends_with_what_an_answer_holds_and_goes_on_with_what_did_not_fit() -> None:
    inside = Inside(output=1500)
    assert inside.ask(0, 100, "%" + "\n".join(f"k{n} g {n}" for n in range(5))) == ["opened", 1]
    assert [inside.ask(n, 100) for n in range(1, 5)] == [[1]] * 4
    assert inside.ask(4, 100) == ["gone"], "read through, it is closed"


class SlowPack(HeavyPack):
    """Opens a submission in as many steps as it has lines, and one of a single line not at all."""

    def opening(self, submission: Submission) -> Steps[Lines]:
        lines = self.unpack(submission)
        for _ in range(lines.count):
            yield
        if lines.count == 1:
            raise RuntimeError("cannot be opened")
        return lines


def test_what_takes_long_to_open_is_opened_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser_child, "SLICE_SECONDS", -1.0)
    inside = Inside(pack=SlowPack())
    assert inside.ask(1, 1, "%a g 1\nb g 1") == ["opening"]
    assert inside.ask(1, 1, "%a g 1\nb g 1", number=2) == ["opening"], "two at a time"
    assert [inside.ask(1, 1, number=number) for number in (1, 2, 1, 2)] == [
        ["opening"], ["opening"], ["opened", "bytes", 1], ["opened", "bytes", 1],
    ]  # fmt: skip
    assert inside.ask(0, 1, "%a g 1") == ["opening"]
    assert [inside.ask(0, 1) for _ in range(2)] == [["raised"], ["gone"]]


class Opening:
    """A reader of lines that says so many times that it is still opening them, each time that it is begun."""

    def __init__(self, text: str, steps: int) -> None:
        self.text, self.steps, self.left = text, steps, steps
        self.asked = 0

    def __call__(self, submission: Submission, start: int, most: int, judged: bool, found: Answer) -> None:
        self.asked += 1
        if self.left:
            self.left -= 1
            found.opening = True
            return
        found.opened = "text/plain", Lines(self.text.encode()).count, {}
        found.items = list(Lines(self.text.encode()).records(start))[:3]

    def unpack(
        self, submission: Submission, start: int = 0, broken: int = 0, enough: Callable[[], bool] = never, /
    ) -> Unpacked:
        """In the place of a parser process: lines that begin with `%` are opened in steps."""
        if (submission.value or b"")[:1] != b"%":
            return HeavyPack().unpack(submission)
        self.left = self.steps
        return Sliced(self, submission, broken, enough).open(start)


def test_va3_while_a_submission_is_being_opened_others_are_worked_and_nothing_of_it_is_committed() -> None:
    """A chunk ends in time, the worker is not held for stuck, and a kill only costs the steps."""
    text = "\n".join(f"k{n} g {n}" for n in range(10))
    reader = Opening(text, 4)
    toy = Toy(line_pipeline(partitions=2), unpack=reader.unpack)
    ticks = count(0, 10)
    toy.stage._limits._clock = lambda: next(ticks)  # each chunk has time for one step, or one record
    toy.publish("a g 1", "%", "b g 1")
    toy.publish("c g 1", partition=1)
    while reader.asked < 3:
        toy.runner.step(timeout=0)
    assert toy.answers() == [(0, 0, 0), (1, 0, 0)]
    assert (toy.head()["processed_through"], toy.head()["next_index"]) == (0, 0)
    toy.kill()
    toy.stage._limits._clock = lambda: next(ticks)
    works = [toy.runner.step(timeout=0).work for _ in range(30)]
    assert toy.answers() == [(0, 0, 0), *[(0, 1, n) for n in range(10)], (0, 2, 0), (1, 0, 0)]
    assert {m["count"] for m in toy.validated() if m["raw_offset"] == 1} == {10}
    assert [work.opening for work in works if work is not None and work.empty] == [{0}] * 4


def test_va3_a_submission_that_must_be_opened_again_in_the_middle_goes_on_where_it_was() -> None:
    """Its process died: the chunk ends, and what was not read is neither refused nor left out."""
    reader = Opening("\n".join(f"k{n} g {n}" for n in range(10)), 0)
    sliced = Sliced(reader, Submission(b"%"), 0, lambda: True)
    assert sliced.open(0).count == 10
    reader.left = 3
    assert codes(list(sliced.records())) == ["k0", "k1", "k2"]
    assert list(sliced.records(3)) == []
    assert list(Rest(sliced, Refusal((), b"", "")).records(3)) == []
    assert sliced.opening
    assert codes(list(sliced.records(3))) == [f"k{n}" for n in range(3, 10)]
    assert not sliced.opening


def test_va3_between_two_chunks_a_worker_does_not_keep_the_bytes_that_it_reads_from_the_log_again() -> None:
    """Large documents would be held twice: as they were fetched first, and as they are fetched for each chunk."""
    reader = Opening("\n".join(f"k{n} g {n}" for n in range(10)), 2)
    toy = Toy(unpack=reader.unpack)
    ticks = count(0, 10)
    toy.stage._limits._clock = lambda: next(ticks)
    toy.publish("%" + "x" * 1000)
    toy.runner.step(timeout=0)  # joins
    value = toy.broker.all("raw")[0].value
    before = sys.getrefcount(value)
    for written in (0, 0, 1, 2):
        toy.runner.step(timeout=0)
        assert len(toy.answers()) == written
        assert sys.getrefcount(value) == before


def test_va3_a_reader_that_never_gets_ready_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MOST_STEPS", 7)
    reader = Opening("a g 1", 10**6)
    (refusal,) = Sliced(reader, Submission(b"all of it")).open(0).records()
    assert isinstance(refusal, Refusal)
    assert refusal.findings[0].message == "the reader has not opened it in 7 steps; tried twice"
    assert reader.asked == 14


def test_a_slice_ends_before_a_record_that_raises() -> None:
    inside = Inside()
    assert inside.ask(0, 100, "%a g 1\nb g 1\nc g %raise\nd g 1") == ["opened", 2]
    assert inside.ask(2, 100) == ["raised"]
    assert inside.ask(2, 1) == ["bytes", "raised"]
    assert inside.ask(3, 1) == ["bytes", 1]


def test_the_bytes_of_a_record_are_told_without_reading_it() -> None:
    inside = Inside()
    assert inside.ask(1, 1, "%a g 1\nb g %exit", judged=False) == ["opened", "bytes"]
    assert inside.said[1][1] == (b"%b g %exit", "text/plain", False)


def test_of_large_submissions_one_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser_child, "LARGE_SUBMISSION", 100)
    inside, large = Inside(), "%" + "\n".join(f"k{n} g {n}" for n in range(20))
    inside.ask(0, 1, large, 1)
    inside.ask(0, 1, "%a g 1\nb g 1", 2)
    inside.ask(0, 1, large, 3)
    assert [inside.ask(1, 1, number=number)[-1] for number in (1, 2, 3)] == ["gone", 1, 1]


@pytest.mark.parametrize("count", [1, 3])
def test_a_pack_that_counts_wrong_has_crashed(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    def lying(pack: HeavyPack, submission: Submission) -> Lines:
        lines = Lines(b"a g 1\nb g 1")
        lines.count = count
        return lines

    monkeypatch.setattr(HeavyPack, "unpack", lying)
    inside = Inside()
    inside.ask(0, 100, "%")
    assert inside.said[-1] == ("raised", "ValueError") or inside.ask(2, 100) == ["raised"]


def test_records_of_a_submission_that_was_not_opened_are_believed_of_nobody() -> None:
    """Its count would be 0, and the submission end without an answer."""
    with pytest.raises(ValueError, match="not opened"):
        Answer().take(pickle.dumps((parser_child.READ, [])))
