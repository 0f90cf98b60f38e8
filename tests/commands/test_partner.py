"""`waybill partner`: what is told of partners, an operator's word on them, and the probe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.canonical import RawPosition
from streams.delivery.protocol import Outcome, OutcomeKind
from streams.dispatch.orders import Orders, subject
from tests.commands.bench_kafka import Bench
from tests.commands.conftest import Ask, Cli
from tests.delivery.worlds import canned_port, closed_port
from tests.streams.dispatch_desk import START, Desk
from topology.partner import HttpPartner
from waybill.books import Tally
from waybill.commands.trace import show
from waybill.life import Life
from waybill.output import utc
from waybill.partners import held_up, read_orders, standings
from waybill.reader import Decoder, Reader

PIPELINE = """\
pipeline: demo
pack: cold_chain
partition_by: [sensor_id]
idempotency: [sensor_id, event_time]
partner: clinic
"""
TOKEN = "open-sesame-1"


def folder(tmp_path: Path, **clinic: object) -> Path:
    made = tmp_path / "topology"
    made.mkdir(exist_ok=True)
    (made / "demo.yaml").write_text(PIPELINE)
    partner = {"kind": "http", "timeout": 20, "auth": {"kind": "bearer", "token": {"env": "CLINIC_TOKEN"}}, **clinic}
    (made / "partners.yaml").write_text(json.dumps({"clinic": partner}))
    return made


@pytest.mark.parametrize(
    ("status", "code", "well"),
    [("204 No Content", 0, True), ("401 Who", 1, False), ("503 Busy", 1, False), ("405 No", 3, None)],
)
def test_a_probe_says_what_came_back_and_no_secret(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, code: int, well: bool | None
) -> None:
    monkeypatch.setenv("CLINIC_TOKEN", TOKEN)
    with canned_port(f"HTTP/1.1 {status} for {TOKEN}\r\nContent-Length: 0\r\n\r\n".encode()) as port:
        made = folder(tmp_path, url=f"http://127.0.0.1:{port}/batches?key=query-secret")
        ran = cli("partner", "test", "clinic", "--folder", made, "--json")
        plain = cli("partner", "test", "demo", "clinic", "--folder", made)
    (row,) = ran.rows
    assert (ran.code, plain.code, row["well"]) == (code, code, well)
    assert row["answer"] == f"{status} for ***"
    assert f"{status} for ***" in plain.out
    for secret in (TOKEN, "query-secret"):
        assert secret not in ran.out + ran.err + plain.out + plain.err


def test_a_partner_that_is_not_there_and_a_secret_that_is_missing_are_found(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closed_port() as port:
        made = folder(tmp_path, url=f"http://127.0.0.1:{port}/")
        ran = cli("partner", "test", "clinic", "--folder", made)
        assert (ran.code, "CLINIC_TOKEN is not set" in ran.out) == (1, True)
        monkeypatch.setenv("CLINIC_TOKEN", TOKEN)
        ran = cli("partner", "test", "clinic", "--folder", made)
        assert (ran.code, "not sent" in ran.out) == (1, True)
        assert f"Cannot connect to host 127.0.0.1:{port} [" in ran.out, "and no word of TLS, which it does not speak"
    ran = cli("partner", "test", "nobody", "--folder", made)
    assert ran.code == 2
    assert ran.err.startswith("waybill: no partner 'nobody'; there are clinic (an entry of partners.yaml is one where")


def test_ls_and_trace_tell_when_a_batch_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    lake = HttpPartner(kind="http", url="http://lake", deadline=600.0)
    desk = Desk(partners={"lake": lake})
    desk.batch("a", group="1")
    desk.now += 5_000
    desk.batch("b", group="2")
    desk.batch("none-left", group="3")

    def first() -> object:
        rows = [desk.row(name) for name in ("a", "b", "none-left")]
        return standings(desk.pipeline, rows, [], Orders(), desk.now)[0]["first_deadline"]

    def told(name: str) -> str:
        show([Life(RawPosition("raw", 0, 0, 0, 0), path=[desk.row(name)])], desk.pipeline, False)
        return capsys.readouterr().out

    assert first() == utc(START + 600_000)
    assert f"in flight until {utc(START + 600_000)}" in told("a")
    desk.answer("delivered", desk.sent[0])
    assert first() == utc(START + 605_000)
    assert "until" not in told("a")
    for envelope in desk.sent[1:]:
        desk.answer("delivered", envelope)
    assert first() is None


ALONE = {"queue": 2, "paused": False, "state": "closed", "until": "2026-01-05T08:00:00.000Z", "last_answer": "503"}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({}, None),
        ({"state": "open"}, "its breaker is open until 2026-01-05T08:00:00.000Z; last answer: 503"),
        ({"state": "open", "queue": 0}, None),
        ({"state": "half-open", "last_answer": None}, "its breaker is half-open: the next attempt decides"),
        ({"state": "paused"}, "it asked to be left alone until 2026-01-05T08:00:00.000Z; last answer: 503"),
        ({"state": "stopped"}, "it does not let us in; asked again at 2026-01-05T08:00:00.000Z; last answer: 503"),
        (
            {"state": "open", "paused": True, "order": {"at": "then", "by": "ann", "reason": "they move"}},
            "paused by command: since then by ann: they move",
        ),
    ],
)
def test_the_books_say_why_a_partners_batches_wait(row: dict[str, object], says: str | None) -> None:
    assert held_up({**ALONE, **row}) == says


@pytest.mark.kafka
def test_a_pause_is_ordered_once_kept_with_its_reason_and_taken_back(ask: Ask, bench: Bench) -> None:
    ran = ask("partner", "ls", "demo", "--json")
    (row,) = ran.rows
    assert (row["partner"], row["state"], row["queue"], row["paused"], row["order"]) == (
        "lake",
        "closed",
        0,
        False,
        None,
    )
    assert ask("partner", "pause", "lake").code == 2, "a reason is asked for"
    ran = ask("partner", "pause", "demo", "lake", "--reason", "they move house", "--by", "ann", "--json")
    (row,) = ran.rows
    assert (ran.code, row["paused"], row["changed"], row["version"]) == (0, True, True, 1)
    ran = ask("partner", "pause", "demo", "lake", "--reason", "again", "--by", "bob", "--json")
    assert (ran.code, ran.rows[0]["changed"], ran.rows[0]["by"]) == (0, False, "ann")
    assert "they move house" in ask("partner", "ls", "demo").out
    (row,) = ask("partner", "ls", "demo", "--json").rows
    assert (row["paused"], row["order"]["by"], row["order"]["reason"]) == (True, "ann", "they move house")
    assert ask("reconcile", "demo").out.splitlines() == [str(Tally(""))], "nothing is held up by it"
    assert ask("partner", "resume", "demo", "lake", "--reason", "moved", "--by", "bob").code == 0
    (row,) = ask("partner", "ls", "demo", "--json").rows
    assert (row["paused"], row["order"]["by"]) == (False, "bob")
    with Reader(bench.bootstrap) as reader:
        order = read_orders(reader).newest(bench.pipeline, "lake")
    assert order is not None
    assert (order.subject, order.version) == (subject(bench.pipeline, "lake"), 2)
    history = [
        (row["value"]["actor"], row["value"]["body"], row["value"]["reason"])
        for row in ask("tail", "demo", "control", "--until-end", "--json").rows
        if row["value"]["subject"] == order.subject
    ]
    assert history == [("ann", '{"paused": true}', "they move house"), ("bob", '{"paused": false}', "moved")]
    plain = ask("tail", "demo", "control", "--until-end").out
    assert f'partner  {order.subject}  version 2  {{"paused": false}}  by bob: moved' in plain
    ran = ask("partner", "pause", "demo", "nobody", "--reason", "x")
    assert (ran.code, "there are lake" in ran.err) == (2, True)


@pytest.mark.kafka
def test_ls_shows_a_partner_that_is_down_with_what_waits_for_it(ask: Ask, bench: Bench) -> None:
    reading = {"sensor_id": "FRIDGE-01", "timestamp_utc": "2026-03-02T00:00:00Z", "temperature_c": 4.5,
               "product": "refrigerator"}  # fmt: skip
    assert ask("publish", "demo", "-", "--key", "k", stdin=json.dumps(reading).encode()).code == 0
    bench.validate()
    bench.batch()
    bench.dispatch(Outcome(OutcomeKind.FAILED, "connection refused"))
    (row,) = ask("partner", "ls", "demo", "--json").rows
    assert (row["queue"], row["last_answer"], row["batches"]) == (1, "connection refused", {"Retrying": 1})
    assert row["state"] in ("open", "half-open"), "its wait may be over by now"
    assert row["oldest_age_s"] > 0
    with Reader(bench.bootstrap) as reader:
        rows = Decoder(bench.pipeline).delivery(reader.table(bench.pipeline.topic("delivery")).values())
    at = rows.partners[0]["at"]
    (then,) = standings(bench.pipeline, rows.batches, rows.partners, Orders(), at)
    assert then["state"] == "open"
    assert "connection refused" in ask("partner", "ls", "demo").out
    assert "partner  lake  1 batch of demo waiting: its breaker is " in ask("reconcile", "demo").out
    assert ask("partner", "pause", "demo", "lake", "--reason", "they move house", "--by", "ann").code == 0
    ran = ask("reconcile", "demo", "--json")
    (told,) = [row for row in ran.rows if row["kind"] == "partner"]
    assert (ran.code, told["partner"], told["queue"], told["paused"]) == (3, "lake", 1, True)
    assert told["what"].endswith(" by ann: they move house")
