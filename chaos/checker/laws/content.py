"""I4 byte fidelity: what the partner has and what a dead letter keeps is what was published."""

from __future__ import annotations

import json
from typing import Any

from chaos.checker.facts import Answer, Effect, Facts, Place, digest_of, place
from chaos.checker.formats import payload_digest, unlike
from chaos.checker.laws.lake import placed
from chaos.checker.laws.routing import routed
from chaos.checker.laws.told import told
from chaos.checker.verdict import Verdict


def fidelity(facts: Facts, verdict: Verdict) -> None:
    """I4, at every place where a record's content shows."""
    _raw(verdict, facts)
    for message in facts.validated:
        _validated(verdict, facts, message.value)
    digests = {place(message.value): message.value["digest"] for message in facts.validated}
    for where, answers in sorted(facts.answers.items()):
        for answer in answers:
            if answer.outcome.startswith("dead"):
                _dead_letter(verdict, facts, where, answer)
            if where in digests:
                same = answer.value["digest"] == digests[where]
                verdict.expect(same, "the answer's digest is not the validated record's", facts.ids(where))
            submission = facts.raw.get(where[:2])
            if "submission_digest" in answer.value and submission is not None:
                same = answer.value["submission_digest"].hex() == digest_of(submission.value or b"")
                verdict.expect(same, "the dead letter's submission digest is not the published one", facts.ids(where))
    for effect in facts.effects:
        _body(verdict, facts, effect)
    routed(facts, verdict)
    told(facts, verdict)
    placed(facts, verdict)


def _raw(verdict: Verdict, facts: Facts) -> None:
    """Raw holds the bytes that the load says it published."""
    for submission in facts.evidence.manifest:
        message = facts.raw.get((submission.partition, submission.offset))
        if message is not None and message.value is not None and len(submission.records) == 1:
            (record,) = submission.records
            if record.sha256 and submission.kind != "array":
                where = (submission.partition, submission.offset, record.index)
                same = digest_of(message.value) == record.sha256
                verdict.expect(same, "raw does not hold the bytes that were published", facts.ids(where))


def _validated(verdict: Verdict, facts: Facts, value: dict[str, Any]) -> None:
    where = place(value)
    if not value.get("claim"):
        same = digest_of(value["payload"]) == value["digest"].hex()
        verdict.expect(same, "the validated payload is not what its digest says", facts.ids(where))
    submission = facts.raw.get(where[:2])
    if submission is not None:
        same = value["submission_digest"].hex() == digest_of(submission.value or b"")
        verdict.expect(same, "validated under another submission's digest", facts.ids(where))


def _dead_letter(verdict: Verdict, facts: Facts, where: Place, answer: Answer) -> None:
    letter, ids = answer.value, facts.ids(where)
    original, record = letter["original"], facts.published.get(where)
    kept = letter["digest"].hex() if original is None else digest_of(original)
    if not verdict.expect(original is not None or bool(letter["claim"]), "the dead letter kept no original", ids):
        return
    verdict.expect(kept == letter["digest"].hex(), "the original is not what the dead letter's digest says", ids)
    if answer.outcome == "dead in validate":
        raw = facts.raw.get(where[:2])
        expected = record.sha256 if record is not None else None
        if raw is not None and raw.value is None:
            expected = digest_of(b"null")
        elif expected is None and raw is not None and letter["count"] == 1:
            expected = digest_of(raw.value or b"")
        verdict.expect(expected in (None, kept), "the dead letter's original is not what was published", ids)
    elif original is not None and record is not None and record.value is not None:
        _carries(verdict, facts, where, _json(original), "the dead letter")


def _carries(verdict: Verdict, facts: Facts, where: Place, payload: Any, who: str) -> None:
    """A payload carries every published field: texts verbatim, numbers equal."""
    ids, record = facts.ids(where), facts.published.get(where)
    if not verdict.expect(isinstance(payload, dict), f"{who} holds no JSON object", ids):
        return
    if record is not None and record.value is not None:
        names = ", ".join(unlike(record.value, payload))
        verdict.expect(not names, f"{who} differs from what was published in {names}", ids)


def _body(verdict: Verdict, facts: Facts, effect: Effect) -> None:
    """What a partner has of a batch: the frozen records in their order, each as published."""
    frozen, ids = facts.batch.get(effect.batch), (effect.batch,)
    if not verdict.expect(effect.body is not None, "the body of an effect is not among the evidence", ids):
        return
    same = digest_of(effect.body or b"") == effect.digest
    verdict.expect(same, f"{effect.partner} has other bytes than it noted when it took them", ids)
    content = facts.contents[effect.batch]
    if not verdict.expect(content is not None, f"{effect.partner} has no batch as JSON", ids) or content is None:
        return
    verdict.expect(content.get("batch_digest") == effect.batch, "the body names another batch", ids)
    records = content["records"]
    verdict.expect(content.get("record_count") == len(records), "the body counts other records than it has", ids)
    if frozen is None:
        return
    named = [record["id"] for record in records]
    expected = [facts.record_id(where) for where in frozen.places]
    if not verdict.expect(named == expected, "the body does not hold the frozen records in their order", ids):
        return
    for where, record, member in zip(frozen.places, records, frozen.members, strict=True):
        payload, digest = record.get("record"), member["digest"].hex()
        named_ids = (*facts.ids(where), effect.batch)
        verdict.expect(record.get("digest") == digest, "the body names another digest of the record", named_ids)
        same = payload_digest(payload) == digest
        verdict.expect(same, f"{effect.partner} has another payload than was frozen", named_ids)
        _carries(verdict, facts, where, payload, effect.partner)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
