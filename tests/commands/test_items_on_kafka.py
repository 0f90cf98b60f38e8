"""A pipeline with state rules on the real broker: its facts travel as headers, its table outlives a worker, and the
commands tell of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.commands.bench_kafka import Bench
from tests.commands.conftest import Cli, cli
from tests.packs.epcis_inputs import document
from tests.packs.test_epcis_state import CASE, A, B, gone, made, packed, seen
from tests.support import Names

__all__ = ["cli"]

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

PIPELINE = """\
pipeline: demo
application: {prefix}
raw: {{topic: {prefix}.raw}}
pack: epcis
partitions: 2
partition_by: [issuer]
idempotency: [event_hash, declaration, sender, issuer]
items: {{domain: issuer, wait: 3600}}
partner: lake
ordering: none
"""


def test_items_are_remembered_over_workers_and_the_books_balance(
    kafka: str, names: Names, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(kafka, names.prefix, tmp_path / "topology", PIPELINE)
    monkeypatch.setenv("WAYBILL_BROKERS", kafka)
    monkeypatch.setenv("WAYBILL_TOPOLOGY", str(bench.folder))

    def publish(*events: dict[str, Any]) -> None:
        for event in events:
            assert cli("publish", "demo", "-", "--key", "one", stdin=document(event)).code == 0
        bench.validate()
        bench.batch()  # each time a new worker

    publish(seen(A))
    ran = cli("trace", "demo", A)
    assert (ran.code, "waiting for the commissioning of sgtin:00300010123455:1, until " in ran.out) == (3, True), (
        ran.out
    )
    books = cli("reconcile", "demo")
    assert (books.code, "waits for what must come before it" in books.out) == (3, True), books.out
    publish(made(A, B, CASE), packed(CASE, A))
    bench.batch()  # reads again what has waited
    assert "RETURNED" in cli("trace", "demo", A).out
    bench.dispatch()
    publish(made(A), gone(CASE), seen(A), seen(B))
    bench.dispatch()
    letters = cli("dlq", "ls", "demo", "--json").rows
    assert sorted((row["stage"], *row["codes"]) for row in letters) == [
        ("batch", "ITEM_COMMISSIONED_TWICE"), ("batch", "ITEM_DECOMMISSIONED"),
    ]  # fmt: skip
    books = cli("reconcile", "demo")
    assert (books.code, books.out.splitlines()[-1]) == (
        0, "conservation: received=7 acknowledged=5 dead=2 duplicate=0 in-flight=0",
    )  # fmt: skip
    ran = cli("table", "rebuild", "demo", "idempotency", "--compare", "--json")
    assert (ran.code, ran.rows[-1]["result"]) == (0, "equal"), ran.out
    (row,) = cli("table", "show", "demo", "items", "--key", "item\x1fsgtin:00300010123455:1", "--json").rows
    assert '"state":"decommissioned"' in row["value"]["row"]
