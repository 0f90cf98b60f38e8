"""Each rule of dispatch at the stage itself: bytes in, bytes out. `test_dispatch_histories` runs them at random."""

from __future__ import annotations

from typing import Any

import pytest

from audit.block import read_block
from schemas.canonical import sha256
from schemas.pack import CANONICAL_TYPE
from streams.delivery import render
from streams.delivery.protocol import Outcome, OutcomeKind
from streams.dispatch.bodies import Bodies
from streams.runtime.log import LogGap
from streams.stage import Chunk, Work
from tests.streams.dispatch_desk import (
    CODEC,
    NO_BREAKER,
    PASSPORT,
    START,
    Desk,
    PlainPack,
    batch_id,
    batched,
    batched_again,
    outcome,
    pipeline,
    record,
    said,
)  # fmt: skip
from topology.model import partition_for
from topology.partner import HttpPartner, ObjectStorePartner

HOUR = 3600.0


def dead_codes(desk: Desk) -> list[str]:
    return [letter["findings"][0]["code"] for letter in desk.said("dead-letter")]


# ---- the protocol -------------------------------------------------------------------------------------


def test_di1_every_transaction_carries_the_offset_even_unchanged() -> None:
    desk = Desk()
    desk.batch("a")
    failed = desk.answer("failed")
    retried = desk.wait(2)
    settled = desk.answer("delivered")
    assert retried is not None
    for work in (failed, retried, settled):
        assert work.outputs
        assert work.offsets == {0: 1}


def test_di1_answers_for_a_forgotten_partition_are_discarded_and_the_entry_stays_in_flight() -> None:
    desk = Desk()
    desk.batch("a")
    desk.stage.forget(0)
    late = desk.stage.process(Chunk([], START, [(desk.sent[0], outcome("delivered"))]))
    assert late.empty
    assert desk.row("a")["state"] == "in_flight"


def test_di1_an_answer_of_an_older_attempt_settles_nothing() -> None:
    desk = Desk()
    desk.batch("a")
    desk.stage.forget(0)
    desk.restore()
    desk.turn()
    assert [envelope.attempt for envelope in desk.sent] == [1, 2]
    assert desk.answer("delivered", desk.sent[0]).empty
    desk.answer("delivered", desk.sent[1])
    assert len(desk.said("sent")) == 1


def test_law7_nothing_is_sent_before_its_write_ahead_has_committed() -> None:
    desk = Desk()
    desk.batch("a")
    envelope = desk.sent[0]
    row = desk.row("a")
    assert (row["state"], row["attempt"], row["life"]) == ("in_flight", envelope.attempt, envelope.life)
    assert row["body_digest"] == envelope.body_digest == sha256(envelope.body)
    assert row["render_version"] == render.FORMS["batch"]


def test_law7_every_attempt_and_life_has_the_same_idempotency_key() -> None:
    desk = Desk(retry={"backoff": "inventory", "attempts": 1})
    desk.batch("a")
    desk.answer("failed")
    desk.read(batched_again(batch_id("a"), 0, 2))
    desk.start()
    desk.turn()
    assert [(e.life, e.attempt) for e in desk.sent] == [(1, 1), (2, 1), (2, 2)]
    assert {e.idempotency_key for e in desk.sent} == {batch_id("a").hex()}


def test_law7_a_known_id_is_not_sent_again() -> None:
    desk = Desk()
    desk.batch("a")
    desk.batch("a")
    desk.answer("delivered")
    desk.batch("a")
    assert len(desk.sent) == 1
    assert len(desk.said("sent")) == 1


def test_law7_an_offset_read_again_is_nothing_new_even_when_its_row_is_gone_by_age() -> None:
    desk = Desk(keep=4 * HOUR)
    desk.batch("a")
    desk.answer("delivered")
    desk.wait(5 * HOUR)
    assert desk.tables["delivery"] == {}
    assert desk.turn(messages=desk.log).empty
    assert len(desk.sent) == 1


