"""Every single check of the checker is seen to fail: one alteration for each that no larger test brings to light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaos.checker.evidence import Evidence, LedgerLine, Message
from chaos.checker.facts import Decoded, Place
from tests.chaos.altered import Finder, content, found, instead, ledger, more, topics, without

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

Alteration = Callable[[Evidence, Finder], Evidence]
NAMES = ("raw_partition", "raw_offset", "raw_index")


def answer(given: str, /, **changes: Any) -> Alteration:
    """Another answer to a record."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        short = "sent" if given == "duplicate" else "dead-letter"
        message = find.message(short, find.of(given))
        return instead(evidence, short, message.at, find.encoded(message, **changes))

    return alter


def validated(**changes: Any) -> Alteration:
    """Another message on `validated`."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        message = find.message("validated", find.of("delivered"))
        return instead(evidence, "validated", message.at, find.encoded(message, **changes))

    return alter


def batched(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Alteration:
    """Another frozen batch."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        message = find.facts.decoded("batched")[0]
        return instead(evidence, "batched", message.at, find.encoded(message, **change(message.value)))

    return alter


def delivery(state: str, **changes: Any) -> Alteration:
    """Another row of the delivery table."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        row = find.row("delivery", state)
        return instead(evidence, "delivery", row.at, find.encoded(row, **changes))

    return alter


def at_partner(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Alteration:
    """Another body."""
    return lambda evidence, find: content(evidence, find.effect("http").batch, change)


def naming(other: Callable[[Finder], Place]) -> Alteration:
    """A duplicate of another record."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        ack = find.message("sent", find.of("duplicate"))
        named = ack.value["duplicate_of"] | dict(zip(NAMES, other(find), strict=True))
        return instead(evidence, "sent", ack.at, find.encoded(ack, duplicate_of=named))

    return alter


def rows_gone(short: str, about: Callable[[Finder], Callable[[Decoded], bool]]) -> Alteration:
    """Messages of a topic that are not there."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        chosen = about(find)
        return without(evidence, short, *(m.at for m in find.facts.decoded(short) if m.name and chosen(m)))

    return alter


def of_batch(state: str | None = None) -> Callable[[Finder], Callable[[Decoded], bool]]:
    """Chooses the delivery rows of one delivered batch."""

    def about(find: Finder) -> Callable[[Decoded], bool]:
        batch = find.effect("http").batch
        return lambda m: m.value["batch_id"].hex() == batch and state in (None, m.value["state"])

    return about


def of_chain(find: Finder) -> Callable[[Decoded], bool]:
    """Chooses heads or blocks of one chain."""
    return lambda m: (m.value["stage"], m.value["partition"]) == ("validate", 0)


def unpublished(evidence: Evidence, where: Place) -> Evidence:
    """A manifest without a submission."""
    left = [s for s in evidence.manifest if (s.partition, s.offset) != where[:2]]
    return replace(evidence, manifest=left)


def named_by_duplicate(find: Finder) -> Place:
    """The record that a duplicate names."""
    other = find.facts.answers[find.of("duplicate")][0].value["duplicate_of"]
    return other["raw_partition"], other["raw_offset"], other["raw_index"]


def fewer_in_array(evidence: Evidence, find: Finder) -> Evidence:
    """A manifest that has one record less in a submission of several."""
    several = next(s for s in evidence.manifest if s.kind == "array")
    shorter = several._replace(records=several.records[:-1])
    return replace(evidence, manifest=[shorter if s is several else s for s in evidence.manifest])


def block(**changes: Any) -> Alteration:
    """Another audit block."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        first = next(b for b in find.facts.blocks if b.value["entries"])
        data = find.encoded(Decoded(first.at, "block", first.value), **changes)
        return instead(evidence, "audit", first.at, data)

    return alter


def last_byte(message: Message) -> bytes:
    """The same bytes but for the last."""
    data = message.value or b""
    return data[:-1] + bytes([data[-1] ^ 1])


def raw_altered(evidence: Evidence, find: Finder) -> Evidence:
    """Other bytes on raw than were published."""
    partition, offset, _ = find.of("delivered")
    message = find.facts.raw[partition, offset]
    return instead(evidence, "raw", message, (message.value or b"").replace(b":", b": ", 1))


