"""`waybill check`: a line per record, refused ones included, over real files and hostile ones."""

from __future__ import annotations

import json
import re
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from tests.commands.conftest import Cli
from tests.commands.test_manners import READING
from tests.packs.epcis_inputs import COMMISSIONING, SHIPPING, changed, document
from topology.load import topology_folder
from waybill.inputs import find_inputs

FIELDS = {"file", "index", "outcome", "class", "codes", "id", "key", "event_time", "group", "digest"}


def test_a_valid_and_a_refused_record_each_have_their_line(cli: Cli, tmp_path: Path) -> None:
    bad = READING.replace(b'"FRIDGE-01"', b"7").replace(b'"C"', b'"X"')
    (tmp_path / "two.json").write_bytes(b"[" + READING + b"," + bad + b"]")
    ran = cli("check", "cold-chain", tmp_path / "two.json", "--json")
    assert ran.code == 0
    good, refused = ran.rows
    assert set(good) == set(refused) == FIELDS
    assert (good["outcome"], good["index"], good["class"], good["codes"]) == ("valid", 0, None, [])
    assert good["event_time"] == "2026-03-02T00:00:00.000Z"
    assert good["key"].startswith("FRIDGE-01\x1f")
    assert len(good["digest"]) == 64
    assert (refused["outcome"], refused["index"], refused["class"]) == ("refused", 1, "FATAL_SCHEMA_MISMATCH")
    assert {found["path"] for found in refused["codes"]} >= {"sensor_id", "unit"}, "every finding, not the first"
    submission = sha256((tmp_path / "two.json").read_bytes()).hexdigest()
    assert [row["id"] for row in ran.rows] == [f"{submission}/0", f"{submission}/1"]
    assert ran.err.strip() == "2 records in 1 file: 1 valid, 1 refused"


