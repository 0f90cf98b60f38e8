"""The laws of every stage, whatever it does: offsets go with every transaction, nothing raises on any bytes, what has
committed is not done again, and dropping everything and restoring changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.driver import INPUTS, TopologyDriver
from streams.pipeline import STAGES
from streams.runtime.log import Reached
from streams.stage import Work
from tests.test_bad_input import GOOD
from topology.load import load_pipeline

RELAXED = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def driver() -> TopologyDriver:
    """A fresh pipeline with two readings under way."""
    made = TopologyDriver(load_pipeline("cold-chain"))
    made.publish("a", GOOD)
    made.publish("b", GOOD.replace(b"FRIDGE-1", b"FRIDGE-2"))
    return made


def watched(made: TopologyDriver, stage: str) -> list[Work]:
    """Every work that the stage hands over from now on."""
    seen: list[Work] = []
    runner = made.runners[stage]
    commit: Callable[..., Reached] = runner.log.transact

    def transact(outputs: object, offsets: dict[int, int], token: object) -> Reached:
        seen.append(Work(list(outputs), dict(offsets)))  # type: ignore[call-overload]
        return commit(outputs, offsets, token)

    runner.log.transact = transact  # type: ignore[method-assign, assignment]
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_every_transaction_sends_offsets_and_writes_head_and_audit_of_the_same_partitions(stage: str) -> None:
    made = driver()
    works = watched(made, stage)
    made.finish()
    assert works
    for work in works:
        assert work.offsets
        for topic in ("heads", "audit"):
            assert {o.partition for o in work.outputs if o.topic == topic} == set(work.offsets)


@pytest.mark.parametrize("stage", STAGES)
def test_the_stores_follow_each_commit_and_nothing_is_read_again(stage: str) -> None:
    made = driver()
    made.finish()
    for partition, stores in made.runners[stage]._stores.items():
        for table, store in stores.items():
            rows: dict[bytes, bytes | None] = {}
            for message in made.broker.partitions(table)[partition]:
                if table != "heads" or (message.key or b"").startswith(stage.encode()):
                    rows[message.key or b""] = message.value
            wrote = any(value is not None for value in rows.values())
            assert dict(store.items()).items() >= {key: value for key, value in rows.items() if value}.items()
            if wrote and table != "heads":
                assert store.position == made.broker.end(table, partition)


@pytest.mark.parametrize("stage", STAGES)
@RELAXED
@given(data=st.binary(max_size=64))
def test_no_bytes_make_a_stage_stop(stage: str, data: bytes) -> None:
    made = driver()
    made.finish()
    before = len(made.read("dead-letter"))
    made.broker.append(INPUTS[stage], 0, b"k", data)
    made.publish("c", GOOD.replace(b"FRIDGE-1", b"FRIDGE-3"))
    made.finish()
    assert len(made.read("dead-letter")) == before + 1
    assert len(made.read("sent")) == 3


@pytest.mark.parametrize("stage", STAGES)
def test_a_restarted_stage_writes_nothing_a_second_time(stage: str) -> None:
    made = driver()
    made.finish()
    before = {topic: len(made.messages(topic)) for topic in ("validated", "batched", "sent", "dead-letter", "audit")}
    made.kill(stage)
    made.start(stage)
    made.finish()
    assert {topic: len(made.messages(topic)) for topic in before} == before


@pytest.mark.parametrize("stage", STAGES)
@RELAXED
@given(faults=st.lists(st.sampled_from(["ok", "abort", "lost-yes", "lost-no"]), max_size=8))
def test_faults_of_a_commit_change_nothing_that_comes_out(stage: str, faults: list[str]) -> None:
    calm, made = driver(), driver()
    calm.finish()
    left = iter(faults)
    made.broker.fault = lambda name: next(left, "ok") if name == stage else "ok"
    made.finish()
    for topic in ("validated", "sent", "dead-letter"):
        assert sorted(m.value or b"" for m in made.messages(topic)) == sorted(
            m.value or b"" for m in calm.messages(topic)
        )