def test_law3_every_attempt_sends_the_same_bytes_also_after_a_restart() -> None:
    desk = Desk()
    desk.batch("a", size=3)
    desk.answer("failed")
    desk.wait(2)
    desk.now += 60_000
    desk.start()
    desk.turn()
    assert len(desk.sent) == 3
    assert len({(e.body, e.path, tuple(sorted(e.metadata.items()))) for e in desk.sent}) == 1


@pytest.mark.parametrize(
    ("kind", "last", "code"), [("failed", 3, "RETRIES_EXHAUSTED"), ("unknown", 4, "OUTCOME_UNKNOWN")]
)
@pytest.mark.parametrize("killed", [1, 2, 3], ids="after attempt {}".format)
def test_rty12_killed_between_two_attempts_it_waits_as_long_and_goes_on_with_the_next(
    killed: int, kind: str, last: int, code: str
) -> None:
    desk = Desk()  # three attempts, four of unknown outcome
    desk.batch("a")
    for attempt in range(1, last + 1):
        assert [envelope.attempt for envelope in desk.sent] == list(range(1, attempt + 1))
        desk.answer(kind)
        if attempt == last:
            break
        due = desk.row("a")["not_before"]
        assert due > desk.now
        if attempt == killed:
            desk.start()
        desk.wait((due - 1 - desk.now) / 1000)
        assert len(desk.sent) == attempt, "before its time"
        desk.wait(0.001)
    assert dead_codes(desk) == [code]
    assert desk.said("dead-letter")[0]["attempts"] == last


def test_law4_an_unknown_outcome_is_retried_and_is_no_ack() -> None:
    desk = Desk()
    desk.batch("a")
    desk.answer("unknown")
    assert desk.said("sent") == []
    assert desk.row("a")["unknown"]
    desk.wait(2)
    assert [envelope.attempt for envelope in desk.sent] == [1, 2]
    desk.answer("delivered")
    assert len(desk.said("sent")) == 1


# ---- DI2, BA8: known and unknown ends ------------------------------------------------------------------


def test_an_answer_has_a_row_of_its_own_though_the_next_attempt_need_not_wait() -> None:
    """`trace` and the log tell from the rows what each attempt was answered."""
    desk = Desk()
    desk.batch("a")
    work = desk.answer("paused", answer="429 not now", retry_after=0)
    rows = [(row["state"], row["answer"]) for row in said(work.outputs, "delivery", "delivery")]
    assert rows == [("pending", "429 not now"), ("in_flight", "429 not now")]
    assert len(desk.sent) == 2


def test_di2_an_attempt_found_in_flight_is_unknown_and_the_next_write_ahead_says_so() -> None:
    desk = Desk()
    desk.batch("a")
    assert not desk.row("a")["unknown"]
    desk.start()
    desk.turn()
    assert desk.row("a")["unknown"]
    assert desk.row("a")["attempt"] == 2
    desk.answer("refused")
    assert dead_codes(desk) == ["OUTCOME_UNKNOWN"]
    assert desk.said("dead-letter")[0]["outcome_unknown"]


def test_di2_unknown_is_sticky_over_lives() -> None:
    desk = Desk()
    desk.batch("a")
    desk.answer("unknown")
    desk.wait(2)
    desk.answer("refused")
    desk.read(batched_again(batch_id("a"), 0, 2))
    desk.answer("refused")
    assert dead_codes(desk) == ["OUTCOME_UNKNOWN", "OUTCOME_UNKNOWN"]
    assert desk.said("validated", "release") == []


def test_di2_unknown_attempts_have_a_bound_of_their_own_and_use_no_budget() -> None:
    desk = Desk(retry={"backoff": "inventory", "attempts": 1, "unknown_attempts": 3})
    desk.batch("a")
    for _ in range(3):
        desk.answer("unknown")
        assert desk.row("a")["budget_used"] == 0
        desk.wait(60)
    assert len(desk.sent) == 3
    assert dead_codes(desk) == ["OUTCOME_UNKNOWN"]