def test_fail_makes_a_refused_record_count_and_valid_ones_do_not(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_bytes(READING)
    assert cli("check", "cold-chain", tmp_path, "--fail").code == 0
    (tmp_path / "noise.bin").write_bytes(b"\x00\x01\x02")
    assert cli("check", "cold-chain", tmp_path).code == 0
    assert cli("check", "cold-chain", tmp_path, "--fail").code == 1


def test_the_summary_orders_codes_by_count_and_name_and_counts_what_was_let_pass(cli: Cli, tmp_path: Path) -> None:
    bad = b'{"sensor_id":"","timestamp_utc":"x","temperature":4e9,"unit":"X","zone_id":[]}'
    passed = READING.replace(b"00Z", b"00+01:00")
    (tmp_path / "a.json").write_bytes(b"[" + b",".join([passed, bad, bad, passed, READING]) + b"]")
    said = cli("check", "cold-chain", tmp_path / "a.json", "--profile", "lenient").err.splitlines()
    assert said[0] == "5 records in 1 file: 3 valid, 2 refused"
    codes = [line.split()[2].rstrip(",") for line in said[1:-1]]
    assert (len(codes) > 1, codes) == (True, sorted(codes))
    assert said[-1] == f"  2 warned of OFFSET_NORMALISED, first {tmp_path / 'a.json'} record 0"


def test_nothing_to_check_is_not_fine(cli: Cli, tmp_path: Path) -> None:
    assert cli("check", "cold-chain", tmp_path).code == 3


def test_a_file_in_the_place_of_the_pipeline_is_told(cli: Cli) -> None:
    ran = cli("check", "mine.csv")
    assert ran.code == 2
    assert "'mine.csv' was taken for the pipeline" in ran.err


def test_stdin_is_a_submission(cli: Cli) -> None:
    ran = cli("check", "cold-chain", "-", "--json", stdin=READING)
    assert [(row["file"], row["outcome"]) for row in ran.rows] == [("-", "valid")]


def test_the_profile_may_be_chosen(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "hot.json").write_bytes(READING.replace(b"4.5", b"451"))
    assert [row["outcome"] for row in cli("check", "cold-chain", tmp_path, "--json").rows] == ["refused"]
    structure = cli("check", "cold-chain", tmp_path, "--json", "--profile", "schema").rows
    assert [row["outcome"] for row in structure] == ["valid"]


def test_a_profile_that_the_options_do_not_fit_is_told(cli: Cli, tmp_path: Path) -> None:
    text = (topology_folder() / "epcis.yaml").read_text()
    (tmp_path / "us.yaml").write_text(text.replace("dscsa: false", "dscsa: true"))
    (tmp_path / "partners.yaml").write_text((topology_folder().parent / "partners.yaml").read_text())
    ran = cli("check", tmp_path / "us.yaml", "x", "--profile", "schema")
    assert ran.code == 2
    assert ran.err.startswith("waybill: --profile schema: dscsa is a business rule")


def test_every_profile_of_a_pack_may_be_chosen(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_bytes(document(COMMISSIONING))
    strict, stateful = (cli("check", "epcis", tmp_path, "--json", "--profile", one) for one in ("strict", "stateful"))
    assert strict.rows == stateful.rows
    assert [row["outcome"] for row in stateful.rows] == ["valid"]


def test_a_file_is_judged_as_its_partners_feed_is(cli: Cli, tmp_path: Path) -> None:
    """Unless a profile is named: that one is for all."""
    text = (topology_folder() / "epcis.yaml").read_text()
    named = "  profiles: [{match: 'acme/*', profile: lenient}]"
    (tmp_path / "mine.yaml").write_text(text.replace("options:", f"options:\n{named}"))
    (tmp_path / "partners.yaml").write_text((topology_folder().parent / "partners.yaml").read_text())
    file = tmp_path / "drop" / "acme" / "7.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(document(changed(SHIPPING, bizStep="shiping")))

    def said(*words: str | Path) -> tuple[str, str]:
        (row,) = cli("check", tmp_path / "mine.yaml", *words, "--json").rows
        return row["outcome"], row["codes"][0]["code"]

    lenient, strict = ("valid", "UNKNOWN_TERM_TOLERATED"), ("refused", "UNKNOWN_TERM")
    assert said(tmp_path / "drop") == lenient
    assert said(file) == strict, "a file that is named has its name alone"
    assert said(file, "--source", "acme/7.json") == lenient
    assert said(file, "--site", "acme/plant") == lenient
    assert said(tmp_path / "drop", "--source", "beta/7.json") == strict
    assert said(tmp_path / "drop", "--profile", "strict") == strict
    assert said(file, "--profile", "lenient") == lenient


def test_a_file_above_the_limit_is_refused_without_being_held(cli: Cli, tmp_path: Path, small: Path) -> None:
    (tmp_path / "big.json").write_bytes(b"[" + READING * 40 + b"]")
    (row,) = cli("check", small, tmp_path / "big.json", "--json").rows
    assert (row["outcome"], [found["code"] for found in row["codes"]]) == ("refused", ["TOO_LARGE"])
    assert row["digest"] == sha256((tmp_path / "big.json").read_bytes()).hexdigest()


def test_folders_are_read_whole_and_in_order(tmp_path: Path) -> None:
    for name in ("b/2", "b/.hidden", "z", "a", "b/c/1"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    found = find_inputs([str(tmp_path)])
    assert [item.source for item in found] == ["a", "b/.hidden", "b/2", "b/c/1", "z"]


def test_a_folder_behind_a_link_is_read_like_any_other(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "store" / "deep").mkdir(parents=True)
    (tmp_path / "store" / "deep" / "one.json").write_bytes(READING)
    inbox = tmp_path / "inbox"
    (inbox / "today").mkdir(parents=True)
    (inbox / "linked").symlink_to(tmp_path / "store")
    (inbox / "today" / "file.json").symlink_to(tmp_path / "store" / "deep" / "one.json")
    found = find_inputs([str(inbox)])
    assert [item.source for item in found] == ["linked/deep/one.json", "today/file.json"]
    (tmp_path / "way").symlink_to(inbox)
    assert [item.source for item in find_inputs([str(tmp_path / "way")])] == [item.source for item in found]
    assert len(cli("check", "cold-chain", inbox, "--json").rows) == 2


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (".", "links to a folder that it lies in"),
        ("../inbox/deep/..", "links to a folder that it lies in"),
        ("gone", "No such file"),
        ("loop", "symbolic links"),
    ],
)
def test_a_link_that_leads_in_a_circle_or_nowhere_is_named_and_nothing_is_read(
    cli: Cli, tmp_path: Path, target: str, said: str
) -> None:
    (tmp_path / "inbox" / "deep").mkdir(parents=True)
    (tmp_path / "inbox" / "one.json").write_bytes(READING)
    (tmp_path / "inbox" / "loop").symlink_to(target)
    for command in ("check", "publish"):
        ran = cli(command, "cold-chain", tmp_path / "inbox", *(["--brokers", "127.0.0.1:1"] * (command == "publish")))
        assert (ran.code, ran.out) == (2, "")
        (line,) = ran.err.splitlines()
        assert line.startswith(f"waybill: {tmp_path}/inbox/loop: ")
        assert said in line


@pytest.mark.cases
def test_the_real_cold_chain_files_give_a_line_per_record(cli: Cli, cases: Path) -> None:
    folder = cases / "cold_chain"
    ran = cli("check", "cold-chain", folder, "--json")
    assert ran.code == 0
    assert sum(row["outcome"] == "valid" for row in ran.rows) > 1000
    files = {str(path) for path in folder.rglob("*") if path.is_file()}
    assert {row["file"] for row in ran.rows} == files, "every file is answered for"
    for row in ran.rows:
        assert set(row) == FIELDS
        assert row["outcome"] == "valid" or row["codes"], "a refusal says why"
    indexes = Counter(row["file"] for row in ran.rows)
    assert [row["index"] for row in ran.rows] == [index for file in sorted(indexes) for index in range(indexes[file])]
    assert cli("check", "cold-chain", folder, "--fail").code == 1
    for row in ran.rows:
        if row["file"].endswith(".pdf"):
            assert row["outcome"] == "refused"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A pipeline that takes submissions of 1 KiB."""
    folder = tmp_path / "topology"
    folder.mkdir()
    (folder / "partners.yaml").write_text("lake: {kind: object-store, url: 'file:lake'}\n")
    path = folder / "small.yaml"
    path.write_text(
        "pipeline: small\npack: cold_chain\npartition_by: [sensor_id]\nidempotency: [sensor_id, event_time]\n"
        "partner: lake\nraw: {max_message_bytes: 1024}\n"
    )
    return path


def test_many_refusals_are_summed_up_by_code_with_where_each_came_first(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"sensor_id": "s"}\n[]\n')
    (tmp_path / "b.jsonl").write_bytes(b'{"sensor_id": "s"}\nnothing\n')
    ran = cli("check", "cold-chain", tmp_path, "--json")
    seen = Counter(code for row in ran.rows for code in {found["code"] for found in row["codes"]})
    summed = ran.err.splitlines()[1:]
    assert len(seen) > 1
    assert {line.split()[2].rstrip(","): int(line.split()[0]) for line in summed} == dict(seen)
    assert f", first {tmp_path}/a.jsonl record 0" in summed[0]


def test_a_warning_beside_a_refusal_is_shown_as_one_and_not_summed_up_as_a_reason(cli: Cli, tmp_path: Path) -> None:
    event = {
        "@context": ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],
        "type": "ObjectEvent", "action": "OBSERVE", "bizStep": "shiping", "eventTimeZoneOffset": "+00:00",
        "eventTime": "2026-01-05T08:00:00Z", "epcList": ["urn:epc:id:sgtin:030001.0012345.1001"],
        "eventID": f"ni:///sha-256;{'0' * 64}?ver=CBV2.0",
    }  # fmt: skip
    for name in ("a.jsonld", "b.jsonld"):
        (tmp_path / name).write_text(json.dumps(event))
    ran = cli("check", "epcis", tmp_path)
    for line in ran.out.splitlines():
        assert re.search(r"refused  UNKNOWN_TERM [^()]* \(EVENT_ID_DIFFERS .*\)$", line), line
    reason, warning = ran.err.splitlines()[1:]
    assert reason.startswith("  2 with UNKNOWN_TERM, first ")
    assert warning.startswith("  2 warned of EVENT_ID_DIFFERS, first ")
