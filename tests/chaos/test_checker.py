"""The outside checker finds what is wrong with a round, and nothing where nothing is (real evidence, altered)."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.checker.__main__ import main
from chaos.checker.evidence import Evidence, LedgerLine
from chaos.checker.facts import Decoded, Facts
from chaos.checker.judge import judge
from chaos.checker.laws.cluster import result_digest
from tests.chaos.altered import (
    Finder,
    admin,
    body,
    found,
    instead,
    ledger,
    more,
    one_byte,
    published,
    topics,
    without,
)  # fmt: skip

pytestmark = pytest.mark.kafka


def test_a_sound_round_has_no_finding_and_everything_worth_judging(evidence: Evidence) -> None:
    facts = Facts(evidence)
    verdicts = judge(facts)
    assert [finding for verdict in verdicts for finding in verdict.findings] == []
    assert [verdict.invariant for verdict in verdicts if not verdict.checked] == []
    outcomes = {answers[0].outcome for answers in facts.answers.values()}
    assert outcomes == {"delivered", "duplicate", "dead in validate", "dead in batch", "dead in dispatch"}
    kinds = {record.kind for record in facts.published.values()} | {s.kind for s in evidence.manifest}
    assert kinds >= {"good", "bad", "duplicate", "conflict", "late", "array"}
    actions = {entry["action"] for block in facts.blocks for entry in block.value["entries"]}
    assert "RELEASE" in actions
    assert ("SUPERSEDE" in actions) == (facts.round.on_conflict == "supersede")
    repeated = [place for place, record in facts.published.items() if record.kind == "duplicate"]
    assert {facts.outcome(place) for place in repeated} >= {"delivered", "duplicate"}, "nothing was admitted again"
    assert max(attempt for _, _, attempt in facts.write_aheads) > 1


def test_the_program_tells_what_is_wrong(played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(played, tmp_path / "altered")
    lines = (played / "ledger.jsonl").read_text().splitlines(keepends=True)
    effect = next(number for number, line in enumerate(lines) if '"kind": "effect"' in line)
    batch = json.loads(lines.pop(effect))["key"]
    (tmp_path / "altered" / "ledger.jsonl").write_text("".join(lines))
    assert main([str(played)]) == 0
    sound = capsys.readouterr().out.splitlines()
    assert sound[-1].endswith(" findings=0")
    assert main([str(tmp_path / "altered")]) == 1
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told if line.startswith("I")] == [f"I{number}" for number in range(1, 13)]
    assert any(line.startswith("I1 ") and "FAILED" in line for line in told)
    assert any(batch in line for line in told)
    assert main([str(tmp_path / "altered"), "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert told[-1] == (
        f"checked records={result['records']} batches={result['batches']} findings={result['findings']}"
    )
    assert sum(len(entry["findings"]) for entry in result["invariants"]) == result["findings"] > 0


def test_i1_a_dropped_answer(evidence: Evidence, find: Finder) -> None:
    lost = find.of("duplicate")
    altered = without(evidence, "sent", find.message("sent", lost).at)
    assert f"no final answer: {find.facts.record_id(lost)} " in found(altered, "I1")


def test_i1_a_dropped_answer_of_a_delivered_record(evidence: Evidence, find: Finder) -> None:
    lost = find.of("delivered")
    batch = find.facts.answers[lost][0].batch
    if evidence.round.acks == "record":
        altered = without(evidence, "sent", find.message("sent", lost).at)
    else:
        ack = next(
            m for m in find.facts.decoded("sent") if m.name == "sent_batch" and m.value["batch_id"].hex() == batch
        )
        altered = instead(evidence, "sent", ack.at, find.encoded(ack, records=ack.value["records"][1:]))
    assert "no final answer" in found(altered, "I1")
    assert find.facts.record_id(lost) in found(altered, "I6")
    assert find.facts.record_id(lost) in found(altered, "I8")


def test_i1_acknowledged_before_it_was_sent(evidence: Evidence, find: Finder) -> None:
    for effect in (find.effect("http"), find.effect("object-store")):
        altered = replace(
            evidence,
            ledger=[line for line in evidence.ledger if (line.kind, line.key) != ("effect", effect.batch)],
            objects=[stored for stored in evidence.objects if effect.batch not in stored.path],
        )
        record = find.facts.batch[effect.batch].places[0]
        said = found(altered, "I1")
        assert f"the partner does not have its batch: {find.facts.record_id(record)} " in said
        assert effect.batch in said


def test_i1_what_was_published_is_on_raw_and_nothing_else(evidence: Evidence) -> None:
    message = evidence.topics["raw"][0]
    place = f"/{message.partition}/{message.offset}"
    assert f"{evidence.round.raw}{place}" in found(without(evidence, "raw", message), "I1")
    fewer = [s for s in evidence.manifest if (s.partition, s.offset) != (message.partition, message.offset)]
    said = found(replace(evidence, manifest=fewer), "I1")
    assert f"the manifest does not name it: {evidence.round.raw}{place}" in said


def test_i2_two_effects_of_one_batch(evidence: Evidence, find: Finder) -> None:
    effect = next(line for line in evidence.ledger if line.kind == "effect")
    assert effect.key in found(ledger(evidence, *evidence.ledger, effect), "I2")
    written = [o._replace(versions=2) for o in evidence.objects]
    assert find.facts.effects[-1].batch in found(replace(evidence, objects=written), "I2")


def test_i2_a_part_of_a_batch_taken_twice(evidence: Evidence, find: Finder) -> None:
    effect = find.facts.effects[0]
    name = find.facts.record_id(find.facts.batch[effect.batch].places[0])
    partial = LedgerLine("partial", effect.batch, effect.digest, 1, 1, (name,))
    assert name in found(ledger(evidence, partial, *evidence.ledger), "I2")


def test_i2_a_record_in_two_batches(evidence: Evidence, find: Finder) -> None:
    one, two = (m for m in find.facts.decoded("batched")[:2])
    members = [*two.value["records"], one.value["records"][0]]
    altered = instead(evidence, "batched", two.at, find.encoded(two, records=members, count=len(members)))
    where = find.facts.batches[0].places[0]
    assert find.facts.record_id(where) in found(altered, "I2")


def test_i2_one_content_delivered_twice(evidence: Evidence, find: Finder) -> None:
    one, two = find.facts.batch[find.effect("http").batch].places[:2]
    altered = published(evidence, two, value=find.facts.published[one].value)
    assert find.facts.record_id(two) in found(altered, "I2")
    assert find.facts.record_id(two) in found(altered, "I3")


def test_i3_two_answers_to_one_record(evidence: Evidence, find: Finder) -> None:
    twice = find.of("duplicate")
    altered = more(evidence, "sent", find.message("sent", twice).at)
    assert f"2 final answers: duplicate, duplicate: {find.facts.record_id(twice)} " in found(altered, "I3")


def test_i3_delivered_and_dead(evidence: Evidence, find: Finder) -> None:
    dead, delivered = find.of("dead in dispatch"), find.of("delivered")
    letter = find.message("dead-letter", dead)
    names = ("raw_partition", "raw_offset", "raw_index")
    data = find.encoded(letter, **dict(zip(names, delivered, strict=True)))
    altered = more(evidence, "dead-letter", letter.at._replace(value=data))
    assert find.facts.record_id(delivered) in found(altered, "I3")


def test_i3_a_good_record_refused_and_a_bad_one_let_through(evidence: Evidence, find: Finder) -> None:
    good, bad = find.of("delivered"), find.of("dead in validate")
    assert f"published as bad, answered delivered: {find.facts.record_id(good)} " in found(
        published(evidence, good, kind="bad"), "I3"
    )
    assert f"published as good, answered dead in validate: {find.facts.record_id(bad)} " in found(
        published(evidence, bad, kind="good"), "I3"
    )


def test_i3_a_duplicate_of_another_content_and_a_conflict_with_the_same(evidence: Evidence, find: Finder) -> None:
    duplicate, conflict = find.of("duplicate"), find.of("dead in batch")
    value = find.facts.published[duplicate].value or {}
    said = found(published(evidence, duplicate, value=value | {"temperature_c": 1.0}), "I3")
    assert f"a duplicate of it, but the contents say otherwise: {find.facts.record_id(duplicate)} " in said
    other = find.facts.answers[conflict][0].value["conflicts_with"]
    met = other["raw_partition"], other["raw_offset"], other["raw_index"]
    same = find.facts.published[met].value
    said = found(published(evidence, conflict, value=same), "I3")
    assert f"in conflict with it, but the contents say otherwise: {find.facts.record_id(conflict)} " in said


def test_i3_a_duplicate_of_another_record_than_it_met(evidence: Evidence, find: Finder) -> None:
    duplicate, delivered = find.of("duplicate"), find.of("delivered")
    ack = find.message("sent", duplicate)
    named = dict(zip(("raw_partition", "raw_offset", "raw_index"), delivered, strict=True))
    altered = instead(evidence, "sent", ack.at, find.encoded(ack, duplicate_of=ack.value["duplicate_of"] | named))
    said = found(altered, "I3")
    assert f"a duplicate of another version than said: {find.facts.record_id(duplicate)} " in said
    assert f"a duplicate of a record of another key: {find.facts.record_id(duplicate)} " in said


def test_i3_dead_with_a_known_outcome_though_the_partner_has_it(evidence: Evidence, find: Finder) -> None:
    dead = find.of("dead in dispatch", outcome_unknown=False)
    batch = find.facts.answers[dead][0].batch or ""
    digest = next(line.digest for line in evidence.ledger if line.key == batch)
    altered = ledger(evidence, *evidence.ledger, LedgerLine("effect", batch, digest, 1, 1, None))
    assert find.facts.record_id(dead) in found(altered, "I3")
    part = LedgerLine("partial", batch, digest, 1, 1, (find.facts.record_id(dead),))
    assert find.facts.record_id(dead) in found(ledger(evidence, *evidence.ledger, part), "I3")


@pytest.mark.parametrize("kind", ["http", "object-store"])
def test_i4_one_byte_of_a_delivered_record(evidence: Evidence, find: Finder, kind: str) -> None:
    effect = find.effect(kind)
    where = find.facts.batch[effect.batch].places[1]
    altered = body(evidence, effect.batch, one_byte(find.facts.record_id(where)))
    said = found(altered, "I4")
    assert f"differs from what was published in temperature_c: {find.facts.record_id(where)} " in said
    assert f"has other bytes than it noted when it took them: {effect.batch}" in said
    assert find.facts.record_id(find.facts.batch[effect.batch].places[0]) not in said


def test_i4_a_body_cut_off(evidence: Evidence, find: Finder) -> None:
    batch = find.facts.effects[0].batch
    assert batch in found(body(evidence, batch, lambda data: data[:-1]), "I4")


@pytest.mark.parametrize("outcome", ["dead in validate", "dead in batch", "dead in dispatch"])
def test_i4_the_original_of_a_dead_letter(evidence: Evidence, find: Finder, outcome: str) -> None:
    dead = find.of(outcome)
    letter = find.message("dead-letter", dead)
    other = letter.value["original"][:-1] + b"!"
    assert find.facts.record_id(dead) in found(
        instead(evidence, "dead-letter", letter.at, find.encoded(letter, original=other)), "I4"
    )
    cut = find.encoded(letter, original=None)
    assert find.facts.record_id(dead) in found(instead(evidence, "dead-letter", letter.at, cut), "I4")


def test_i4_a_validated_payload(evidence: Evidence, find: Finder) -> None:
    where = find.of("delivered")
    message = find.message("validated", where)
    data = find.encoded(message, payload=message.value["payload"].replace(b"reading", b"readinh"))
    assert find.facts.record_id(where) in found(instead(evidence, "validated", message.at, data), "I4")


def test_i5_two_effects_of_a_group_swapped(evidence: Evidence, find: Finder) -> None:
    one, two = find.http_batches()
    lines = evidence.ledger
    swap = {one: two, two: one}
    effects = {line.key: line for line in lines if line.kind == "effect"}
    altered = ledger(evidence, *(effects[swap[x.key]] if x.kind == "effect" and x.key in swap else x for x in lines))
    said = found(altered, "I5")
    assert one in said
    assert two in said
    unordered = replace(altered, round=replace(evidence.round, ordering="none"))
    assert found(unordered, "I5") == ""


def test_i5_members_and_sequences_out_of_order(evidence: Evidence, find: Finder) -> None:
    batch = find.facts.batch[find.effect("http").batch]
    frozen = Decoded(batch.at, "batched", batch.value)
    first, second, *rest = batch.value["records"]
    altered = instead(evidence, "batched", batch.at, find.encoded(frozen, records=[second, first, *rest]))
    assert find.facts.record_id(batch.places[0]) in found(altered, "I5")
    last = max(
        where
        for where, record in find.facts.published.items()
        if record.kind == "good" and find.facts.outcome(where) == "delivered"
    )
    assert find.facts.record_id(last) in found(published(evidence, last, sequence=0), "I5")


def test_i6_a_committed_offset_ahead_of_the_outputs(evidence: Evidence, find: Finder) -> None:
    for stage in ("validate", "batch", "dispatch"):
        assert f"{stage}/0" in found(admin(evidence, "committed", stage, 0, 1), "I6")
    where = find.of("dead in validate")
    altered = without(evidence, "dead-letter", find.message("dead-letter", where).at)
    assert f"{evidence.round.raw}/{where[0]}/{where[1]}" in found(altered, "I6")
    batch = find.facts.decoded("batched")[0]
    altered = without(evidence, "batched", batch.at)
    record = find.facts.batches[0].places[0]
    assert f"in no batch and unanswered: {find.facts.record_id(record)} " in found(altered, "I6")


def test_i6_outputs_ahead_of_the_committed_offset(evidence: Evidence, find: Finder) -> None:
    last = max(where for where in find.facts.answers if where[0] == 0)
    head = next(
        m for m in reversed(find.facts.decoded("heads")) if (m.value["stage"], m.value["partition"]) == ("validate", 0)
    )
    behind = instead(evidence, "heads", head.at, find.encoded(head, processed_through=last[1] - 1))
    said = found(admin(behind, "committed", "validate", 0, -1), "I6")
    assert f"not committed, but validate has written its records: {evidence.round.raw}/0/{last[1]}" in said


def test_i6_a_row_of_idempotency_too_few_and_too_many(evidence: Evidence, find: Finder) -> None:
    row = find.row("idempotency")
    where = tuple(row.value[name] for name in ("raw_partition", "raw_offset", "raw_index"))
    gone = without(evidence, "idempotency", row.at)
    assert f"without a row: {find.facts.record_id(where)} " in found(gone, "I6")
    dead = find.of("dead in dispatch", outcome_unknown=False)
    offset = find.facts.validated_offset[dead]
    names = dict(zip(("raw_partition", "raw_offset", "raw_index"), dead, strict=True))
    kept = row.at._replace(value=find.encoded(row, offset=offset, **names))
    said = found(more(evidence, "idempotency", kept, b"left behind"), "I6")
    assert f"not admitted or was released: {find.facts.record_id(dead)} " in said
    other = find.encoded(row, digest=bytes(32))
    said = found(instead(evidence, "idempotency", row.at, other), "I6")
    assert f"the row differs from the record it was made from: {find.facts.record_id(where)} " in said


def test_i6_rows_of_windows_and_delivery(evidence: Evidence, find: Finder) -> None:
    tombstone = next(m for m in reversed(find.facts.decoded("windows")) if not m.name)
    assert "windows/" in found(without(evidence, "windows", tombstone.at), "I6")
    row = find.row("delivery", "sent")
    name = row.value["batch_id"].hex()
    for changed in (
        find.encoded(row, state="dead"),
        find.encoded(row, state="pending"),
        find.encoded(row, batched_offset=10**6),
    ):
        assert name in found(instead(evidence, "delivery", row.at, changed), "I6")


def test_i6_a_release_too_few_and_too_many(evidence: Evidence, find: Finder) -> None:
    release = next(m for m in find.facts.decoded("validated") if m.name == "release")
    where = tuple(release.value[name] for name in ("raw_partition", "raw_offset", "raw_index"))
    assert f"released 0 times instead of 1: {find.facts.record_id(where)} " in found(
        without(evidence, "validated", release.at), "I6"
    )
    assert f"released 2 times instead of 1: {find.facts.record_id(where)} " in found(
        more(evidence, "validated", release.at), "I6"
    )


def test_i6_a_message_that_cannot_be_read(evidence: Evidence, find: Finder) -> None:
    row = find.row("delivery")
    altered = instead(evidence, "delivery", row.at, (row.at.value or b"")[:-3])
    assert f"{evidence.round.topic('delivery')}/{row.at.partition}/{row.at.offset}" in found(altered, "I6")


def test_i7_an_open_transaction(evidence: Evidence) -> None:
    altered = admin(evidence, "stable", "sent", 1, -1)
    assert f"{evidence.round.topic('sent')}/1" in found(altered, "I7")


@pytest.mark.parametrize("stage", ["validate", "batch", "dispatch"])
def test_i8_a_hidden_entry(evidence: Evidence, find: Finder, stage: str) -> None:
    wanted = {"validate": "VALIDATE", "batch": "ADMIT", "dispatch": "DELIVER"}[stage]
    block = next(
        b for b in find.facts.blocks if any(e["action"] == wanted for e in b.value["entries"]) and b.chain[0] == stage
    )
    hidden = next(e for e in block.value["entries"] if e["action"] == wanted)
    left = [e for e in block.value["entries"] if e is not hidden]
    data = find.encoded(Decoded(block.at, "block", block.value), entries=left)
    said = found(instead(evidence, "audit", block.at, data), "I8")
    assert f"audit {stage}/{block.chain[1]} block {block.value['sequence']}." in said
    where = hidden["raw_partition"], hidden["raw_offset"], hidden["raw_index"]
    assert f": {find.facts.record_id(where)} " in said


def test_i8_a_hidden_block(evidence: Evidence, find: Finder) -> None:
    """One in the middle is a gap, the last of a chain shows against its head."""
    for chain in find.facts.heads:
        blocks = [b for b in find.facts.blocks if b.chain == chain]
        if len(blocks) < 3:
            continue
        after = blocks[2].value["sequence"]
        said = found(without(evidence, "audit", blocks[1].at), "I8")
        assert f"missing: audit {chain[0]}/{chain[1]} block {after}.0" in said
        assert f"audit {chain[0]}/{chain[1]}" in found(without(evidence, "audit", blocks[-1].at), "I8")


def test_i8_an_altered_entry_is_named(evidence: Evidence, find: Finder) -> None:
    block = next(b for b in find.facts.blocks if b.chain[0] == "batch" and len(b.value["entries"]) > 2)
    entries = [dict(entry) for entry in block.value["entries"]]
    entries[1]["code"] = "other"
    data = find.encoded(Decoded(block.at, "block", block.value), entries=entries)
    said = found(instead(evidence, "audit", block.at, data), "I8")
    where = "/".join(str(entries[1][n]) for n in ("raw_topic", "raw_partition", "raw_offset", "raw_index"))
    assert f"the chain breaks at {entries[1]['action']}: {where}" in said


def test_i8_a_head_that_is_not_the_chains(evidence: Evidence, find: Finder) -> None:
    head = find.row("heads")
    altered = instead(evidence, "heads", head.at, find.encoded(head, chain=bytes(32)))
    assert f"audit {head.value['stage']}/{head.value['partition']}" in found(altered, "I8")


def test_i9_an_attempt_with_another_body(evidence: Evidence) -> None:
    at = next(n for n, line in enumerate(evidence.ledger) if line.kind == "attempt" and line.digest)
    line = evidence.ledger[at]
    lines = [*evidence.ledger[:at], line._replace(digest="00" * 32), *evidence.ledger[at + 1 :]]
    assert f"{line.key}, life {line.life} attempt {line.attempt}" in found(ledger(evidence, *lines), "I9")


def test_i9_a_batch_that_is_not_what_its_id_says(evidence: Evidence, find: Finder) -> None:
    frozen = find.facts.decoded("batched")[0]
    altered = instead(evidence, "batched", frozen.at, find.encoded(frozen, date="1999-01-01"))
    assert frozen.value["batch_id"].hex() in found(altered, "I9")


def test_i10_what_is_not_done(evidence: Evidence) -> None:
    ran = evidence.round
    assert "not drained" in found(replace(evidence, round=replace(ran, drained=False)), "I10")
    assert "deadline" in found(replace(evidence, round=replace(ran, deadline_met=False)), "I10")
    assert "slot 3" in found(replace(evidence, round=replace(ran, restarts={"3": 99})), "I10")
    assert "dispatch/1" in found(admin(evidence, "committed", "dispatch", 1, -5), "I10")


def test_i11_an_attempt_without_write_ahead(evidence: Evidence, find: Finder) -> None:
    line = next(line for line in evidence.ledger if line.kind == "attempt")
    extra = ledger(evidence, *evidence.ledger, line._replace(attempt=9))
    assert f"not written ahead: {line.key}, life 1 attempt 9" in found(extra, "I11")
    row = next(
        m
        for m in find.facts.decoded("delivery")
        if m.name and m.value["state"] == "in_flight" and m.value["batch_id"].hex() == line.key
    )
    altered = without(evidence, "delivery", row.at)
    assert line.key in found(altered, "I11")
    assert line.key in found(altered, "I8")


def test_i11_one_write_ahead_sent_twice(evidence: Evidence) -> None:
    line = next(line for line in evidence.ledger if line.kind == "attempt")
    assert f"sent 2 times: {line.key}" in found(ledger(evidence, line, *evidence.ledger), "I11")


def test_i12_the_digest_is_of_the_result_alone(evidence: Evidence, find: Finder) -> None:
    same = topics(evidence, "sent", lambda messages: messages[::-1])
    assert result_digest(Facts(same)) == result_digest(find.facts)
    other = without(evidence, "sent", find.message("sent", find.of("duplicate")).at)
    assert result_digest(Facts(other)) != result_digest(find.facts)