@pytest.mark.parametrize(
    ("kinds", "code"),
    [(["refused"], "PARTNER_REFUSED"), (["failed", "failed", "failed"], "RETRIES_EXHAUSTED")],
)
def test_ba8_a_known_death_releases_every_key_in_the_settling_transaction(kinds: list[str], code: str) -> None:
    desk = Desk()
    desk.batch("a", size=2)
    for kind in kinds:
        work = desk.answer(kind)
        desk.wait(60)
    assert dead_codes(desk) == [code, code]
    releases = said(work.outputs, "validated", "release")
    assert [(r["key"], r["raw_offset"], r["batch_id"]) for r in releases] == [
        ("a0", 0, batch_id("a")),
        ("a1", 1, batch_id("a")),
    ]
    # The partition of `validated` that the batch was cut from, which holds the versions.
    assert {output.partition for output in work.outputs if output.topic == "validated"} == {1}
    assert said(work.outputs, "dead-letter")
    assert said(work.outputs, "delivery")[0]["state"] == "dead"


@pytest.mark.parametrize("kinds", [["unknown", "refused"], ["unknown"] * 4, ["unknown", *["failed"] * 3], ["conflict"]])
def test_ba8_a_death_that_may_have_taken_effect_releases_nothing(kinds: list[str]) -> None:
    desk = Desk()
    desk.batch("a")
    for kind in kinds:
        desk.answer(kind)
        desk.wait(60)
    assert len(desk.said("dead-letter")) == 1
    assert desk.said("dead-letter")[0]["outcome_unknown"]
    assert desk.said("validated") == []


# ---- an outcome for each record -----------------------------------------------------------------------


def partial(desk: Desk, *refused: int) -> Work:
    """The partner took all records of the last attempt but these."""
    said = Outcome(OutcomeKind.PARTIAL, "207", refused={place: f"422: record {place}" for place in refused})
    return desk.turn(answers=[(desk.sent[-1], said)])


@pytest.mark.parametrize("acks", ["record", "batch"])
def test_a_batch_taken_in_part_is_acked_in_part_and_frees_the_keys_of_the_rest(acks: str) -> None:
    desk = Desk(acks=acks)
    desk.batch("a", size=3)
    work = partial(desk, 1)
    acked = desk.said("sent")[0]["records"] if acks == "batch" else desk.said("sent")
    assert [ack["raw_offset"] for ack in acked] == [0, 2]
    letters = desk.said("dead-letter")
    assert [(d["key"], d["findings"][0]["message"], d["outcome_unknown"]) for d in letters] == [
        ("a1", "422: record 1", False)
    ]
    assert [release["key"] for release in said(work.outputs, "validated", "release")] == ["a1"]
    assert desk.row("a")["state"] == "sent"
    blocks = [read_block(output.value) for output in work.outputs if output.topic == "audit" and output.value]
    entries = [(e.action, e.raw_offset) for block in blocks for e in block.entries]
    assert entries == [("BATCH", 0), ("DELIVER", 0), ("DELIVER", 2), ("DEAD", 1), ("RELEASE", 1)]


def test_a_batch_of_which_every_record_was_refused_is_dead() -> None:
    desk = Desk()
    desk.batch("a", size=2)
    partial(desk, 0, 1)
    assert desk.row("a")["state"] == "dead"
    assert [d["findings"][0]["message"] for d in desk.said("dead-letter")] == ["422: record 0", "422: record 1"]
    assert len(desk.said("validated", "release")) == 2