def attempts(change: Callable[[Any], list[Any]]) -> Alteration:
    """Other attempts in the ledger, where they belong to one delivered batch."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        batch = find.effect("http").batch
        lines = [change(x) if (x.kind, x.key) == ("attempt", batch) else [x] for x in evidence.ledger]
        return ledger(evidence, *(line for some in lines for line in some))

    return alter


def effect_key(evidence: Evidence, find: Finder) -> Evidence:
    """An effect under a key that nobody knows."""
    at = next(number for number, line in enumerate(evidence.ledger) if line.kind == "effect")
    lines = list(evidence.ledger)
    lines[at] = lines[at]._replace(key="ab" * 32)
    return ledger(evidence, *lines)


def dead_batch(find: Finder) -> str:
    """A batch that a partner refused."""
    return find.facts.answers[find.of("dead in dispatch")][0].batch or ""


def given_up(evidence: Evidence, find: Finder) -> Evidence:
    """The partner took the batch of a dead letter at once."""
    batch = dead_batch(find)
    lines = [x._replace(well=True) if (x.kind, x.key) == ("attempt", batch) else x for x in evidence.ledger]
    last = next(x for x in reversed(lines) if (x.kind, x.key) == ("attempt", batch))
    return ledger(evidence, *lines, last._replace(kind="effect"))


def killed_untried(evidence: Evidence, find: Finder) -> Evidence:
    """A dead letter without any attempt."""
    batch = dead_batch(find)
    rows = [m.at for m in find.facts.decoded("delivery") if m.name and m.value["batch_id"].hex() == batch]
    return without(evidence, "delivery", *rows)


def elsewhere(evidence: Evidence, find: Finder) -> Evidence:
    """What one partner has, at the other."""
    effect = find.effect("object-store")
    line = LedgerLine("effect", effect.batch, effect.digest, 1, 1, None)
    return ledger(evidence, *evidence.ledger, line)


def ends(evidence: Evidence, **changes: Any) -> Evidence:
    """A process that ended otherwise."""
    exits = [evidence.round.exits[0] | changes, *evidence.round.exits[1:]]
    return replace(evidence, round=replace(evidence.round, exits=exits))


CHECKS: list[tuple[str, str, Alteration]] = [
    ("I1", "acknowledged, but not in the batch that the partner has",
     at_partner(lambda b: {"records": b["records"][1:]})),
    ("I1", "an answer to what was never published", lambda e, f: unpublished(e, f.of("delivered"))),
    ("I1", "a message of an own topic was dead-lettered", answer("dead in dispatch", raw_topic="an.own.topic")),
    ("I2", "an effect of a batch that was never frozen", effect_key),
    ("I2", "one batch was frozen twice", lambda e, f: more(e, "batched", f.facts.decoded("batched")[0].at)),
    ("I3", "without having been validated",
     lambda e, f: without(e, "validated", f.message("validated", f.of("delivered")).at)),
    ("I3", "answered delivered, but the log says DUPLICATE", answer("duplicate", outcome="delivered")),
    ("I3", "a duplicate of nothing", answer("duplicate", duplicate_of=None)),
    ("I3", "a duplicate of what was never published", lambda e, f: unpublished(e, named_by_duplicate(f))),
    ("I3", "a duplicate of what was not admitted", naming(lambda f: f.of("dead in batch"))),
    ("I3", "dead in dispatch, but clinic took it at the last attempt and said so", given_up),
    ("I3", "dead in dispatch, but no attempt was made", killed_untried),
    ("I3", "dead in dispatch, but the last attempt did not reach clinic, which was there",
     lambda e, f: ledger(e, *(x for x in e.ledger if x.kind != "attempt" or x.key != dead_batch(f)))),
    ("I4", "validated under the partner nobody, its fields say", validated(partner="nobody")),
    ("I4", "validated under the group another, its fields say", validated(group="another")),
    ("I4", "validated under the date 2026-01-01, its fields say", validated(date="2026-01-01")),
    ("I4", "in a batch under the partner nobody, its fields say", batched(lambda b: {"partner": "nobody"})),
    ("I4", "in a batch under the group another, its fields say", batched(lambda b: {"group": "another"})),
    ("I4", "in a batch under the date 2026-01-01, its fields say", batched(lambda b: {"date": "2026-01-01"})),
    ("I4", "at a partner under the partner clinic, its fields say lake", elsewhere),
    ("I4", "at a partner under the group another, its fields say", at_partner(lambda b: {"group": "another"})),
    ("I4", "the answer's digest is not the validated record's", answer("duplicate", digest=bytes(32))),
    ("I4", "the dead letter's submission digest is not the published one",
     answer("dead in batch", submission_digest=bytes(32))),
    ("I4", "raw does not hold the bytes that were published", raw_altered),
    ("I4", "validated under another submission's digest", validated(submission_digest=bytes(32))),
    ("I4", "the body of an effect is not among the evidence", lambda e, f: replace(e, bodies={})),
    ("I4", "the body names another batch", at_partner(lambda b: {"batch_digest": "00" * 32})),
    ("I4", "the body counts other records than it has", at_partner(lambda b: {"record_count": 0})),
    ("I4", "the body does not hold the frozen records in their order",
     at_partner(lambda b: {"records": b["records"][::-1]})),
    ("I4", "the body names another digest of the record",
     at_partner(lambda b: {"records": [b["records"][0] | {"digest": "00" * 32}, *b["records"][1:]]})),
    ("I6", "validate wrote it 2 times",
     lambda e, f: more(e, "validated", f.message("validated", f.of("delivered")).at)),
    ("I6", "records were published, validate counts", fewer_in_array),
    ("I6", "is not the message on `validated`, byte for byte",
     batched(lambda b: {"records": [b["records"][0].replace(b"reading", b"readinh"), *b["records"][1:]]})),
    ("I6", "below dispatch's committed offset, but without a row", rows_gone("delivery", of_batch())),
    ("I6", "the delivery row says otherwise than its batch", delivery("sent", group="another")),
    ("I8", "its checksum is wrong",
     lambda e, f: instead(e, "audit", f.facts.blocks[0].at, last_byte(f.facts.blocks[0].at))),
    ("I8", "a chain without a row in heads", rows_gone("heads", of_chain)),
    ("I8", "a head without any audit block", rows_gone("audit", of_chain)),
    ("I8", "its entries do not lead to its head", block(head=bytes(32))),
    ("I8", "audited under another digest than answered", answer("duplicate", digest=bytes(32))),
    ("I8", "audited under another code than answered",
     answer("dead in batch", findings=[{"code": "ANOTHER", "path": "", "message": ""}])),
    ("I9", "the batch counts other members", batched(lambda b: {"count": b["count"] + 1})),
    ("I9", "2 body digests were written ahead", delivery("sent", body_digest=bytes(32))),
    ("I9", "effect under a key that is no batch", effect_key),
    ("I9", "lake has another body than was written ahead",
     lambda e, f: replace(e, objects=[o._replace(sha256="00" * 32) for o in e.objects])),
    ("I10", "ended with 71", lambda e, f: ends(e, code=71)),
    ("I10", "ended with 1", lambda e, f: ends(e, code=1)),
    ("I10", "ended with 2", lambda e, f: ends(e, code=2)),
    ("I10", "ended with -11", lambda e, f: ends(e, code=-11)),
    ("I10", "ended with -9", lambda e, f: ends(e, code=-9)),
    ("I10", "ended with -15 after stop", lambda e, f: ends(e, code=-15, by="stop")),
    ("I10", "ended with None", lambda e, f: ends(e, code=None)),
    ("I10", "nothing was published", lambda e, f: replace(e, manifest=[])),
    ("I10", "nothing was frozen", lambda e, f: topics(e, "batched", lambda messages: [])),
    ("I10", "nothing was answered",
     lambda e, f: topics(topics(e, "sent", lambda messages: []), "dead-letter", lambda messages: [])),
    ("I11", "an attempt without number", attempts(lambda line: [line._replace(attempt=None)])),
    ("I11", "an effect without an attempt", attempts(lambda line: [])),
    ("I11", "an effect of a batch that was never written ahead", rows_gone("delivery", of_batch("in_flight"))),
]  # fmt: skip


@pytest.mark.parametrize(("invariant", "words", "alter"), CHECKS, ids=[f"{i} {words}" for i, words, _ in CHECKS])
def test_a_check_fails_where_it_must(
    evidence: Evidence, find: Finder, invariant: str, words: str, alter: Alteration
) -> None:
    """That it does not fail elsewhere is shown by the unaltered evidence."""
    assert words in found(alter(evidence, find), invariant)


def test_a_message_lost_from_every_topic_is_found(evidence: Evidence, find: Finder) -> None:
    """No topic is read for nothing: without its messages the round is not sound."""
    for short in ("raw", "validated", "batched", "sent", "dead-letter", "audit", "idempotency", "heads", "delivery"):
        emptied = topics(evidence, short, lambda messages: [])
        assert any(found(emptied, invariant) for invariant in ("I1", "I6", "I8")), short
