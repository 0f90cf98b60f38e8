"""A partner that is down for long: the table and the memory of dispatch stay bounded, the log is the buffer, and
nothing is lost when it comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from schemas.packs.cold_chain.sample import manifest, sample
from streams.delivery.protocol import Outcome, OutcomeKind
from streams.driver import TopologyDriver
from tests.streams.dispatch_desk import Desk
from topology.load import load_pipeline
from topology.model import Pipeline, partition_for

MOST = 10
READINGS = 400
DEADLINE = 60.0


DELIVERED = Outcome(OutcomeKind.DELIVERED, "201", None)


class Down:
    """Partners of which the dead answer nothing."""

    def __init__(self, dead: set[str]) -> None:
        self.dead = dead
        self.waiting: list[Any] = []

    def launch(self, effects: Sequence[Any]) -> None:
        self.waiting += effects

    def poll(self) -> list[Any]:
        answered = [envelope for envelope in self.waiting if envelope.partner not in self.dead]
        self.waiting = [envelope for envelope in self.waiting if envelope.partner in self.dead]
        return [(envelope, DELIVERED) for envelope in answered]

    def busy(self) -> bool:
        return any(envelope.partner not in self.dead for envelope in self.waiting)


def small(**changes: Any) -> Pipeline:
    """The shipped pipeline with batches of three."""
    shipped = load_pipeline("cold-chain")
    batching = shipped.batching.model_copy(update={"max_records": 3})
    return shipped.model_copy(update={"batching": batching, **changes})


def test_a_dead_partner_holds_the_input_up_and_loses_nothing() -> None:
    pipeline = small(max_unsettled=MOST)
    partners = Down({"lake", "clinic-api"})
    driver = TopologyDriver(pipeline, exchange=partners)
    for key, value in sample(READINGS):
        driver.publish(key, value)
    driver.finish()
    dispatch: Any = driver.runners["dispatch"].stage
    share = MOST // pipeline.partitions
    batches = Counter(message.partition for message in driver.messages("batched"))
    parked = Counter(partition for partition, _ in {(m.partition, m.key) for m in driver.messages("delivery")})
    assert parked == dict.fromkeys(batches, share)
    assert min(batches.values()) > share
    assert {p: dispatch.room[p] for p in batches} == dict.fromkeys(batches, 0)
    partners.dead.clear()
    driver.run()
    driver.advance(60)
    expected = manifest(READINGS)
    outcomes = [ack["outcome"] for ack in driver.read("sent")]
    assert (outcomes.count("delivered"), outcomes.count("duplicate")) == (expected.acknowledged, expected.duplicate)
    assert dispatch.room == dict.fromkeys(range(pipeline.partitions), share)


def test_a_dead_partner_whose_share_is_full_holds_up_no_other_partition() -> None:
    pipeline = small(max_unsettled=8, partitions=4)
    assert partition_for("lake", 4) != partition_for("clinic-api", 4)
    partners = Down({"clinic-api"})
    driver = TopologyDriver(pipeline, exchange=partners)
    for key, value in sample(READINGS):
        driver.publish(key, value)
    driver.finish()
    driver.advance(60)
    theirs = {batch["batch_id"] for batch in driver.read("batched") if batch["partner"] == "lake"}
    assert len(theirs) > 8
    assert {ack["batch_id"] for ack in driver.read("sent") if ack["outcome"] == "delivered"} == theirs


class Stopping(Down):
    """The lake is slow; the group is rebalanced while a stop waits for it."""

    def __init__(self) -> None:
        super().__init__({"lake", "clinic-api"})
        self.turns = 0
        self.rebalance: Callable[[], None] | None = None

    def poll(self) -> list[Any]:
        self.turns += 1
        if self.turns == 3 and self.rebalance is not None:
            self.rebalance()
        return super().poll()

    def busy(self) -> bool:
        return self.rebalance is not None and self.turns < 8


def test_a_rebalance_during_a_stop_begins_no_attempt() -> None:
    partners = Stopping()
    pipeline = small()
    driver = TopologyDriver(pipeline, exchange=partners)
    for key, value in sample(READINGS):
        driver.publish(key, value)
    driver.finish()
    runner = driver.runners["dispatch"]
    launched = len(partners.waiting)
    assert 0 < launched < len(driver.messages("batched"))
    before = driver.broker.generation[pipeline.group_id("dispatch")]
    partners.turns, partners.rebalance = 0, lambda: driver.broker.rebalance(pipeline.group_id("dispatch"))
    runner.stop(DEADLINE)
    assert driver.broker.generation[pipeline.group_id("dispatch")] == before + 1
    assert runner.partitions == frozenset(range(pipeline.partitions)), "what came back was rebuilt"
    assert len(partners.waiting) == launched


def test_a_full_table_takes_nothing_before_a_tenth_of_it_is_free() -> None:
    desk = Desk(max_unsettled=20)
    for number in range(20):
        assert desk.stage.room == {0: 20 - number}
        desk.batch(f"b{number}", group=str(number))
    assert desk.stage.room == {0: 0}
    for settled in range(1, 4):
        desk.answer("delivered", desk.sent[settled - 1])
        assert desk.stage.room == {0: 0 if settled < 2 else settled}