def test_di2_a_record_refused_after_an_unknown_attempt_frees_no_key() -> None:
    desk = Desk()
    desk.batch("a", size=2)
    desk.answer("unknown")
    desk.wait(60)
    partial(desk, 1)
    assert dead_codes(desk) == ["OUTCOME_UNKNOWN"]
    assert len(desk.said("sent")) == 1
    assert desk.said("validated", "release") == []


# ---- DI3: the same bytes, while the partner remembers --------------------------------------------------


def test_di3_a_retry_with_other_bytes_is_not_sent() -> None:
    desk = Desk()
    desk.batch("a")
    desk.answer("failed")

    class Changed(PlainPack):
        def summarize(self, payloads: Any) -> Any:
            return {"records": "another form"}

    desk.pack = Changed()
    desk.start()
    desk.wait(10)
    assert len(desk.sent) == 1
    assert dead_codes(desk) == ["BODY_DIGEST_CHANGED"]
    assert desk.said("dead-letter")[0]["route"] == "regulatory-affairs"


def test_di3_a_retry_renders_the_version_of_the_first_attempt() -> None:
    desk = Desk()
    desk.batch("a", partner="clinic")
    desk.answer("failed")
    lines = HttpPartner(kind="http", url="http://clinic", body="json-lines")
    desk.pipeline = pipeline({"lake": lines, "clinic": lines})
    desk.start()
    desk.wait(10)
    assert [envelope.attempt for envelope in desk.sent] == [1, 2]
    desk.batch("b", group="h", partner="clinic")
    assert desk.sent[-1].body == b'{"key":"b0"}\n'
    desk.sent.pop()
    assert len({envelope.body for envelope in desk.sent}) == 1
    assert desk.row("a")["render_version"] == 1


def forgetful(seconds: float) -> dict[str, Any]:
    partner = HttpPartner(kind="http", url="http://lake", timeout=30, key_retention=seconds, breaker=NO_BREAKER)
    return {"partners": {"lake": partner}}


def test_di3_an_unknown_attempt_older_than_the_partners_memory_is_not_retried() -> None:
    desk = Desk(**forgetful(600))
    desk.batch("a")
    desk.answer("unknown", after=1_000)
    desk.wait(569)  # sent now, it may arrive a time-out later
    assert len(desk.sent) == 2
    desk.answer("unknown")
    desk.wait(60)
    assert len(desk.sent) == 2
    assert dead_codes(desk) == ["OUTCOME_UNKNOWN"]


def test_di3_the_partners_memory_counts_from_the_first_attempt_that_may_have_arrived() -> None:
    desk = Desk(**forgetful(600))
    desk.batch("a")
    desk.answer("paused", retry_after=HOUR)
    desk.wait(HOUR)
    desk.answer("unknown")
    desk.wait(60)
    assert len(desk.sent) == 3, "nothing had reached the partner before the second attempt"


# ---- DI5, DI6 ------------------------------------------------------------------------------------------


def test_di5_nothing_is_sent_before_the_control_topic_was_read() -> None:
    desk = Desk(may_send=False)
    desk.batch("a")
    assert desk.sent == []
    assert desk.row("a")["state"] == "pending"
    assert not desk.stage.due(desk.now)
    desk.stage.may_send = True
    desk.wait(0)
    assert len(desk.sent) == 1


def test_di6_a_dead_batch_lives_again_with_its_body_id_and_passport() -> None:
    desk = Desk()
    desk.batch("a", size=2)
    desk.answer("refused")
    desk.start()  # nothing but the table remembers the passport
    desk.read(batched_again(batch_id("a"), 0, 2))
    desk.start()
    desk.turn()
    desk.answer("delivered")
    assert len({envelope.body for envelope in desk.sent}) == 1
    assert [ack["passport"] for ack in desk.said("sent")] == [PASSPORT, PASSPORT]


