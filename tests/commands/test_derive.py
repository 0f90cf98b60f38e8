"""What the tables must hold by the log alone: the rules of versions, windows and deliveries told a second time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import pytest

from schemas.canonical import RawPosition
from schemas.messages import position_of
from waybill.derive import RETAINED, Batches, Read, Versions, compare_windows, sealed

BATCH = bytes([9]) * 32
KEEP = 1000


def position(offset: int) -> dict[str, Any]:
    return {"raw_topic": "r", "raw_incarnation": 0, "raw_partition": 0, "raw_offset": offset, "raw_index": 0}


def record(raw: int, content: int = 0, at: int = 0, ordering: str | None = None, key: str = "k") -> dict[str, Any]:
    return {**position(raw), "key": key, "digest": bytes([content]) * 32, "recorded_at": at, "group": "g",
            "date": "2026-03-02", "ordering": ordering}  # fmt: skip


def row(offset: int, of: dict[str, Any], admitted_at: int = 0) -> dict[str, Any]:
    return {**of, "offset": offset, "admitted_at": admitted_at}


def versions(*messages: tuple[str, dict[str, Any]], supersede: bool = False) -> Versions:
    derived = Versions(KEEP, supersede)
    for offset, (name, message) in enumerate(messages):
        derived.take(offset, name, message)
    return derived


def test_a_duplicate_and_a_conflict_admit_nothing() -> None:
    derived = versions(("validated", record(0)), ("validated", record(1)), ("validated", record(2, content=1)))
    assert derived.compare([row(0, record(0))]) == []
    assert [d.what for d in derived.compare([])] == ["is missing in the table"]
    extra = [row(0, record(0)), row(2, record(2, content=1))]
    assert [d.what for d in derived.compare(extra)] == ["is in the table, and does not follow from the log"]


def test_a_record_written_twice_by_validate_is_one_version() -> None:
    derived = versions(("validated", record(5)), ("release", record(5)), ("validated", record(5)))
    assert derived.compare([]) == []


def test_a_newer_version_supersedes_and_an_older_one_does_not() -> None:
    derived = versions(
        ("validated", record(0, 0, ordering="2")),
        ("validated", record(1, 1, ordering="1")),
        ("validated", record(2, 2, ordering="3")),
        supersede=True,
    )
    assert derived.compare([row(0, record(0, 0, ordering="2")), row(2, record(2, 2, ordering="3"))]) == []


def test_where_other_content_is_a_conflict_a_newer_one_is_too() -> None:
    derived = versions(("validated", record(0, 0, ordering="1")), ("validated", record(1, 1, ordering="2")))
    assert derived.compare([row(0, record(0, 0, ordering="1"))]) == []


def test_a_release_takes_its_version_and_no_other() -> None:
    derived = versions(("validated", record(0)), ("release", record(7)))
    assert derived.compare([row(0, record(0))]) == []
    derived.take(2, "release", record(0))
    assert derived.compare([]) == []


def test_an_aged_version_may_be_there_or_not_and_guards_nothing() -> None:
    derived = versions(("validated", record(0)), ("validated", record(1, 1, at=KEEP + 1)))
    newer = row(1, record(1, 1), admitted_at=KEEP + 1)
    assert derived.compare([newer]) == []
    assert derived.compare([row(0, record(0)), newer]) == []


def test_a_retained_version_does_not_age_until_the_end_of_the_retain() -> None:
    later = record(1, at=10 * KEEP, key="other")
    kept = {"keys": [record(0)]}
    derived = versions(("validated", record(0)), ("retain", {"begin": True, **kept}), ("validated", later))
    other = row(2, later, admitted_at=10 * KEEP)
    assert derived.compare([row(0, record(0), admitted_at=RETAINED), other]) == []
    assert len(derived.compare([other])) == 1, "a retained version that is gone is missed"
    derived.take(3, "retain", {"begin": False, **kept})
    assert derived.compare([row(0, record(0), admitted_at=10 * KEEP), other]) == []


def test_a_retained_version_guards_its_key_although_a_newer_one_has_aged() -> None:
    derived = versions(
        ("validated", record(0, 0, ordering="1")),
        ("retain", {"begin": True, "keys": [record(0)]}),
        ("validated", record(1, 1, ordering="2")),
        ("validated", record(2, 0, at=KEEP + 1, ordering="1")),
        supersede=True,
    )
    assert derived.compare([row(0, record(0, 0, ordering="1"), admitted_at=RETAINED)]) == []


def test_a_replayed_batch_is_admitted_again_unless_a_newer_version_came() -> None:
    replay = {"first_recorded_at": 0, "group": "g", "date": "2026-03-02", "records": [row(0, record(0))]}
    dead = (("validated", record(0)), ("release", record(0)))
    assert versions(*dead, ("replay", replay)).compare([row(0, record(0))]) == []
    corrected = ("validated", record(1, 1))
    assert versions(*dead, corrected, ("replay", replay)).compare([row(2, record(1, 1))]) == []


def test_a_line_is_sealed_through_its_last_batch_until_the_committed_offset_has_passed() -> None:
    raw = [RawPosition("r", 0, 0, offset, 0) for offset in range(3)]
    admitted = {raw[0]: 10, raw[1]: 11, raw[2]: 12}
    line = ("g", "2026-03-02")
    through = sealed([(line, raw[0]), (line, raw[2]), (("h", "2026-03-02"), RawPosition("r", 0, 0, 99, 0))], admitted)
    assert through == {line: 12}
    assert compare_windows(through, {line: 12}, 12) == []
    assert compare_windows(through, {}, 13) == []
    assert len(compare_windows(through, {}, 12)) == 1
    assert len(compare_windows(through, {line: 11}, 12)) == 1
    assert len(compare_windows(through, {line: 12}, 13)) == 1


def batches(*answers: tuple[str, int | None]) -> Batches:
    """One batch, replayed once per answer that has an attempt; answers in log order."""
    derived = Batches()
    fields = {"batch_id": BATCH, "partner": "lake", "group": "g", "count": 2}
    derived.batched(1, 5, "batched", fields)
    for life, (_, attempt) in enumerate(answers, 1):
        if attempt is not None:
            derived.batched(1, 5 + life, "batched_again", {**fields, "life": life, "passport": {"attempt": attempt}})
    for state, attempt in answers:
        passport = None if attempt is None else {"attempt": attempt}
        more = {"outcome": "delivered"} if state == "sent" else {"attempts": 3, "outcome_unknown": False}
        derived.settle({"batch_id": BATCH, "passport": passport, "answer": "said", **more}, state)
    return derived


def delivery(**changes: Any) -> tuple[int, dict[str, Any]]:
    fields = {
        "batch_id": BATCH, "partner": "lake", "group": "g", "count": 2, "batched_partition": 1, "batched_offset": 5,
        "state": "sent", "life": 1, "attempt": 1, "unknown": False, "answer": "said", "parent": None, "first": 0,
    }  # fmt: skip
    return 1, fields | changes


def unread(partition: int, offset: int) -> Mapping[str, Any]:
    raise AssertionError("no batch was split: none is read again")


def test_a_delivery_row_says_what_the_answers_say() -> None:
    assert batches(("sent", None)).compare([delivery()], unread) == ([], 0)
    assert batches().compare([delivery(state="in_flight", answer=None)], unread) == ([], 0)
    assert batches(("dead", None)).compare([delivery(state="dead", attempt=3)], unread) == ([], 0)
    for wrong in ({"state": "dead"}, {"answer": "lied"}, {"life": 2}, {"batched_offset": 6}, {"partner": "sea"}):
        differences, _ = batches(("sent", None)).compare([delivery(**wrong)], unread)
        assert differences, wrong


def test_of_several_lives_the_last_counts() -> None:
    derived = batches(("dead", None), ("sent", 1))
    assert derived.compare([delivery(life=2)], unread) == ([], 0)
    earlier = {"batch_id": BATCH, "passport": None, "answer": "no", "attempts": 3, "outcome_unknown": False}
    derived.settle(earlier, "dead")  # dead letters are read after the acks
    assert derived.compare([delivery(life=2)], unread) == ([], 0)
    assert derived.compare([delivery(life=1, state="dead", attempt=3)], unread)[0]


def test_a_batch_of_which_the_partner_took_a_part_is_sent() -> None:
    derived = batches(("sent", None))
    derived.settle(
        {"batch_id": BATCH, "passport": None, "answer": "no", "attempts": 1, "outcome_unknown": False}, "dead"
    )
    assert derived.compare([delivery()], unread) == ([], 0)


def test_only_a_settled_batch_may_have_no_row() -> None:
    assert batches(("sent", None)).compare([], unread) == ([], 1)
    differences, tidied = batches().compare([], unread)
    assert (len(differences), tidied) == (1, 0)
    assert Batches().compare([delivery()], unread)[0], "a row without a batch"


def halved(*answered: str) -> tuple[Batches, list[tuple[int, dict[str, Any]]], Read]:
    """A batch of two records that was split, its rows as they should be, and how it is read. `answered`: the states
    of the halves that have an answer."""
    records = [{**position(n), "digest": bytes([n]) * 32} for n in range(2)]
    message = {"pipeline": "p", "partition": 3, "group": "g", "date": "2026-03-01", "records": records}
    derived, rows = batches(), [delivery(state="split", answer="413")]
    for n, record in enumerate(records):
        manifest = {name: message[name] for name in ("date", "group", "partition", "pipeline")}
        manifest |= {"records": [{"digest": record["digest"].hex(), "raw": list(position_of(record))}]}
        half = sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()).digest()
        state = answered[n] if n < len(answered) else "pending"
        rows.append(delivery(batch_id=half, parent=BATCH, first=n, count=1, state=state))
        if n < len(answered):
            more = {"outcome": "delivered"} if state == "sent" else {"attempts": 1, "outcome_unknown": False}
            derived.settle({**record, "batch_id": half, "passport": None, "answer": "said", **more}, state)
    return derived, rows, lambda partition, offset: message if (partition, offset) == (1, 5) else {}


@pytest.mark.parametrize("answered", [(), ("sent",), ("sent", "dead")])
def test_halves_of_a_split_batch_say_what_their_records_were_answered(answered: tuple[str, ...]) -> None:
    derived, rows, read = halved(*answered)
    assert derived.compare(rows, read) == ([], 0)


@pytest.mark.parametrize(
    "wrong",
    [{"first": 0}, {"count": 2}, {"batch_id": bytes(32)}, {"state": "sent"}, {"parent": bytes(32)}, {"group": "h"},
     {"batched_offset": 6}, {"life": 2}],
)  # fmt: skip
def test_a_half_that_the_log_does_not_know_is_told(wrong: dict[str, Any]) -> None:
    derived, rows, read = halved("sent")
    rows[2] = rows[2][0], rows[2][1] | wrong
    assert derived.compare(rows, read)[0]


def test_halves_of_a_batch_that_was_not_split_are_told() -> None:
    derived, rows, read = halved("sent", "dead")
    rows[0][1]["state"] = "dead"
    assert len(derived.compare(rows, read)[0]) == 3


def test_a_split_batch_whose_rows_are_gone_was_settled_if_each_record_is_answered() -> None:
    derived, _, read = halved("sent", "dead")
    assert derived.compare([], read) == ([], 1)
    derived, _, read = halved("sent")
    assert len(derived.compare([], read)[0]) == 1
