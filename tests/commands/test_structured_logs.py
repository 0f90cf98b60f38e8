"""What a worker logs about records and batches (OBS-01, OBS-07): a whole pipeline is run, its log lines are read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.codec import SingleObjectCodec
from streams.delivery.http import HttpSink
from streams.delivery.protocol import Envelope, Outcome, OutcomeKind
from streams.dispatch.agent import PartnerView
from streams.dispatch.attempts import NO_ANSWER
from streams.driver import AcceptingPartner, TopologyDriver
from streams.runtime.observe import DEAD_LETTERS_LOGGED, Metrics, Observer
from streams.runtime.runner import Step
from streams.stage import Work
from tests.commands.conftest import Clock, Lines, Setup, Terminal
from tests.delivery.worlds import canned_port, envelope, http, run
from tests.streams.dispatch_desk import Desk, batch_id
from tests.streams.test_dispatch_caps import desk as adaptive_desk
from topology.load import load_pipeline
from topology.partner import HttpPartner

ALWAYS = {"event", "level", "timestamp", "pipeline", "stage", "schema_version"}


class Answers(AcceptingPartner):
    """Gives the answers it is told, then takes everything."""

    def __init__(self, *answers: Outcome) -> None:
        super().__init__()
        self.answers = list(answers)

    def __call__(self, envelope: Envelope) -> Outcome:
        return self.answers.pop(0) if self.answers else super().__call__(envelope)


def driver(partner: AcceptingPartner | None = None) -> TopologyDriver:
    """The shipped pipeline, observed as a worker is."""
    pipeline = load_pipeline("cold-chain")
    observers: dict[str, Observer] = {}

    def observe(stage: str, step: Step) -> None:
        if stage not in observers:
            observers[stage] = Observer(
                Metrics(), pipeline, stage, SingleObjectCodec(), made.pack.version, lambda: made.broker.now
            )
        observers[stage](step)

    partners = {name: partner or AcceptingPartner() for name in pipeline.partner_names}
    made = TopologyDriver(pipeline, partners, observe=observe)
    return made


def reading(minute: int, celsius: object = 4.5, sensor: str = "FRIDGE-01") -> bytes:
    return orjson.dumps(
        {"sensor_id": sensor, "timestamp_utc": f"2026-03-02T00:{minute:02}:00Z", "temperature_c": celsius,
         "product": "refrigerator"}
    )  # fmt: skip


def named(lines: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == event]


def test_a_dead_letter_names_record_digest_place_and_how_long_it_took(lines: Lines) -> None:
    world = driver()
    world.publish("k", reading(0, "warm"))
    world.broker.now += 1500  # between the broker's time and the worker's turn
    world.run()
    (line,) = named(lines(), "dead letter")
    (letter,) = world.read("dead-letter")
    assert line.keys() == ALWAYS | {"id", "digest", "site", "error_class", "codes", "latency_ms", "since_recorded_ms"}
    assert (line["pipeline"], line["stage"], line["schema_version"]) == ("cold-chain", "validate", "cold_chain/1")
    assert line["id"] == f"cold-chain.raw/{letter['raw_partition']}/{letter['raw_offset']}/0"
    assert line["digest"] == letter["digest"].hex()
    assert (line["codes"], line["level"]) == (["WRONG_TYPE"], "warning")
    assert line["since_recorded_ms"] == 1500
    assert line["latency_ms"] > 0


def test_of_a_flood_of_dead_letters_some_are_named_and_all_are_counted(lines: Lines) -> None:
    world = driver()
    body = b"[" + b",".join(reading(minute, "warm") for minute in range(50)) + b"]"
    for _ in range(2):
        world.publish("k", body)
        world.run()
    found = lines()
    assert len(named(found, "dead letter")) == 2 * DEAD_LETTERS_LOGGED
    assert [line["count"] for line in named(found, "more dead letters")] == [50 - DEAD_LETTERS_LOGGED] * 2


def test_a_delivery_names_batch_digest_attempt_and_how_long_it_took(lines: Lines) -> None:
    partner = AcceptingPartner()
    world = driver(partner)
    world.publish("k", reading(0))
    world.broker.now += 2000
    world.publish("k", reading(1))
    world.finish()
    (line,) = named(lines(), "delivered")
    (envelope,) = partner.attempts
    assert line.keys() == ALWAYS | {
        "batch", "digest", "partner", "attempt", "records", "answer", "latency_ms", "since_recorded_ms",
    }  # fmt: skip
    assert (line["stage"], line["level"], line["records"], line["attempt"]) == ("dispatch", "info", 2, 1)
    assert (line["batch"], line["digest"]) == (envelope.batch_id.hex(), envelope.body_digest.hex())
    assert line["since_recorded_ms"] == 2000, "of its oldest record"
    assert line["latency_ms"] == 0, "time stood still in the attempt"


def test_a_retry_carries_attempt_and_delay_and_the_attempt_after_it_its_own_time(lines: Lines) -> None:
    world = driver(Answers(Outcome(OutcomeKind.FAILED, "refused"), Outcome(OutcomeKind.UNKNOWN, "no answer")))
    world.publish("k", reading(0))
    world.finish()
    (first,) = named(lines(), "retry")
    assert (first["level"], first["attempt"], first["unknown"], first["answer"]) == ("warning", 1, False, "refused")
    assert first["delay_s"] >= 0
    assert (first["latency_ms"], first["since_recorded_ms"]) == (0, 0)
    world.advance(60)
    (second,) = named(lines(), "retry")
    assert (second["attempt"], second["unknown"], second["since_recorded_ms"]) == (2, True, 60_000)
    world.advance(60)
    (line,) = named(lines(), "delivered")
    assert (line["attempt"], line["latency_ms"], line["since_recorded_ms"]) == (3, 0, 120_000)


def test_obs07_an_attempt_of_which_nobody_heard_is_warned_of_too(lines: Lines) -> None:
    """Its worker was killed: what comes next is a retry all the same, and unknown is its reason."""
    desk = Desk()
    observers = [
        Observer(Metrics(), desk.pipeline, "dispatch", SingleObjectCodec(), "1", lambda: desk.now) for _ in "ab"
    ]

    def seen(observer: Observer, work: Work | None) -> None:
        observer(Step(work=work, result="commit"))

    desk.batch("a")
    seen(observers[0], desk.answer("failed", answer="503 busy"))
    seen(observers[0], desk.wait(60))
    desk.start()
    seen(observers[1], desk.turn())
    seen(observers[1], desk.answer("failed", answer="503 busy"))
    found = named(lines(), "retry")
    assert [(line["attempt"], line["answer"], line["delay_s"]) for line in found] == [
        (1, "503 busy", 2.0), (2, NO_ANSWER, 0.0), (3, "503 busy", 4.0),
    ]  # fmt: skip


def test_obs07_a_row_that_says_anew_what_was_told_is_no_other_attempt(lines: Lines, clock: Clock) -> None:
    hour = 3600
    desk = Desk(keep=4 * hour)
    observer = Observer(Metrics(), desk.pipeline, "dispatch", SingleObjectCodec(), "1", lambda: desk.now)
    desk.batch("a")
    for work in (desk.answer("failed"), desk.wait(60), desk.answer("paused", answer="429", retry_after=3 * hour)):
        observer(Step(work=work, result="commit"))
    assert len(named(lines(), "retry")) == 2
    clock.now += 60  # or it is held back as a repetition
    observer(Step(work=desk.wait(2.1 * hour), result="commit"))
    assert desk.row("a")["retained"]
    assert named(lines(), "retry") == []


def test_obs07_an_answer_that_a_worker_took_before_its_end_is_told_once(lines: Lines) -> None:
    desk = Desk()
    old, new = [
        Observer(Metrics(), desk.pipeline, "dispatch", SingleObjectCodec(), "1", lambda: desk.now) for _ in "ab"
    ]
    desk.batch("a")
    old(Step(work=desk.answer("unknown", answer="TimeoutError"), result="commit"))
    desk.start()
    for work in (desk.wait(60), desk.answer("delivered")):
        new(Step(work=work, result="commit"))
    found = lines()
    assert [(line["attempt"], line["answer"]) for line in named(found, "retry")] == [(1, "TimeoutError")]
    assert [line["attempt"] for line in named(found, "delivered")] == [2]


def test_a_partner_that_is_down_is_told_once_and_again_when_it_is_well(lines: Lines) -> None:
    world = driver(Answers(*[Outcome(OutcomeKind.FAILED, "refused")] * 3))
    world.publish("k", reading(0))
    world.finish()
    world.advance(60)
    world.advance(60)
    found = lines()
    (down,) = named(found, "partner is down")
    assert (down["level"], down["partner"], down["answer"]) == ("warning", "lake", "refused")
    assert 0 < down["again_in_s"] < 2
    (waits,) = named(found, "waits for its partner")
    assert (waits["level"], waits["attempt"], waits["answer"]) == ("warning", 3, "refused")
    assert waits["delay_s"] == down["again_in_s"]
    world.advance(60)
    found = lines()
    assert (named(found, "partner is well again")[0]["partner"], len(named(found, "delivered"))) == ("lake", 1)


def test_a_cap_is_told_when_it_changes_beside_why_its_partner_is_left_alone(lines: Lines) -> None:
    desk = adaptive_desk()
    observer = Observer(Metrics(), desk.pipeline, "dispatch", SingleObjectCodec(), "1", lambda: desk.now)
    desk.batch("a", size=8, partner="clinic")
    for work in (desk.answer("paused", retry_after=1), desk.wait(2), desk.answer("delivered")):
        observer(Step(work=work, result="commit"))
    observer.partners(desk.stage.partners(desk.now))
    found = lines()
    assert [(line["partner"], line["records"]) for line in named(found, "batch cap")] == [("clinic", 4)]
    assert len(named(found, "partner asks for patience")) == len(named(found, "partner is well again")) == 1
    labels = {"pipeline": desk.pipeline.pipeline, "partner": "clinic"}
    assert observer._metrics.registry.get_sample_value("waybill_partner_batch_cap_records", labels) == 4


def test_a_partner_that_refuses_us_is_an_error_that_names_it(lines: Lines) -> None:
    world = driver(Answers(Outcome(OutcomeKind.STOPPED, "401 who are you")))
    world.publish("k", reading(0))
    world.finish()
    (line,) = named(lines(), "partner refuses us")
    assert (line["level"], line["partner"], line["answer"]) == ("error", "lake", "401 who are you")


def test_metrics_tell_of_each_partner_its_state_its_queue_and_what_its_answers_were() -> None:
    metrics = Metrics()
    observer = Observer(metrics, load_pipeline("cold-chain"), "dispatch", SingleObjectCodec(), "1")
    observer.partners([PartnerView("lake", "half-open", 7, 61_500), PartnerView("clinic-api", "closed", 0, 0, True)])
    one = envelope(partner="lake")
    for status, seconds in (503, 0.02), (500, 7.0), (500, 29.0), (None, None):
        observer.answered(one, Outcome(OutcomeKind.UNKNOWN, "", status=status, seconds=seconds))

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, {"pipeline": "cold-chain", **labels})

    assert [value("waybill_partner_state", partner="lake", state=state) for state in ("half-open", "closed")] == [1, 0]
    assert [value("waybill_partner_paused", partner=name) for name in ("lake", "clinic-api")] == [0, 1]
    assert value("waybill_partner_queue_age_seconds", partner="lake") == 61.5
    assert value("waybill_partner_unsettled_batches", partner="lake") == 7
    told = {"partner": "lake", "outcome": "unknown"}
    assert value("waybill_partner_attempts_total", status="5xx", **told) == 3
    assert value("waybill_partner_attempts_total", status="none", **told) == 1
    within = [
        value("waybill_partner_attempt_seconds_bucket", partner="lake", le=le) for le in ("0.025", "10.0", "30.0")
    ]
    assert within == [1, 2, 3]


def test_metrics_tell_how_near_a_partners_batches_are_to_a_dead_letter_and_what_they_had_used() -> None:
    desk, metrics = Desk(), Metrics()  # three attempts, four of unknown outcome
    observer = Observer(metrics, desk.pipeline, "dispatch", SingleObjectCodec(), "1", lambda: desk.now)
    labels = {"pipeline": desk.pipeline.pipeline, "partner": "lake"}

    def left() -> float | None:
        observer.partners(desk.stage.partners(desk.now))
        return metrics.registry.get_sample_value("waybill_partner_attempts_left", labels)

    def used(state: str, le: str) -> float | None:
        told = {**labels, "state": state, "le": le}
        return metrics.registry.get_sample_value("waybill_partner_attempts_used_bucket", told)

    def seen(work: Work | None) -> None:
        observer(Step(work=work, result="commit"))

    def last(name: str) -> Envelope:
        return next(one for one in reversed(desk.sent) if one.batch_id == batch_id(name))

    desk.batch("a", group="1")
    desk.batch("b", group="2")
    assert left() == 3
    for expected in (2, 1):
        seen(desk.answer("failed", last("a")))
        assert left() == expected
        seen(desk.wait(20))
        assert left() == expected, "the attempt under way may still fail"
    seen(desk.answer("failed", last("a")))
    assert left() == 3, "of the other batch"
    for expected in (3, 2, 1):
        seen(desk.answer("unknown", last("b")))
        assert left() == expected
        desk.start()
        seen(desk.wait(20))
        assert left() == expected
    seen(desk.answer("delivered", last("b")))
    assert left() == 3
    assert [used("dead", le) for le in ("2.0", "3.0")] == [0, 1]
    assert [used("sent", le) for le in ("3.0", "4.0")] == [0, 1]


def test_a_metric_tells_how_long_it_is_to_the_first_deadline_of_a_partner() -> None:
    lake = HttpPartner(kind="http", url="http://lake", deadline=600.0)
    desk, metrics = Desk(partners={"lake": lake}), Metrics()
    observer = Observer(metrics, desk.pipeline, "dispatch", SingleObjectCodec(), "1", lambda: desk.now)

    def left() -> float | None:
        observer.partners(desk.stage.partners(desk.now))
        labels = {"pipeline": desk.pipeline.pipeline, "partner": "lake"}
        return metrics.registry.get_sample_value("waybill_partner_deadline_seconds", labels)

    desk.batch("a")
    desk.now += 100_000
    assert left() == 500
    desk.now += 600_000
    assert left() == 0, "an attempt is out, and decides"
    desk.answer("delivered")
    assert left() == 600


def test_a_batch_that_its_partner_finds_too_large_is_said_to_go_on_in_halves(lines: Lines) -> None:
    world = driver(Answers(Outcome(OutcomeKind.TOO_LARGE, "413 too much")))
    world.publish("k", reading(0))
    world.publish("k", reading(1))
    world.finish()
    found = lines()
    (line,) = named(found, "batch goes on in halves")
    assert (line["level"], line["attempt"], line["records"], line["answer"]) == ("warning", 1, 2, "413 too much")
    assert [line["records"] for line in named(found, "delivered")] == [1, 1]


def test_a_batch_that_dies_is_an_error_with_the_same_fields(lines: Lines) -> None:
    world = driver(Answers(Outcome(OutcomeKind.REFUSED, "422 no")))
    world.publish("k", reading(0))
    world.finish()
    (line,) = named(lines(), "batch is dead")
    assert (line["level"], line["attempt"], line["records"], line["answer"]) == ("error", 1, 1, "422 no")
    assert ALWAYS | {"batch", "digest", "partner", "latency_ms", "since_recorded_ms"} <= line.keys()


def test_a_clock_that_lags_behind_the_brokers_makes_no_negative_time(lines: Lines) -> None:
    world = driver()
    world.publish("k", reading(0, "warm"))
    world.broker.now -= 5000
    world.run()
    assert named(lines(), "dead letter")[0]["since_recorded_ms"] == 0


def test_no_line_holds_what_a_record_says(lines: Lines, setup: Setup) -> None:
    stream = setup(verbose=True)
    world = driver(Answers(Outcome(OutcomeKind.FAILED, "refused")))
    for celsius in (4.5, 41.75, "SECRET-VALUE"):
        world.publish("k", reading(0, celsius, sensor="PATIENT-4711"))
    world.finish()
    world.advance(60)
    text = stream.getvalue()
    for event in ("dead letter", "retry", "delivered", "committed"):
        assert f'"event": "{event}"' in text
    for content in ("PATIENT-4711", "SECRET-VALUE", "41.75", "refrigerator"):
        assert content not in text


@pytest.mark.parametrize("terminal", [False, True])
def test_credentials_that_a_partner_echoes_are_blotted_out(setup: Setup, terminal: bool) -> None:
    stream = setup(Terminal()) if terminal else setup()
    said = b"token sesame-secret is wrong"
    echo = b"HTTP/1.1 422 No\r\nContent-Length: %d\r\n\r\n" % len(said) + said

    class Echo(AcceptingPartner):
        def __call__(self, envelope: Envelope) -> Outcome:
            async def send() -> Outcome:
                sink = HttpSink(
                    "p", http(f"http://127.0.0.1:{port}/", headers={"Authorization": "Bearer sesame-secret"})
                )
                try:
                    return await sink.send(envelope)
                finally:
                    await sink.close()

            return run(send())

    with canned_port(echo) as port:
        world = driver(Echo())
        world.publish("k", reading(0))
        world.finish()
    text = stream.getvalue()
    assert "batch is dead" in text
    assert "token *** is wrong" in text
    assert "sesame" not in text