def test_di6_a_passport_admits_once() -> None:
    desk = Desk()
    desk.batch("a")
    desk.answer("refused")
    desk.read(batched_again(batch_id("a"), 0, 2))
    desk.answer("refused")
    desk.read(batched_again(batch_id("a"), 0, 2))
    assert len(desk.sent) == 2
    assert [letter["passport"] for letter in desk.said("dead-letter")] == [None, PASSPORT]


@pytest.mark.parametrize("life", [1, 3])
def test_di6_only_the_life_that_comes_next_is_admitted(life: int) -> None:
    desk = Desk()
    desk.batch("a")
    desk.answer("refused")
    desk.read(batched_again(batch_id("a"), 0, life))
    assert len(desk.sent) == 1


def test_di6_what_was_delivered_or_is_unsettled_does_not_live_again() -> None:
    desk = Desk()
    desk.batch("a")
    desk.read(batched_again(batch_id("a"), 0, 2))
    desk.answer("delivered")
    desk.read(batched_again(batch_id("a"), 0, 2))
    assert len(desk.sent) == 1


def test_di6_a_life_whose_row_is_gone_by_age_counts_as_unknown() -> None:
    desk = Desk()
    desk.batch("a")
    desk.answer("refused")
    del desk.tables["delivery"][batch_id("a")]
    desk.start()
    desk.read(batched_again(batch_id("a"), 0, 2))
    desk.answer("refused")
    assert dead_codes(desk) == ["PARTNER_REFUSED", "OUTCOME_UNKNOWN"]


# ---- BA9: age ------------------------------------------------------------------------------------------


def test_ba9_a_batch_unsettled_for_half_its_time_is_retained_once_until_it_is_settled() -> None:
    desk = Desk(keep=4 * HOUR)
    desk.batch("a", size=2)
    desk.answer("paused", retry_after=3 * HOUR)
    desk.wait(1.9 * HOUR)
    assert desk.said("validated") == []
    desk.wait(0.2 * HOUR)
    desk.start()
    desk.turn()
    (begin,) = desk.said("validated", "retain")
    assert (begin["batch_id"], begin["begin"]) == (batch_id("a"), True)
    assert [(key["key"], key["raw_offset"]) for key in begin["keys"]] == [("a0", 0), ("a1", 1)]
    desk.wait(HOUR)
    desk.answer("delivered")
    assert [message["begin"] for message in desk.said("validated", "retain")] == [True, False]
    assert {output.partition for output in desk.outputs if output.topic == "validated"} == {1}


def test_ba9_a_batch_that_is_settled_in_time_needs_no_retain() -> None:
    desk = Desk(keep=4 * HOUR)
    desk.batch("a")
    desk.answer("delivered")
    desk.wait(3 * HOUR)
    assert desk.said("validated") == []


def test_ba9_another_life_is_retained_once_too() -> None:
    desk = Desk(keep=4 * HOUR)
    desk.batch("a")
    desk.answer("refused")
    desk.read(batched_again(batch_id("a"), 0, 2))
    desk.answer("paused", retry_after=3 * HOUR)
    desk.wait(2.5 * HOUR)
    assert [message["begin"] for message in desk.said("validated", "retain")] == [True]


def test_a_settled_row_is_kept_for_keep_and_then_a_tombstone() -> None:
    desk = Desk(keep=4 * HOUR)
    desk.batch("a")
    desk.answer("delivered")
    desk.wait(3.9 * HOUR)
    assert batch_id("a") in desk.tables["delivery"]
    desk.wait(0.2 * HOUR)
    assert desk.tables["delivery"] == {}
    assert desk.committed == 1


# ---- order, partners, waits ----------------------------------------------------------------------------


def test_an_unsettled_batch_holds_its_group_and_no_other() -> None:
    desk = Desk()
    first, second, other = desk.batch("a"), desk.batch("b"), desk.batch("c", group="h")
    assert [envelope.batch_id for envelope in desk.sent] == [first, other]
    desk.answer("failed", desk.sent[0])
    assert len(desk.sent) == 2
    desk.start()
    desk.wait(10)
    again = {envelope.batch_id: envelope for envelope in desk.sent[2:]}
    assert again.keys() == {first, other}
    desk.answer("refused", again[first])
    assert desk.sent[-1].batch_id == second


