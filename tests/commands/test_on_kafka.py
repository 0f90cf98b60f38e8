"""The commands that look at a cluster, asked at every point of a few records' lives on the real broker."""

from __future__ import annotations

import json
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from streams.delivery.protocol import Outcome, OutcomeKind
from streams.dispatch.attempts import NO_ANSWER
from streams.stage import Output
from tests.commands.bench_kafka import Bench
from tests.commands.conftest import Ask, Cli, Ran
from waybill.demo import Answers
from waybill.output import utc

pytestmark = pytest.mark.kafka


def reading(minute: int, celsius: str = "4.5", sensor: str = "FRIDGE-01") -> dict[str, Any]:
    return {"sensor_id": sensor, "timestamp_utc": f"2026-03-02T00:{minute:02}:00Z", "temperature_c": float(celsius),
            "zone_id": "A1", "product": "refrigerator"}  # fmt: skip


def fill(ask: Ask, tmp_path: Path) -> dict[str, str]:
    """Publishes good, duplicate, conflicting and bad readings; file name -> submission id."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a-three.json").write_text(json.dumps([reading(0), reading(1), reading(2)]))
    (folder / "b-again.json").write_text(json.dumps(reading(1)))
    (folder / "c-other.json").write_text(json.dumps(reading(2, "5.5")))
    (folder / "d-noise.bin").write_bytes(b"\xff\x00noise")
    ran = ask("publish", "demo", folder, "--json", "--key", "same")
    assert ran.code == 0, ran.err
    return {Path(row["file"]).name: row["position"] for row in ran.rows}


def test_publish_keeps_the_bytes_and_names_position_digest_and_source(ask: Ask, bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "one.csv").write_bytes(b"\x00bytes as they are\r\n")
    (tmp_path / "in" / "empty").write_bytes(b"")
    ran = ask("publish", "demo", tmp_path / "in", "--header", "content-type=text/csv", "--json")
    assert ran.code == 0, ran.err
    stored = {f"{bench.pipeline.raw_topic}/{m.partition}/{m.offset}": m for m in bench.messages("raw")}
    assert {row["position"] for row in ran.rows} == stored.keys()
    one = next(row for row in ran.rows if row["file"].endswith("one.csv"))
    message = stored[one["position"]]
    assert message.value == b"\x00bytes as they are\r\n"
    assert one["digest"] == sha256(message.value).hexdigest()
    assert message.key == b"deep/one.csv"
    assert dict(message.headers) == {
        "waybill-source": b"deep/one.csv", "waybill-digest": one["digest"].encode(), "content-type": b"text/csv",
    }  # fmt: skip
    empty = next(row for row in ran.rows if row["file"].endswith("empty"))
    assert stored[empty["position"]].value == b"", "empty is not a tombstone"


def test_publish_refuses_what_is_too_large_before_anything_is_sent(ask: Ask, bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"small")
    (tmp_path / "in" / "b").write_bytes(b"x" * 4097)
    ran = ask("publish", "demo", tmp_path / "in")
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1
    assert "4097 bytes" in ran.err
    assert "4096" in ran.err
    assert bench.messages("raw") == []
    assert ask("publish", "demo", "-", stdin=b"x" * 4097).code == 2
    (tmp_path / "in" / "b").write_bytes(b"x" * 4096)
    assert ask("publish", "demo", tmp_path / "in").code == 0, "the limit itself is allowed"


def test_publish_with_lines_makes_a_submission_of_each(ask: Ask, bench: Bench) -> None:
    ran = ask("publish", "demo", "-", "--lines", "--json", stdin=b"one\r\n\n  \ntwo\nthree")
    assert [row["line"] for row in ran.rows] == [1, 4, 5]
    assert sorted(m.value or b"" for m in bench.messages("raw")) == [b"one", b"three", b"two"]


def test_a_cluster_without_the_topics_is_said_in_one_line(cli: Cli, kafka: str) -> None:
    for arguments in (["publish", "cold-chain", "pyproject.toml"], ["tail", "cold-chain", "sent"],
                      ["reconcile", "cold-chain"], ["audit", "verify", "cold-chain"]):  # fmt: skip
        ran = cli(*arguments, "--brokers", kafka)
        assert ran.code == 2, arguments
        assert "has no topic" in ran.err
        assert len(ran.err.splitlines()) == 1


def test_records_are_followed_from_raw_to_their_answers(ask: Ask, bench: Bench, tmp_path: Path) -> None:
    ids = fill(ask, tmp_path)
    record = f"{ids['a-three.json']}/1"

    def last(ran: Ran) -> str:
        return ran.out.splitlines()[-1]

    assert ask("trace", f"{bench.pipeline.raw_topic}/1/999/0").code == 1

    # nothing has been read yet: four submissions in flight
    ran = ask("reconcile", "demo")
    assert (ran.code, last(ran)) == (
        3,
        "conservation: received=4 acknowledged=0 dead=0 duplicate=0 in-flight=4",
    )
    ran = ask("trace", record)
    assert (ran.code, "INGESTED" in ran.out) == (3, True)

    bench.validate()
    ran = ask("reconcile", "demo")
    assert (ran.code, last(ran)) == (
        3,
        "conservation: received=6 acknowledged=0 dead=1 duplicate=0 in-flight=5",
    )
    assert f"in flight  {record}  validated, not batched yet" in ran.out
    assert "  VALIDATED  " in ask("trace", record).out

    bench.batch(ending=False)
    ran = ask("reconcile", "demo")
    assert last(ran) == "conservation: received=6 acknowledged=0 dead=2 duplicate=1 in-flight=3"
    assert f"in flight  {record}  in an open window" in ran.out

    bench.batch()
    state = ask("trace", record, "--json").rows[-1]
    assert (state["state"], state["transmission"], state["in_flight"]) == ("BATCHED", "Pending", True)

    bench.dispatch(outcome=None)
    ran = ask("trace", record, "--json")
    state = ran.rows[-1]
    assert (ran.code, state["state"], state["transmission"]) == (3, "SENT", "InFlight")
    assert ask("reconcile", "demo").code == 3

    bench.dispatch(Outcome(OutcomeKind.UNKNOWN, "503 busy"))  # another worker: the attempt before ended unheard
    ran = ask("trace", record, "--json", "--no-audit")
    told = [(row["step"], row["attempt"], row.get("answer")) for row in ran.rows if "attempt" in row]
    assert told[:4] == [
        ("SENT", 1, None), ("RETRYING", 1, NO_ANSWER), ("SENT", 2, None), ("RETRYING", 2, "503 busy"),
    ]  # fmt: skip
    assert "AUDIT" not in {row["step"] for row in ran.rows}


def finished(ask: Ask, bench: Bench, tmp_path: Path) -> dict[str, str]:
    """All four submissions answered."""
    ids = fill(ask, tmp_path)
    bench.validate()
    bench.batch()
    bench.dispatch()
    return ids


def test_a_finished_log_balances_and_every_life_can_be_told(ask: Ask, bench: Bench, tmp_path: Path) -> None:
    ids = finished(ask, bench, tmp_path)
    ran = ask("reconcile", "demo", "--wait", "30")
    assert (ran.code, ran.out) == (0, "conservation: received=6 acknowledged=3 dead=2 duplicate=1 in-flight=0\n")
    assert ask("reconcile", "demo", "--json").rows == [
        {"kind": "conservation", "pipeline": "demo", "received": 6, "acknowledged": 3, "dead": 2, "duplicate": 1,
         "in-flight": 0, "holds": True},
    ]  # fmt: skip

    record = f"{ids['a-three.json']}/1"
    ran = ask("trace", record, "--json")
    assert ran.code == 0
    steps = [row["step"] for row in ran.rows]
    assert steps[:5] == ["INGESTED", "VALIDATED", "BATCHED", "SENT", "ACKNOWLEDGED"]
    actions = [row["action"] for row in ran.rows if row["step"] == "AUDIT"]
    assert actions == ["VALIDATE", "ADMIT", "ATTEMPT", "BATCH", "DELIVER"], "in the order of the life"
    assert ask("trace", "demo", record, "--json").out == ran.out
    assert ask("trace", record, "--pipeline", "demo", "--json").out == ran.out
    assert ask("trace", "other", record, "--pipeline", "demo").code == 2
    state = ran.rows[-1]
    assert (state["state"], state["transmission"], state["in_flight"]) == ("ACKNOWLEDGED", "Delivered", False)
    assert state["duplicates"] == [f"{ids['b-again.json']}/0"]
    acked = next(row for row in ran.rows if row["step"] == "ACKNOWLEDGED")
    assert (acked["answer"], acked["batch_id"]) == ("201 created", state["batch_id"])
    digests = {row["digest"] for row in ran.rows if row["step"] in ("VALIDATED", "ACKNOWLEDGED")}
    assert len(digests) == 1
    sent = next(row for row in ran.rows if row["step"] == "SENT")
    assert (sent["life"], sent["attempt"], len(sent["body_digest"])) == (1, 1, 64)

    # the same record by every name it has
    validated = next(row for row in ran.rows if row["step"] == "VALIDATED")
    checked = ask("check", "demo", tmp_path / "data" / "a-three.json", "--json").rows[1]
    for name in (validated["key"].replace("\x1f", "|"), acked["position"], checked["id"], ids["a-three.json"],
                 state["batch_id"]):  # fmt: skip
        found = ask("trace", name, "--json")
        assert found.code == 0, name
        assert record in {row["record"] for row in found.rows}, name

    lives = {"b-again.json": ("ACKNOWLEDGED", "duplicate"), "c-other.json": ("FAILED", "dead-lettered by batch"),
             "d-noise.bin": ("FAILED", "dead-lettered by validate")}  # fmt: skip
    for file, expected in lives.items():
        state = ask("trace", ids[file], "--json").rows[-1]
        assert (state["state"], state["outcome"]) == expected


def test_dead_letters_are_listed_counted_and_shown_with_their_bytes(ask: Ask, bench: Bench, tmp_path: Path) -> None:
    ids = finished(ask, bench, tmp_path)
    rows = ask("dlq", "ls", "demo", "--json").rows
    assert [(row["id"], row["stage"], *row["codes"]) for row in rows] == [
        (f"{ids['c-other.json']}/0", "batch", "CONFLICTING_VERSION"),
        (f"{ids['d-noise.bin']}/0", "validate", "UNKNOWN_CONTENT"),
    ], "by position, although the second died first"
    assert rows[0]["at"] > rows[1]["at"]
    assert [row["id"] for row in ask("dlq", "ls", "demo", "--limit", 1, "--json").rows] == [rows[0]["id"]], "the newest"
    (only,) = ask("dlq", "ls", "--class", "COMPLIANCE_BLOCK", "--json").rows
    assert only["id"] == f"{ids['c-other.json']}/0"
    assert ask("dlq", "ls", "--class", "NONSENSE").code == 2
    assert sum(row["letters"] for row in ask("dlq", "stats", "demo", "--json").rows) >= 2
    (noise,) = ask("dlq", "show", f"{ids['d-noise.bin']}/0", "--json").rows
    assert bytes.fromhex(noise["original_hex"]) == b"\xff\x00noise"
    (conflict,) = ask("dlq", "show", only["position"], "--json").rows
    assert conflict["conflicts_with"] == f"{ids['a-three.json']}/2"
    assert json.loads(conflict["original"])
    assert ask("dlq", "show", only["id"], "--original").out == conflict["original"], "the bytes alone"
    assert ask("dlq", "show", only["id"], "--original", "--json").code == 2
    written = ask("dlq", "show", only["id"], "--document")
    assert (written.code, "temperature_c" in json.loads(written.out)) == (0, True)
    assert written.err.endswith("Uncorrected it is the same record again\n")
    assert ask("dlq", "show", only["id"], "--document", "--original").code == 2
    shown = ask("dlq", "show", only["id"]).out
    assert "CONFLICTING_VERSION" in shown
    assert ask("dlq", "show", "demo", only["id"]).out == shown
    assert ask("dlq", "show", only["id"], "--pipeline", "demo").out == shown
    assert ask("dlq", "show", "demo", only["id"], "more").code == 2
    assert ask("dlq", "show", ids["a-three.json"] + "/0").code == 1


def test_the_demo_counts_the_answers_there_are(ask: Ask, bench: Bench, tmp_path: Path) -> None:
    with Answers(bench.bootstrap, [bench.pipeline]) as answers:
        assert answers.count() == 0
        fill(ask, tmp_path)
        bench.validate()
        assert answers.count() == 1, "a dead letter is an answer"
        bench.batch()
        bench.dispatch()
        assert [answers.count(), answers.count()] == [6, 6], "acks, dead letters and duplicates, each once"


def test_tables_follow_from_the_log_and_a_forged_row_is_named(ask: Ask, bench: Bench, tmp_path: Path) -> None:
    finished(ask, bench, tmp_path)
    rows = {row["table"]: row["rows"] for row in ask("table", "ls", "demo", "--json").rows}
    assert (rows["idempotency"], rows["delivery"]) == (3, 1)
    for table in ("idempotency", "windows", "delivery"):
        ran = ask("table", "rebuild", "demo", table, "--compare", "--json")
        assert (ran.code, ran.rows[-1]["result"]) == (0, "equal"), (table, ran.out)
    row = ask("table", "show", "demo", "delivery", "--json").rows[0]
    assert (row["value"]["state"], row["value"]["count"]) == ("sent", 3)

    for table in ("idempotency", "delivery"):
        message = next(m for m in bench.messages(table) if m.value is not None)
        name, fields = bench.codec.decode(message.value or b"")
        forged = bench.codec.encode(name, {**fields, "group": "forged"})
        bench.write(Output(table, message.partition, message.key, forged))
        ran = ask("table", "rebuild", "demo", table, "--compare")
        assert ran.code == 1
        assert "group is 'forged', the log says 'refrigerator'" in ran.out
    bench.write(Output("delivery", message.partition, message.key, None))
    assert ask("table", "rebuild", "demo", "delivery", "--compare").code == 0, "a settled row may be tidied away"
    window = bench.codec.encode("window", {"partition": 0, "group": "g", "date": "2026-03-02", "sealed_through": 7})
    bench.write(Output("windows", 0, b"forged", window))
    ran = ask("table", "rebuild", "demo", "windows", "--compare")
    assert (ran.code, "the log says none" in ran.out) == (1, True)


def test_reconcile_names_a_second_answer_and_a_lost_one(ask: Ask, bench: Bench, tmp_path: Path) -> None:
    ids = finished(ask, bench, tmp_path)
    ack = next(m for m in bench.messages("sent") if bench.codec.decode(m.value or b"")[1]["outcome"] == "delivered")
    bench.write(Output("sent", ack.partition, ack.key, ack.value))
    ran = ask("reconcile", "demo")
    assert ran.code == 1
    assert f"BROKEN  {ids['a-three.json']}/" in ran.out
    assert "two answers" in ran.out


def test_reconcile_counts_a_window_and_says_what_it_counted(ask: Ask, bench: Bench, tmp_path: Path) -> None:
    ids = fill(ask, tmp_path)
    taken_in = {f"{bench.pipeline.raw_topic}/{m.partition}/{m.offset}": m.timestamp for m in bench.messages("raw")}
    before, after = min(taken_in.values()), max(taken_in.values()) + 1

    def times(*moments: int) -> str:
        return "/".join(utc(ms) or "" for ms in moments)

    empty = times(before - 3_600_000, before)
    ran = ask("reconcile", "demo", "--window", empty)
    assert (ran.code, ran.out.splitlines()) == (0, [
        f"window: from={utc(before - 3_600_000)} to={utc(before)} outside=4",
        "conservation: received=0 acknowledged=0 dead=0 duplicate=0 in-flight=0",
    ])  # fmt: skip
    assert ask("reconcile", "demo", "--window", "1h").code == 3
    assert ask("reconcile", "demo", "--window", empty, "--wait", "60").code == 0, "the rest is not waited for"

    def work() -> None:
        bench.validate()
        bench.batch()
        bench.dispatch()

    worker = threading.Timer(1.0, work)  # while the command waits
    worker.start()
    ran = ask("reconcile", "demo", "--window", times(before, after), "--wait", "60", "--json")
    worker.join()
    assert (ran.code, ran.rows) == (0, [
        {"kind": "conservation", "pipeline": "demo", "received": 6, "acknowledged": 3, "dead": 2, "duplicate": 1,
         "in-flight": 0, "holds": True, "window": {"from": utc(before), "to": utc(after)}, "outside": 0},
    ])  # fmt: skip
    since = ask("reconcile", "demo", "--window", "1h")
    assert since.out.splitlines()[0].endswith(" to=- outside=0")
    assert since.out.splitlines()[-1] == ask("reconcile", "demo").out.strip()

    ack = next(m for m in bench.messages("sent") if bench.codec.decode(m.value or b"")[1]["outcome"] == "delivered")
    bench.write(Output("sent", ack.partition, ack.key, ack.value))
    at = taken_in[ids["a-three.json"]]
    ran = ask("reconcile", "demo", "--window", times(at, at + 1))
    assert ran.code == 1, "a later second answer is this window's fault"
    assert f"BROKEN  {ids['a-three.json']}/" in ran.out
    assert ask("reconcile", "demo", "--window", empty).code == 0


def test_reconcile_names_a_message_that_cannot_be_read(ask: Ask, bench: Bench) -> None:
    bench.write(Output("sent", 1, b"k", b"no message of ours"))
    ran = ask("reconcile", "demo")
    assert ran.code == 1
    assert f"BROKEN  {bench.pipeline.topic('sent')}/1/0  cannot be read" in ran.out


def test_reconcile_names_a_record_whose_answer_never_came(ask: Ask, bench: Bench, tmp_path: Path) -> None:
    ids = fill(ask, tmp_path)
    bench.validate()
    bench.batch()
    written = bench.write
    bench.write = lambda output: None if output.topic == "sent" else written(output)  # type: ignore[method-assign]
    bench.dispatch()
    ran = ask("reconcile", "demo", "--wait", "5")
    assert ran.code == 1
    assert ran.out.count("BROKEN") == 3
    assert f"BROKEN  {ids['a-three.json']}/0" in ran.out
    assert ran.out.splitlines()[-1] == "conservation: received=6 acknowledged=0 dead=2 duplicate=1 in-flight=0"


def test_a_batch_that_died_is_told_by_trace_and_the_books(ask: Ask, bench: Bench, tmp_path: Path) -> None:
    ids = fill(ask, tmp_path)
    bench.validate()
    bench.batch()
    bench.dispatch(Outcome(OutcomeKind.REFUSED, "422 no"))
    assert ask("reconcile", "demo").out.splitlines()[-1].startswith("conservation: received=6 acknowledged=0 dead=5")
    state = ask("trace", f"{ids['a-three.json']}/0", "--json").rows[-1]
    assert (state["state"], state["transmission"]) == ("FAILED", "DeadLetter")
    result = ask("trace", state["batch_id"], "--json").rows[-1]
    assert [result[name] for name in ("records", "committed", "quarantined", "in_flight")] == [3, 0, 3, 0]
    assert ask("table", "rebuild", "demo", "delivery", "--compare").code == 0
    listed = ask("dlq", "ls", "demo", "--review", "--json").rows  # what the store did not take, and no other (RTY-11)
    assert [row["id"] for row in listed] == [f"{ids['a-three.json']}/{index}" for index in range(3)]
    (first, *_) = ask("tail", "demo", "review", "--until-end", "--json").rows
    letter = first["value"]["dead_letter"]
    assert (letter["stage"], letter["partner"], first["value"]["why"]) == (
        "dispatch", "lake", "PARTNER_REFUSED: lake: 422 no",
    )  # fmt: skip
    told = ask("trace", first["position"], "--json").rows[-1]
    assert (told["record"], told["state"]) == (f"{ids['a-three.json']}/{letter['raw_index']}", "FAILED")
    assert "PARTNER_REFUSED: lake: 422 no" in ask("tail", "demo", "review", "--until-end").out


def test_a_split_batch_is_followed_into_its_halves_by_every_command(ask: Ask, bench: Bench, tmp_path: Path) -> None:
    ids = fill(ask, tmp_path)
    bench.validate()
    bench.batch()
    bench.dispatch(Outcome(OutcomeKind.TOO_LARGE, "413 no"))
    rows = [bench.codec.decode(message.value or b"")[1] for message in bench.messages("delivery")]
    left, right = ({row["first"]: row["batch_id"] for row in rows if row["parent"]}[first].hex() for first in (0, 1))
    flying = [line for line in ask("reconcile", "demo").out.splitlines() if line.startswith("in flight")]
    assert [half in line for half, line in zip((left, right, right), flying, strict=True)] == [True] * 3
    assert ask("table", "rebuild", "demo", "delivery", "--compare").code == 0

    bench.dispatch()
    bench.dispatch()
    ran = ask("reconcile", "demo")
    assert (ran.code, ran.out) == (0, "conservation: received=6 acknowledged=3 dead=2 duplicate=1 in-flight=0\n")
    ran = ask("table", "rebuild", "demo", "delivery", "--compare", "--json")
    assert (ran.code, ran.rows[-1]["rows"]) == (0, 3), ran.out
    ran = ask("trace", f"{ids['a-three.json']}/2", "--json")
    (split,) = [row for row in ran.rows if row["step"] == "SPLIT"]
    assert (split["answer"], split["part"], split["records"]) == ("413 no", right, 2)
    (acked,) = [row for row in ran.rows if row["step"] == "ACKNOWLEDGED"]
    state = ran.rows[-1]
    assert (state["transmission"], state["delivery"]["batch_id"]) == ("Delivered", right)
    assert (acked["batch_id"], split["batch_id"]) == (right, state["batch_id"])
    *told, result = ask("trace", right, "--json").rows
    assert {row["record"][-2:] for row in told} == {"/1", "/2"}
    assert (result["step"], result["batch_id"], result["records"], result["committed"]) == ("RESULT", right, 2, 2)
    result = ask("trace", state["batch_id"], "--json").rows[-1]
    assert [result[name] for name in ("records", "committed", "quarantined", "in_flight")] == [3, 3, 0, 0]
    acks = [(message, bench.codec.decode(message.value or b"")[1]) for message in bench.messages("sent")]
    assert result["processed_at"] == utc(max(one.timestamp for one, ack in acks if ack["outcome"] == "delivered"))
    assert result["hash"] == next(row for row in rows if row["state"] == "split")["body_digest"].hex()

    message = next(m for m in bench.messages("delivery") if (m.key or b"").hex() == right)
    _, fields = bench.codec.decode(message.value or b"")
    bench.write(
        Output("delivery", message.partition, message.key, bench.codec.encode("delivery", fields | {"first": 0}))
    )
    ran = ask("table", "rebuild", "demo", "delivery", "--compare")
    assert (ran.code, "is no half of" in ran.out) == (1, True)


def test_audit_verify_passes_a_true_chain_and_names_a_broken_one(ask: Ask, bench: Bench, tmp_path: Path) -> None:
    assert ask("audit", "verify", "demo").code == 3, "nothing checked is not fine"
    finished(ask, bench, tmp_path)
    ran = ask("audit", "verify", "demo")
    assert (ran.code, ran.out.startswith("PASS")) == (0, True)
    block = bench.messages("audit")[0]
    flipped = bytearray(block.value or b"")
    flipped[-40] ^= 1
    bench.write(Output("audit", block.partition, block.key, bytes(flipped)))
    ran = ask("audit", "verify", "demo", "--json")
    assert ran.code == 1
    assert ran.rows[-1]["findings"] == len(ran.rows) - 1 > 0


def test_audit_verify_finds_a_tail_that_was_never_written(ask: Ask, bench: Bench, tmp_path: Path) -> None:
    fill(ask, tmp_path)
    bench.validate()
    written = bench.write
    bench.write = lambda output: None if output.topic == "audit" else written(output)  # type: ignore[method-assign]
    bench.batch()
    ran = ask("audit", "verify", "demo")
    assert ran.code == 1
    assert "cut tail" in ran.out
    assert "demo/batch" in ran.out


def test_tail_decodes_every_topic_and_stops_where_it_is_told(ask: Ask, bench: Bench, tmp_path: Path) -> None:
    finished(ask, bench, tmp_path)
    for topic, kind in (("validated", "validated"), ("batched", "batched"), ("sent", "sent"), ("audit", "audit_block"),
                        ("dead-letter", "dead_letter"), ("raw", "raw"), ("delivery", "delivery")):  # fmt: skip
        ran = ask("tail", "demo", topic, "--until-end", "--json")
        assert ran.code == 0
        assert {row["kind"] for row in ran.rows} == {kind}
        assert len(ran.rows) == len(bench.messages(topic))
        assert len(ask("tail", "demo", topic, "--until-end").out.splitlines()) == len(ran.rows)
    (batch,) = ask("tail", "demo", "batched", "--until-end", "--json").rows
    assert [record["raw_index"] for record in batch["value"]["records"]] == [0, 1, 2]
    assert ask("tail", "demo", "raw", "--until-end", "--from", "end").out == ""
    assert len(ask("tail", "demo", "raw", "--from", "1h", "--limit", "2").out.splitlines()) == 2
    assert ask("tail", "demo", "raw", "--until-end", "--from", "2200-01-01T00:00:00Z").out == ""
    later = ask("tail", "demo", "raw", "--until-end", "--from", "@1", "--json").rows
    assert all(int(row["position"].rpartition("/")[2]) >= 1 for row in later)
    assert ask("tail", "demo", "nonsense").code == 2
    assert ask("tail", "demo", "raw", "--from", "yesterday").code == 2


def test_status_shows_lag_and_partners(ask: Ask, bench: Bench, tmp_path: Path) -> None:
    fill(ask, tmp_path)
    (before,) = ask("status", "demo", "--json").rows
    assert {stage["stage"]: stage["lag"] for stage in before["stages"]} == {"validate": 4, "batch": 0, "dispatch": 0}
    bench.validate()
    bench.batch()
    bench.dispatch()
    (after,) = ask("status", "demo", "--json").rows
    assert [stage["lag"] for stage in after["stages"]] == [0, 0, 0]
    assert after["dead_letters"] == 2
    (partner,) = after["partners"]
    assert (partner["partner"], partner["batches"], partner["last_answer"]) == ("lake", {"Delivered": 1}, "201 created")
    assert "Delivered=1" in ask("status", "demo").out


def test_topology_check_and_doctor_compare_with_the_cluster(ask: Ask, bench: Bench) -> None:
    assert ask("topology", "check", "demo", "--cluster").code == 0
    doctor = ask("doctor", "demo")
    assert doctor.code == 0
    assert "topics as they should be" in doctor.out
    topic = bench.pipeline.topic("validated")
    entry = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": bench.bootstrap})
    admin.incremental_alter_configs([resource])[resource].result(30)
    ran = ask("topology", "check", "demo", "--cluster")
    assert ran.code == 1
    assert f"{topic}: retention.ms is 1000, must be -1" in ran.out
    assert ask("doctor", "demo").code == 1
    assert ask("topology", "check", "demo").code == 0, "without a cluster only the file is looked at"
