"""`waybill master`: the list is kept with who wrote what when, and a worker's reader sees what a command wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.runtime.master import MasterReader
from streams.validate.authorised import TradingPartners
from tests.commands.bench_kafka import Bench
from tests.commands.conftest import Ask, Cli
from waybill.commands.master import _changed, _lines
from waybill.output import Fault

MAKER, BUYER = "0300011111116", "0399999999991"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"gln": "0300011111117"}, "is no GLN"),
        ({"gln": "MAKER"}, "is no GLN"),
        ({"gln": MAKER, "from": "01/02/2026"}, "is no day"),
        ({"gln": MAKER, "from": "2026-02-01", "until": "2026-01-01"}, "ends, 2026-01-01, before it begins"),
    ],
)
def test_a_row_that_cannot_be_is_not_written(said: dict[str, str | None], why: str) -> None:
    with pytest.raises(Fault, match=why):
        _changed(TradingPartners(), said)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("gln,colour\n1,red\n", "no column 'colour'"),
        ("name\nann\n", "no column gln"),
        (f"gln\n{MAKER},Ann\n", "2: more values than"),
        (f"gln\n{MAKER}\n{MAKER}\n", "stands in the file twice"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "partners.csv"
    file.write_text(text)
    with pytest.raises(Fault, match=why):
        _lines(file)


def test_a_reason_is_asked_for(cli: Cli) -> None:
    assert cli("master", "set", MAKER).code == 2


@pytest.mark.kafka
def test_rows_are_written_once_kept_with_their_reasons_and_read_by_a_worker(
    ask: Ask, bench: Bench, tmp_path: Path
) -> None:
    reader = MasterReader(bench.bootstrap)
    try:
        before = {gln: len(rows) for gln, rows in reader.current().history().items()}  # the topic is everybody's
        ran = ask("master", "set", MAKER, "--name", "Maker", "--licence", "L-1", "--until", "2026-12-31",
                  "--reason", "audited", "--by", "ann", "--json")  # fmt: skip
        assert (ran.code, ran.rows[0]["version"]) == (0, before.get(MAKER, 0) + 1)
        assert ask("master", "set", MAKER, "--reason", "again", "--json").rows == [], "nothing is new"
        file = tmp_path / "partners.csv"
        file.write_text(f"gln,name,licence,from,until\n{MAKER},,,2020-01-01,\n{BUYER},Buyer,L-2,ever,ever\n")
        assert ask("master", "load", file, "--reason", "yearly list", "--by", "bob").code == 0
        assert ask("master", "rm", BUYER, "--reason", "licence revoked", "--by", "ann").code == 0
        assert ask("master", "rm", "0614141000005", "--reason", "x").code == 2
        rows = {row["gln"]: row for row in ask("master", "ls", "--json").rows}
        assert (rows[MAKER]["name"], rows[MAKER]["from"], rows[MAKER]["until"]) == ("Maker", "2020-01-01", "2026-12-31")
        assert (rows[BUYER]["authorised"], rows[BUYER]["by"]) == (False, "ann")
        assert "licence revoked" in ask("master", "ls").out
        told = [row["reason"] for row in ask("master", "ls", MAKER, "--json").rows]
        assert told[-2:] == ["audited", "yearly list"]
        newest = reader.current().newest(BUYER)
        assert newest is not None
        assert (newest.authorised, newest.reason) == (False, "licence revoked")
    finally:
        reader.close()