def test_after_a_restart_the_batch_that_was_being_attempted_still_comes_first() -> None:
    desk = Desk()
    desk.batch("a")
    desk.answer("refused")
    second = desk.batch("b")
    desk.answer("unknown")
    desk.read(batched_again(batch_id("a"), 0, 2))
    desk.start()
    desk.wait(10)
    assert [envelope.batch_id for envelope in desk.sent[1:]] == [second, second]


def test_without_ordering_nobody_waits_for_anybody() -> None:
    desk = Desk(ordering="none")
    ids = [desk.batch("a"), desk.batch("b")]
    assert [envelope.batch_id for envelope in desk.sent] == ids


def test_a_paused_partner_is_left_alone_and_no_attempt_is_used() -> None:
    desk = Desk()
    desk.batch("a", group="1")
    desk.answer("paused", retry_after=20.0)
    desk.batch("b", group="2")
    desk.batch("c", group="3", partner="clinic")
    assert [envelope.partner for envelope in desk.sent] == ["lake", "clinic"], "another partner goes on"
    desk.wait(19)
    assert len(desk.sent) == 2
    desk.wait(1)
    assert len(desk.sent) == 4
    assert desk.row("a")["attempt"] == 1
    assert desk.row("a")["budget_used"] == 0


def test_a_partner_that_refuses_us_is_asked_again_after_a_minute() -> None:
    desk = Desk(retry={"backoff": "inventory", "attempts": 1, "unknown_attempts": 1})
    desk.batch("a")
    for _ in range(5):
        desk.answer("stopped")
        desk.wait(59)
        sent = len(desk.sent)
        desk.wait(1)
        assert len(desk.sent) == sent + 1
    assert desk.said("dead-letter") == []


def test_attempts_at_one_time_are_bounded_by_the_partners_connections() -> None:
    desk = Desk(ordering="none")
    for name in "abcd":
        desk.batch(name, partner="clinic")
    assert len(desk.sent) == 2
    desk.answer("delivered", desk.sent[0])
    assert len(desk.sent) == 3


def test_a_partner_that_the_topology_lost_gets_nothing_and_its_batches_wait() -> None:
    desk = Desk()
    desk.batch("a", partner="gone")
    desk.wait(HOUR)
    assert desk.sent == []
    assert desk.stage.unsettled == 1


def test_while_draining_answers_are_taken_and_nothing_begins() -> None:
    desk = Desk()
    desk.batch("a")
    desk.batch("b")
    assert desk.stage.drain(Chunk([], desk.now), ending=False).empty
    desk.answer("delivered")
    assert len(desk.said("sent")) == 1
    assert len(desk.sent) == 1
    assert not desk.stage.due(desk.now)


def test_after_a_drain_for_a_rebalance_what_comes_back_is_attempted_again() -> None:
    desk = Desk()
    desk.batch("a")
    desk.answer("failed")
    desk.stage.drain(Chunk([], desk.now), ending=False)
    desk.stage.forget(0)
    desk.restore()
    desk.wait(10)
    assert [envelope.attempt for envelope in desk.sent] == [1, 2]


def test_many_batches_at_once_are_begun_a_few_at_a_time_and_all_of_them() -> None:
    partner = HttpPartner(kind="http", url="http://clinic", connections=1000)
    desk = Desk(partners={"clinic": partner}, ordering="none")
    desk.read(*(batched(batch_id(str(n)), [record(str(n), n)], "g", "clinic") for n in range(100)))
    assert len(desk.sent) < 100
    while desk.stage.due(desk.now):
        assert desk.turn().effects
    assert len({envelope.batch_id for envelope in desk.sent}) == 100


