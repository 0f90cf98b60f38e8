"""Rule VA4, valid records that are too large for a topic: the payload goes to the claim store, the record goes on."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.canonical import sha256
from streams.claims import ClaimsAway, MemoryClaims
from streams.delivery.protocol import Envelope, Outcome, OutcomeKind
from streams.driver import AcceptingPartner, TopologyDriver
from tests.streams.line_pack import LinePack
from tests.streams.toy_pack import line_pipeline
from topology.partner import HttpPartner
from topology.sections import Batching
from topology.topics import message_limit

ROOM = 2000
"""Bytes of a `validated` message here; the toy's records have some 900 by themselves."""
BIG = "x" * 3000


class Claims(MemoryClaims):
    """A store that can be away, and remembers what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.asked: list[str] = []

    def put(self, data: bytes) -> str:
        self._ask("put")
        return super().put(data)

    def get(self, digest: bytes) -> bytes:
        self._ask("get")
        return super().get(digest)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.away:
            raise ClaimsAway("away")


class Driver(TopologyDriver):
    """The toy pipeline in memory, with a claim store."""

    def __init__(self, partner: Any = None, **changes: Any) -> None:
        settings: dict[str, Any] = {"partners": {"p": HttpPartner(kind="http", url="http://p")}, "ordering": "none"}
        self.partner: Any = partner or AcceptingPartner()
        super().__init__(line_pipeline(**(settings | changes)), {"p": self.partner}, pack=LinePack())

    def start(self, stage: str) -> Any:
        if not isinstance(self.claims, Claims):
            self.claims = Claims()
        return super().start(stage)

    @property
    def store(self) -> Claims:
        assert isinstance(self.claims, Claims)
        return self.claims

    def send(self, *lines: str) -> None:
        for line in lines:
            self.publish(None, line.encode())

    def validate(self) -> str:
        return [self.runners["validate"].step(timeout=0) for _ in range(3)][-1].result

    def bodies(self) -> list[Any]:
        return [orjson.loads(body) for body in self.partner.effects.values()]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages are large from ROOM bytes on."""
    monkeypatch.setattr("streams.pipeline.inline_limit", lambda pipeline: ROOM)


def refuse(envelope: Envelope) -> Outcome:
    return Outcome(OutcomeKind.REFUSED, "no")


def test_va4_a_large_record_is_delivered_and_the_log_holds_only_where_it_is_kept(small: None) -> None:
    driver = Driver()
    driver.send(f"a g {BIG}", "b g 1")
    driver.finish()
    large, usual = driver.read("validated")
    (payload,) = driver.store.kept.values()
    assert (large["payload"], large["digest"]) == (b"", sha256(payload))
    assert large["claim"] == {"url": f"memory:{sha256(payload).hex()}", "size": len(payload)}
    assert usual["claim"] is None
    assert max(len(m.value or b"") for topic in ("validated", "batched") for m in driver.messages(topic)) < ROOM
    (body,) = driver.bodies()
    assert [record["record"]["v"] for record in body["records"]] == [BIG, "1"]
    assert [(ack["key"], ack["outcome"]) for ack in driver.read("sent")] == [("a", "delivered"), ("b", "delivered")]


