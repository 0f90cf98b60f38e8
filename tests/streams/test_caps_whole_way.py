"""A partner whose limits nobody wrote down, from raw to its ledger and back by way of caps (BAT-07), in memory."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from streams.delivery.protocol import Envelope, Outcome, OutcomeKind
from streams.driver import AcceptingPartner, TopologyDriver
from tests.streams.line_pack import LinePack
from topology.model import Pipeline
from topology.partner import Adaptive, HttpPartner
from topology.sections import Batching

PUBLISHED = 120
"""Records a round, on three partitions."""


class Clinic(AcceptingPartner):
    """Takes `most` records in a request, and none while it is busy."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.busy = most, 0
        self.refused: list[int] = []

    def __call__(self, envelope: Envelope) -> Outcome:
        count = int(envelope.metadata["record_count"])
        if count > self.most:
            self.refused.append(count)
            return Outcome(OutcomeKind.TOO_LARGE, "413")
        if self.busy:
            self.busy -= 1
            return Outcome(OutcomeKind.PAUSED, "429", 1.0)
        return super().__call__(envelope)


def pipeline() -> Pipeline:
    adaptive = Adaptive(min_records=2, step=3)
    clinic = HttpPartner(kind="http", url="http://clinic", adaptive=adaptive, connections=4)
    return Pipeline(
        pipeline="toy", pack="lines", partitions=3, partition_by=["k"], idempotency=["k"], group_by=["g"],
        partner="clinic", partners={"clinic": clinic}, batching=Batching(max_records=40, linger=20, idle=5),
        ordering="none",
    )  # fmt: skip


class World:
    """The pipeline, its partner, and what was published."""

    def __init__(self, most: int, restarts: bool) -> None:
        self.clinic, self.restarts, self.published = Clinic(most), restarts, 0
        self.driver = TopologyDriver(pipeline(), {"clinic": self.clinic}, pack=LinePack())

    def round(self) -> list[int]:
        """Publishes; the sizes of the batches that were frozen meanwhile."""
        before = len(self.driver.read("batched"))
        lines = [f"k{self.published + n} g 1" for n in range(PUBLISHED)]
        self.published += PUBLISHED
        self.driver.publish("all", "\n".join(lines).encode())
        self.driver.run()
        if self.restarts:
            for stage in ("batch", "dispatch"):
                self.driver.kill(stage)
                self.driver.start(stage)
        for _ in range(6):
            self.driver.advance(2)
        return [batch["count"] for batch in self.driver.read("batched")[before:]]

    def caps(self) -> list[tuple[int, str]]:
        """What was told to one partition, which must be what was told to each."""
        told = [self._caps(partition) for partition in range(3)]
        assert told[0] == told[1] == told[2]
        return told[0]

    def _caps(self, partition: int) -> list[tuple[int, str]]:
        decoded = [
            self.driver.codec.decode(m.value or b"") for m in self.driver.broker.partitions("validated")[partition]
        ]
        return [(message["records"], message["reason"]) for name, message in decoded if name == "cap"]


@pytest.mark.parametrize("restarts", [False, True])
def test_batches_come_to_fit_a_partner_and_no_record_is_lost_or_sent_twice(restarts: bool) -> None:
    world = World(most=12, restarts=restarts)
    assert max(world.round()) == 40
    for _ in range(7):
        world.clinic.refused.clear()
        sizes = world.round()
    assert world.clinic.refused == [], "batches fit by now"
    assert (max(sizes), world.caps()[-1]) == (12, (12, "well")), (
        "as many as it takes, found from 40 by halves and steps"
    )

    world.clinic.busy = 4
    world.round()
    assert world.caps()[-1] == (6, "busy"), "429s shrink it"
    for _ in range(6):
        world.round()
    assert world.caps()[-1] == (12, "well"), "recovery grows it"
    assert world.clinic.refused == [], "and not to a size that was refused"

    world.driver.finish()
    for _ in range(10):
        world.driver.advance(5)
    held = [record["key"] for body in world.clinic.effects.values() for record in json.loads(body)["records"]]
    assert Counter(held) == Counter(f"k{n}" for n in range(world.published))
    assert sorted(ack["key"] for ack in world.driver.read("sent")) == sorted(held)
    assert world.driver.read("dead-letter") == []