def test_a_parked_batch_keeps_its_position_only() -> None:
    desk = Desk(ordering="none")
    desk.stage.bodies = Bodies(desk.pipeline, CODEC, desk.pack, desk.fetch, cache_bytes=1)
    for name in "abcd":
        desk.batch(name, partner="clinic")
    assert len(desk.stage.bodies) == len(desk.sent) == 2, "those an attempt of which is out"
    desk.answer("delivered", desk.sent[0])
    assert desk.fetched == [2], "what was parked is read again by position, once, when it is begun"
    assert len(desk.stage.bodies) == 2
    assert [ack["key"] for ack in desk.said("sent")] == ["a0"]


def test_of_a_backlog_only_what_had_no_room_is_read_again() -> None:
    desk = Desk(ordering="none")
    values = [batched(batch_id(str(n)), [record(str(n), n)], "g", "clinic") for n in range(10)]
    desk.stage.bodies = Bodies(desk.pipeline, CODEC, desk.pack, desk.fetch, cache_bytes=5 * len(values[0]))
    desk.read(*values)
    for n in range(10):
        desk.answer("delivered", desk.sent[n])
    assert desk.fetched == [7, 8, 9], "two were begun at once, five more had room"
    assert len(desk.stage.bodies) == 0


# ---- what is written -----------------------------------------------------------------------------------


def test_every_record_gets_one_ack_in_the_partition_of_its_key() -> None:
    desk = Desk()
    desk.batch("a", size=3)
    work = desk.answer("delivered", answer="200 OK")
    acks = [output for output in work.outputs if output.topic == "sent"]
    assert [output.partition for output in acks] == [partition_for(f"a{n}", 2) for n in range(3)]
    (first, *_) = said(acks, "sent")
    want = {name: value for name, value in record("a0", 0).items() if name in first}
    assert {name: first[name] for name in want if name not in ("partner",)} == {
        name: value for name, value in want.items() if name not in ("partner",)
    }
    assert (first["outcome"], first["batch_id"], first["answer"]) == ("delivered", batch_id("a"), "200 OK")


def test_acks_may_be_one_per_batch() -> None:
    desk = Desk(acks="batch")
    desk.batch("a", size=3)
    desk.answer("delivered")
    (ack,) = desk.said("sent", "sent_batch")
    assert [(one["raw_offset"], one["digest"]) for one in ack["records"]] == [
        (n, record(f"a{n}", n)["digest"]) for n in range(3)
    ]


def test_a_dead_letter_holds_the_record_as_a_submission_of_its_own() -> None:
    desk = Desk()
    desk.batch("a")
    desk.answer("failed")
    desk.wait(2)
    desk.answer("refused", answer="422 no such clinic")
    (letter,) = desk.said("dead-letter")
    assert (letter["stage"], letter["original"], letter["content_type"], letter["canonical"]) == (
        "dispatch",
        record("a0", 0)["payload"],
        CANONICAL_TYPE,
        True,
    )
    assert (letter["attempts"], letter["answer"], letter["partner"]) == (2, "422 no such clinic", "lake")
    assert (letter["error_class"], letter["route"], letter["reason"]) == (
        "FATAL_SCHEMA_MISMATCH",
        "dlq",
        "schema_violation",
    )


def test_other_bytes_under_our_key_are_a_compliance_stop() -> None:
    desk = Desk()
    desk.batch("a")
    desk.answer("conflict")
    (letter,) = desk.said("dead-letter")
    assert dead_codes(desk) == ["STORED_OBJECT_DIFFERS"]
    assert (letter["route"], letter["reason"]) == ("regulatory-affairs", "conflict")


