"""A partner that is down for long: the table and the memory of dispatch stay bounded, the log is the buffer, and
nothing is lost when it comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.packs.cold_chain.sample import manifest, sample
from streams.driver import TopologyDriver
from tests.streams.dispatch_desk import Desk
from topology.load import load_pipeline

MOST = 10
READINGS = 400


class Down:
    """Partners that answer nothing until they are up."""

    def __init__(self) -> None:
        self.up = False
        self.waiting: list[Any] = []
        self.outcome: Any = None

    def launch(self, effects: Sequence[Any]) -> None:
        self.waiting += effects

    def poll(self) -> list[Any]:
        if not self.up:
            return []
        answers, self.waiting = [(envelope, self.outcome) for envelope in self.waiting], []
        return answers

    def busy(self) -> bool:
        return self.up and bool(self.waiting)


def test_a_dead_partner_holds_the_input_up_and_loses_nothing() -> None:
    from streams.delivery.protocol import Outcome, OutcomeKind

    shipped = load_pipeline("cold-chain")
    batching = shipped.batching.model_copy(update={"max_records": 3})
    pipeline = shipped.model_copy(update={"max_unsettled": MOST, "batching": batching})
    partners = Down()
    partners.outcome = Outcome(OutcomeKind.DELIVERED, "201", None)
    driver = TopologyDriver(pipeline, exchange=partners)
    for key, value in sample(READINGS):
        driver.publish(key, value)
    driver.finish()
    dispatch = driver.runners["dispatch"].stage
    assert dispatch.room == 0
    parked = {message.key for message in driver.messages("delivery")}
    assert len(parked) == MOST < len(driver.messages("batched"))
    partners.up = True
    driver.run()
    driver.advance(60)
    expected = manifest(READINGS)
    outcomes = [ack["outcome"] for ack in driver.read("sent")]
    assert (outcomes.count("delivered"), outcomes.count("duplicate")) == (expected.acknowledged, expected.duplicate)
    assert dispatch.room == MOST


def test_a_full_table_takes_nothing_before_a_tenth_of_it_is_free() -> None:
    desk = Desk(max_unsettled=20)
    for number in range(20):
        assert desk.stage.room == 20 - number
        desk.batch(f"b{number}", group=str(number))
    assert desk.stage.room == 0
    for settled in range(1, 4):
        desk.answer("delivered", desk.sent[settled - 1])
        assert desk.stage.room == (0 if settled < 2 else settled)