def test_va4_partners_get_the_same_bytes_as_without(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed = Driver()
    monkeypatch.setattr("streams.pipeline.inline_limit", lambda pipeline: 10**6)
    inline = Driver()
    for driver in (claimed, inline):
        driver.send(f"a g {BIG}", "b g 1")
        driver.finish()
    assert claimed.store.kept
    assert not inline.store.kept
    assert claimed.partner.effects == inline.partner.effects


def test_va4_by_the_limits_of_the_topics_no_message_is_larger_than_its_topic_takes() -> None:
    driver = Driver()
    driver.send("a g " + "x" * 34 * 2**20, f"b g {BIG}")
    driver.finish()
    assert [m["claim"] is not None for m in driver.read("validated")] == [True, False]
    limit = message_limit(driver.pipeline)
    assert all(
        len(m.value or b"") < limit for topic in ("validated", "batched", "sent") for m in driver.messages(topic)
    )
    assert sorted(ack["key"] for ack in driver.read("sent")) == ["a", "b"]


def test_va4_a_payload_is_kept_before_the_record_is_visible(small: None) -> None:
    driver = Driver()
    driver.send(f"a g {BIG}")
    driver.store.away = True
    assert driver.validate() == "abort", "a store that is away is no fault of the record (VA3)"
    assert driver.read("validated") == []
    assert driver.read("dead-letter") == []
    driver.store.away = False
    driver.finish()
    assert len(driver.store.kept) == 1
    assert [ack["outcome"] for ack in driver.read("sent")] == ["delivered"]


@pytest.mark.parametrize("altered", [True, False])
def test_va4_a_payload_lost_or_altered_is_a_dead_letter_and_its_key_is_free(small: None, altered: bool) -> None:
    driver = Driver()
    driver.send(f"a g {BIG}")
    driver.validate()
    ((digest, payload),) = driver.store.kept.items()
    driver.store.kept.clear()
    if altered:
        driver.store.kept[digest] = payload.replace(b"x", b"y", 1)
    driver.finish()
    (dead,) = driver.read("dead-letter")
    assert (dead["findings"][0]["code"], dead["error_class"], dead["stage"]) == (
        "CLAIM_LOST", "COMPLIANCE_BLOCK", "dispatch",
    )  # fmt: skip
    assert (dead["original"], dead["claim"], dead["digest"]) == (None, f"memory:{digest.hex()}", digest)
    assert driver.partner.attempts == []
    driver.send(f"a g {BIG}")
    driver.finish()
    assert [ack["outcome"] for ack in driver.read("sent")] == ["delivered"]


def test_va4_while_the_store_is_away_its_batches_wait_and_the_others_go_on(small: None) -> None:
    driver = Driver(group_by=["g"])
    driver.send(f"a one {BIG}", f"b two {BIG}", "c three 1")
    driver.validate()
    driver.store.away = True
    driver.store.asked.clear()
    driver.finish()
    assert [ack["key"] for ack in driver.read("sent")] == ["c"]
    assert driver.read("dead-letter") == []
    assert driver.store.asked == ["get"], "asked once in a turn: each asking may take as long as a time-out"
    driver.advance(10)
    assert driver.store.asked == ["get", "get"]
    driver.store.away = False
    driver.advance(10)
    assert sorted(ack["key"] for ack in driver.read("sent")) == ["a", "b", "c"]
    assert {envelope.attempt for envelope in driver.partner.attempts} == {1}, "waiting uses no attempt"


def test_va4_dead_letters_of_batch_and_dispatch_name_the_same_claim(small: None) -> None:
    driver = Driver(refuse)
    driver.send(f"a g {BIG}", f"a g {BIG}y")
    driver.finish()
    urls = {m["digest"]: m["claim"]["url"] for m in driver.read("validated") if "claim" in m}
    found = {dead["stage"]: dead for dead in driver.read("dead-letter")}
    assert found.keys() == {"batch", "dispatch"}
    for dead in found.values():
        assert (dead["original"], dead["claim"]) == (None, urls[dead["digest"]])
    assert driver.store.asked == ["put", "put", "get"]


@pytest.mark.parametrize("restart", [False, True])
def test_va4_max_bytes_counts_what_is_kept_elsewhere(small: None, restart: bool) -> None:
    driver = Driver(batching=Batching(max_bytes=7000))
    driver.send(f"a g {BIG}", "b g 1")
    driver.run()
    if restart:
        driver.kill("batch")
        driver.start("batch")
        driver.run()
    driver.send(f"c g {BIG}")
    driver.finish()
    assert [(m["count"], m["close_reason"]) for m in driver.read("batched")] == [(2, "bytes"), (1, "end")]