def test_the_audit_tells_what_was_tried_and_what_came_of_each_record() -> None:
    desk = Desk()
    desk.batch("a", size=2)
    desk.answer("delivered")
    desk.batch("b")
    desk.answer("refused")
    blocks = [read_block(output.value) for output in desk.outputs if output.topic == "audit" and output.value]
    entries = [(e.action, e.code, e.raw_offset) for block in blocks for e in block.entries]
    assert entries == [
        ("ATTEMPT", "1.1", 0), ("BATCH", "sent", 0), ("DELIVER", "", 0), ("DELIVER", "", 1),
        ("ATTEMPT", "1.1", 10), ("BATCH", "dead", 10), ("DEAD", "PARTNER_REFUSED", 10), ("RELEASE", "", 10),
    ]  # fmt: skip
    assert [block.prev_head for block in blocks[1:]] == [block.head for block in blocks[:-1]]


def test_the_envelope_says_where_and_when_beside_the_body() -> None:
    desk = Desk()
    desk.batch("a", size=2)
    envelope = desk.sent[0]
    assert envelope.path == f"cold/year=2026/month=03/day=01/batch_{batch_id('a').hex()}.json"
    assert envelope.metadata == {
        "batch_digest": batch_id("a").hex(),
        "record_count": "2",
        "flush_utc": "2023-11-14T22:13:20.000Z",
    }


# ---- faults --------------------------------------------------------------------------------------------


def test_a_batch_whose_body_cannot_be_made_dies_record_by_record() -> None:
    desk = Desk()

    class Broken(PlainPack):
        def summarize(self, payloads: Any) -> Any:
            raise ZeroDivisionError("no records")

    desk.pack = Broken()
    desk.start()
    desk.batch("a", size=2)
    assert desk.sent == []
    assert dead_codes(desk) == ["UNPROCESSABLE", "UNPROCESSABLE"]
    assert "ZeroDivisionError" in desk.said("dead-letter")[0]["findings"][0]["message"]
    assert len(desk.said("validated", "release")) == 2


@pytest.mark.parametrize("value", [None, b"", b"junk", CODEC.encode("validated", record("a", 0))])
def test_an_unreadable_message_is_kept_whole_at_once_and_the_stream_goes_on(value: bytes | None) -> None:
    desk = Desk()
    desk.read(value)
    (letter,) = desk.said("dead-letter")
    assert (letter["original"], letter["raw_topic"], letter["raw_offset"]) == (
        value or b"",
        "waybill.plain.batched",
        0,
    )
    assert desk.committed == 1
    desk.batch("b")
    assert len(desk.sent) == 1


@pytest.mark.parametrize("gone", [True, False])
def test_a_batch_that_cannot_be_read_again_stops_loudly(gone: bool) -> None:
    desk = Desk()
    desk.batch("a")
    desk.log = [] if gone else [desk.log[0]._replace(value=batched(batch_id("other"), [record("x", 0)]))]
    desk.start()
    with pytest.raises(LogGap, match=batch_id("a").hex()):
        desk.turn()
    assert len(desk.sent) == 1


def test_a_head_without_a_committed_offset_stops_loudly() -> None:
    desk = Desk()
    desk.batch("a")
    desk.committed = None
    with pytest.raises(LogGap, match="no committed offset"):
        desk.start()


def test_c1_a_wait_written_by_a_clock_that_was_ahead_is_no_longer_than_the_wait() -> None:
    desk = Desk()
    desk.now += int(HOUR * 1000)
    desk.batch("a")
    desk.answer("failed")
    wait = desk.row("a")["not_before"] - desk.now
    desk.now = START
    desk.start()
    assert desk.wait((wait - 1) / 1000) is None
    assert desk.wait(0.001) is not None


def test_a_partner_that_forgets_sooner_than_it_answers_gets_no_retry_of_the_unknown() -> None:
    partner = ObjectStorePartner(kind="object-store", url="file:x", timeout=10, key_retention=5)
    desk = Desk(partners={"lake": partner})
    desk.batch("a")
    desk.answer("unknown", after=1)
    assert dead_codes(desk) == ["OUTCOME_UNKNOWN"]
