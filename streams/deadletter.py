"""How a record becomes a dead letter, in whichever stage: class, route and reason looked up, the record kept as a
submission of its own, and nothing larger than the topic takes (VA4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schemas.canonical import RawPosition, record_id, sha256
from schemas.codec import Codec
from schemas.errors import Finding, judge
from schemas.pack import CANONICAL_TYPE, Refusal
from streams.claims import NO_CLAIMS
from streams.stage import Message, Output
from topology.model import partition_for
from topology.topics import LEAST_INLINE

Claim = Callable[[bytes], str]
"""`Claims.put`."""


class DeadLetters:
    """Writes dead letters of one pipeline."""

    def __init__(self, codec: Codec, partitions: int, claim: Claim = NO_CLAIMS.put, limit: int = LEAST_INLINE) -> None:
        """`limit`: bytes of an original that travel inside the dead letter."""
        self._codec, self._partitions, self._claim, self._limit = codec, partitions, claim, limit

    def refused(self, refusal: Refusal, position: RawPosition, common: Mapping[str, Any]) -> tuple[Output, bytes]:
        """A record that validate refuses; returns its digest too. `common` holds what its submission shares."""
        digest = sha256(refusal.original)
        output = self._output(
            record_id(position),
            refusal.findings,
            {
                "raw_topic": position.topic,
                "raw_incarnation": position.incarnation,
                "raw_partition": position.partition,
                "raw_offset": position.offset,
                "raw_index": position.index,
                "count": common["count"],
                "key": None,
                "digest": digest,
                "submission_digest": common["submission_digest"],
                "recorded_at": common["recorded_at"],
                "stage": "validate",
                "content_type": refusal.content_type,
                "original": refusal.original,
                "canonical": refusal.canonical,
                "source": common["source"],
                "site": common["site"],
                "topology_version": common["topology_version"],
                "passport": common["passport"],
            },
        )
        return output, digest

    def valid(self, stage: str, record: Mapping[str, Any], findings: Sequence[Finding], **context: Any) -> Output:
        """A record that passed validation and died later; `record` is its Validated message, `context` whatever of
        conflicts_with, batch_id, partner, answer, attempts, outcome_unknown is known."""
        shared = (
            "raw_topic", "raw_incarnation", "raw_partition", "raw_offset", "raw_index", "count", "key", "digest",
            "submission_digest", "recorded_at", "source", "site", "topology_version", "passport",
        )  # fmt: skip
        return self._output(
            record["key"],
            findings,
            {
                **{name: record[name] for name in shared},
                "stage": stage,
                "content_type": CANONICAL_TYPE,
                "original": record["payload"],
                "claim": record["claim"]["url"] if record["claim"] else None,
                "canonical": True,
                **context,
            },
        )

    def review(self, letter: Output, why: str, attempts: int) -> Output:
        """The second dead letter (RTY-11): the bytes of the first one, for whoever has to look at the store. It is no
        answer; the first one is."""
        value = self._codec.encode("review", {"dead_letter": letter.value, "why": why, "attempts": attempts})
        return letter._replace(topic="review", value=value)

    def unreadable(
        self, stage: str, topic: str, message: Message, finding: Finding
    ) -> tuple[Output, RawPosition, bytes]:
        """A message of one of our own topics that cannot be worked: its bytes, under its position in that topic."""
        value = message.value or b""
        position = RawPosition(topic, 0, message.partition, message.offset, 0)
        digest = sha256(value)
        output = self._output(
            record_id(position),
            [finding],
            {
                "raw_topic": topic,
                "raw_incarnation": 0,
                "raw_partition": message.partition,
                "raw_offset": message.offset,
                "raw_index": 0,
                "count": 1,
                "key": None,
                "digest": digest,
                "submission_digest": digest,
                "recorded_at": message.timestamp,
                "stage": stage,
                "content_type": "application/octet-stream",
                "original": value,
                "canonical": False,
                "source": None,
                "site": None,
                "topology_version": 0,
                "passport": None,
            },
        )
        return output, position, digest

    def _output(self, key: str, findings: Sequence[Finding], message: dict[str, Any]) -> Output:
        verdict = judge(findings)
        if verdict is None or not verdict.refused:
            raise AssertionError(f"{key}: a dead letter needs a finding that refuses")
        message |= {
            "error_class": verdict.error_class.value,
            "route": verdict.route,
            "reason": verdict.reason.value,
            "findings": [f._asdict() for f in findings],
            "conflicts_with": message.get("conflicts_with"),
            "batch_id": message.get("batch_id"),
            "partner": message.get("partner"),
            "answer": message.get("answer"),
            "attempts": message.get("attempts", 0),
            "outcome_unknown": message.get("outcome_unknown", False),
        }
        original: bytes = message["original"]
        message["claim"] = message.get("claim") or (self._claim(original) if len(original) > self._limit else None)
        if message["claim"]:
            message["original"] = None
        return Output(
            "dead-letter",
            partition_for(key, self._partitions),
            key.encode(),
            self._codec.encode("dead_letter", message),
        )
