"""What a topic, a table and an SFTP folder say no to: our own configuration stops the partner, a row or message that is
not wanted refuses the batch, and nothing of a secret is shown."""

from __future__ import annotations

import random

import pytest

from streams.delivery.engine import build_sink
from streams.delivery.protocol import Envelope, Outcome
from streams.delivery.protocol import OutcomeKind as Kind
from tests.delivery.servers import PASSWORD, Postgres, Sftp
from tests.delivery.worlds import batches_on, envelope, kafka_topic, postgres, run, sftp, table_of_the_page
from tests.support import Names, make_topic
from topology.credentials import Secret
from topology.partner import Partner


def send(partner: Partner, *envelopes: Envelope) -> list[Outcome]:
    async def work() -> list[Outcome]:
        sink = build_sink("p", partner)
        outcomes = [await sink.send(one) for one in envelopes or [envelope()]]
        await sink.close()
        return outcomes

    return run(work())


def test_a_table_that_is_not_there_or_not_ours_stops_the_partner(table_server: Postgres) -> None:
    for partner in (
        postgres(table_server, table="nowhere"),
        postgres(table_server).model_copy(update={"password": Secret(env="PATH")}),
        postgres(table_server).model_copy(update={"password": Secret(env="NOT_SET_ANYWHERE")}),
        postgres(table_server).model_copy(update={"url": table_server.url().replace("/postgres", "/nowhere")}),
    ):
        (outcome,) = send(partner)
        assert outcome.kind is Kind.STOPPED, outcome
        assert PASSWORD not in outcome.answer


def test_a_constraint_of_theirs_refuses_the_batch_and_the_next_one_goes(table_server: Postgres, names: Names) -> None:
    name = names.prefix
    table_server.query(table_of_the_page().replace("waybill_batches", name))
    table_server.query(f"ALTER TABLE {name} ADD CHECK (length(body) < 10);")
    outcomes = send(postgres(table_server, table=name), envelope(b"x" * 10), envelope(b"x", batch=2))
    assert [outcome.kind for outcome in outcomes] == [Kind.REFUSED, Kind.DELIVERED]


def test_a_server_that_may_forget_what_it_committed_is_told_not_to(table_server: Postgres, names: Names) -> None:
    name = names.prefix
    table_server.query(table_of_the_page().replace("waybill_batches", name))
    table_server.query(
        f"ALTER ROLE waybill SET synchronous_commit = off; ALTER TABLE {name} ADD COLUMN how text "
        "DEFAULT current_setting('synchronous_commit');"
    )
    assert send(postgres(table_server, table=name))[0].kind is Kind.DELIVERED
    assert [row["how"] for row in table_server.query(f"SELECT how FROM {name}")] == ["on"]
    table_server.query("ALTER ROLE waybill RESET synchronous_commit;")


def test_a_server_that_nobody_vouches_for_and_a_key_that_is_not_known_stop_the_partner(drop_server: Sftp) -> None:
    (drop_server.root.parent / "nobody").write_text("")
    other = drop_server.root.parent / "other"
    other.write_bytes(drop_server.known_hosts.read_bytes())
    for changed in (
        {"known_hosts": str(drop_server.root.parent / "nobody")},
        {"known_hosts": str(drop_server.root.parent / "missing")},
        {"private_key": str(other)},
        {"private_key": None, "password": Secret(env="NOT_SET_ANYWHERE")},
    ):
        (outcome,) = send(sftp(drop_server).model_copy(update=changed))
        assert outcome.kind is Kind.STOPPED, (changed, outcome)


def test_what_a_broken_attempt_left_is_taken_away_by_the_next(drop_server: Sftp) -> None:
    one = envelope()
    place = drop_server.root / "swept" / one.path
    place.parent.mkdir(parents=True)
    (place.parent / f".{place.name}.1-1.part").write_bytes(b"half")
    assert send(sftp(drop_server, "swept"), one._replace(attempt=2))[0].kind is Kind.DELIVERED
    assert [path.name for path in place.parent.iterdir()] == [place.name]


@pytest.mark.kafka
def test_a_topic_that_is_not_there_stops_the_partner(kafka: str, names: Names) -> None:
    (outcome,) = send(kafka_topic(kafka, names("nowhere")))
    assert outcome.kind is Kind.STOPPED, outcome


@pytest.mark.kafka
def test_a_batch_that_the_topic_finds_too_large_is_called_so_and_the_next_one_goes(kafka: str, names: Names) -> None:
    make_topic(kafka, names("small"), 1, {"max.message.bytes": "1000"})
    body = random.Random(1).randbytes(5000)  # which nothing compresses
    outcomes = send(kafka_topic(kafka, names("small")), envelope(body), envelope(b"x", batch=2))
    assert [outcome.kind for outcome in outcomes] == [Kind.TOO_LARGE, Kind.DELIVERED]


@pytest.mark.kafka
def test_two_pipelines_with_one_transactional_id_hinder_each_other_and_lose_nothing(kafka: str, names: Names) -> None:
    make_topic(kafka, names("shared"))

    async def work() -> list[Outcome]:
        sinks = [build_sink("p", kafka_topic(kafka, names("shared"))) for _ in range(2)]
        outcomes = [await sinks[number % 2].send(envelope(b"%d" % number, batch=number)) for number in range(4)]
        for sink in sinks:
            await sink.close()
        return outcomes

    assert {outcome.kind for outcome in run(work())} == {Kind.DELIVERED}
    assert sorted(body for _, body in batches_on(kafka, names("shared"))) == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("name", ["enable.idempotence", "transactional.id", "bootstrap.servers"])
def test_what_create_only_rests_on_cannot_be_set(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be set"):
        build_sink("p", kafka_topic("127.0.0.1:1", "t", options={name: "x"}))
