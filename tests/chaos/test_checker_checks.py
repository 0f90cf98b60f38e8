"""Every single check of the checker is seen to fail: one alteration for each that no larger test brings to light."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.checker.evidence import Evidence
from tests.chaos.alterations import (
    Alteration,
    answer,
    at_partner,
    attempts,
    batched,
    block,
    dead_batch,
    delivery,
    effect_key,
    elsewhere,
    ends,
    fewer_in_array,
    given_up,
    killed_untried,
    last_byte,
    named_by_duplicate,
    naming,
    of_batch,
    of_chain,
    raw_altered,
    rows_gone,
    unpublished,
    validated,
)
from tests.chaos.altered import Finder, found, instead, ledger, more, topics, without

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

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
