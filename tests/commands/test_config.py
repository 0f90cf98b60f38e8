"""`waybill config`, `topology check`, `doctor`, `broker status`: what is in force here, with no cluster."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import fastavro.schema
import pytest

from schemas.codec import NAMES, schema_text
from tests.commands.conftest import Cli

FILE = """\
pipeline: demo
pack: cold_chain
partition_by: [sensor_id]
idempotency: [sensor_id, event_time]
batching: {base: telemetry-run, linger: 5}
partner: clinic
options: {stuck_readings: 7}
"""
PARTNERS = """\
clinic:
  kind: http
  url: http://127.0.0.1:1/x
  headers: {Authorization: "Bearer ${CLINIC_TOKEN}", X-Api-Key: hunter3, X-Site: "${CLINIC_SITE:-north}"}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLINIC_TOKEN", "hunter2")
    (tmp_path / "partners.yaml").write_text(PARTNERS)
    (tmp_path / "demo.yaml").write_text(FILE)
    return tmp_path


def test_every_setting_says_where_it_comes_from_and_no_secret_is_printed(cli: Cli, folder: Path) -> None:
    ran = cli("config", "demo", "--folder", folder, "--json")
    assert ran.code == 0
    found = {row["name"]: (row["value"], row["source"]) for row in ran.rows if row["kind"] == "setting"}
    assert found["pack"] == ("cold_chain", f"{folder}/demo.yaml:2")
    assert found["batching.linger"] == (5.0, f"{folder}/demo.yaml:5")
    assert found["batching.max_records"] == (2000, f"preset telemetry-run ({folder}/demo.yaml:5)")
    assert found["partitions"] == (4, "default")
    assert found["options.stuck_readings"] == (7, f"{folder}/demo.yaml:7")
    assert found["options.max_depth"][1] == "pack"
    assert found["batching.idle"] == (10.0, "default"), "twice linger"
    assert found["raw.topic"] == ("demo.raw", "default")
    assert found["retry.seed"] == (None, "default")
    place = f"{folder}/partners.yaml:4"
    assert found["partners.clinic.headers.Authorization"] == (
        "Bearer ${CLINIC_TOKEN}",
        f"{place}, variable CLINIC_TOKEN",
    )
    text = cli("config", str(folder / "demo.yaml"))
    assert text.code == 0
    assert "hunter" not in ran.out + text.out


def test_a_setting_that_is_written_is_shown_as_it_is_written(cli: Cli, folder: Path) -> None:
    (folder / "demo.yaml").write_text(
        FILE.replace("linger: 5", "linger: 5, idle: 7") + "raw: {topic: fridges}\ndeterministic: false\n"
    )
    (folder / "partners.yaml").write_text("clinic: {kind: kafka, brokers: 'k:9092', topic: batches}\n")
    rows = cli("config", "demo", "--folder", folder, "--json").rows
    found = {row["name"]: (row["value"], row["source"]) for row in rows if row["kind"] == "setting"}
    assert found["batching.idle"] == (7.0, f"{folder}/demo.yaml:5")
    assert found["raw.topic"] == ("fridges", f"{folder}/demo.yaml:8")
    assert found["partners.clinic.transactional_id"] == ("waybill.clinic.batches", "default")


def test_a_value_from_the_environment_is_shown_as_it_is_in_force(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def site() -> tuple[str, str]:
        rows = cli("config", "demo", "--folder", folder, "--json").rows
        return next((r["value"], r["source"]) for r in rows if r.get("name") == "partners.clinic.headers.X-Site")

    place = f"{folder}/partners.yaml:4, variable CLINIC_SITE"
    assert site() == ("north", f"{place}, which is not set")
    monkeypatch.setenv("CLINIC_SITE", "south")
    assert site() == ("south", place)


def test_a_file_may_have_another_name_than_its_pipeline(cli: Cli, folder: Path) -> None:
    (folder / "demo.yaml").rename(folder / "fridges.yaml")
    for name in ("demo", "fridges", None):
        ran = cli("config", *([name] if name else []), "--folder", folder)
        assert ran.out.startswith(f"# demo: {folder}/fridges.yaml; pack cold_chain"), ran.err
    assert cli("topology", "check", "--folder", folder).out == "demo (fridges.yaml): ok\n"


def test_the_batching_presets_are_printed(cli: Cli) -> None:
    presets = {row["name"]: row for row in cli("config", "--json").rows if row["kind"] == "preset"}
    assert (presets["telemetry-default"]["max_records"], presets["telemetry-default"]["linger"]) == (5000, 10.0)
    assert (presets["telemetry-run"]["max_records"], presets["telemetry-run"]["linger"]) == (2000, 15.0)
    assert "telemetry-default: max_records=5000" in cli("config").out


def test_the_digest_of_every_schema_is_that_of_its_canonical_form(cli: Cli) -> None:
    digests = {row["name"]: row["sha256"] for row in cli("config", "--json").rows if row["kind"] == "schema"}
    assert digests.keys() == {f"schemas/wire/{name}.avsc" for name in NAMES} | {"audit/block.avsc"}
    form = fastavro.schema.to_parsing_canonical_form(json.loads(schema_text("window")))
    assert digests["schemas/wire/window.avsc"] == hashlib.sha256(form.encode()).hexdigest()


def test_topology_check_places_every_mistake_and_finding_them_is_exit_1(cli: Cli, folder: Path) -> None:
    assert cli("topology", "check", "--folder", folder).code == 0
    (folder / "demo.yaml").write_text(
        FILE.replace("pack: cold_chain", "pack: cold_chian").replace("partner:", "partnr:")
    )
    ran = cli("topology", "check", "demo", "--folder", folder)
    assert ran.code == 1
    assert f"{folder}/demo.yaml:2: pack: no pack 'cold_chian'" in ran.out
    assert "partnr" in ran.out
    assert cli("check", "demo", "--folder", folder, folder).code == 2, "elsewhere a wrong file is unreadable input"


SOURCES = """\
ward: {kind: folder, pipeline: demo, path: /srv/drop}
lab: {kind: folder, pipeline: dmeo, path: /srv/lab}
site: {kind: folder, pipeline: demo, path: /srv/site, patern: "*.csv"}
"""


def test_topology_check_of_a_whole_folder_reads_its_sources_too(cli: Cli, folder: Path) -> None:
    (folder / "sources.yaml").write_text(SOURCES + "fast: {kind: folder, pipeline: demo, path: /srv/x, lane: high}\n")
    ran = cli("topology", "check", "--folder", folder)
    assert f"{folder}/sources.yaml:4: fast.lane: pipeline demo has no lane 'high'" in ran.out
    assert ran.code == 1
    assert f"{folder}/sources.yaml:2: lab.pipeline: no pipeline 'dmeo'; did you mean `demo`?" in ran.out
    assert f"{folder}/sources.yaml:3: site.patern: unknown key; did you mean `pattern`?" in ran.out
    (folder / "sources.yaml").write_text(SOURCES.replace("dmeo", "demo").replace("patern", "pattern"))
    ran = cli("topology", "check", "--folder", folder)
    assert (ran.code, ran.out) == (
        0,
        "demo: ok\n" + "".join(f"{name} (sources.yaml): ok\n" for name in ("ward", "lab", "site")),
    )
    (folder / "sources.yaml").write_text(SOURCES)
    assert cli("topology", "check", "demo", "--folder", folder).code == 0, "one pipeline was asked about"


def test_topology_check_of_a_whole_folder_reads_partners_that_no_pipeline_names(cli: Cli, folder: Path) -> None:
    partners = folder / "partners.yaml"
    partners.write_text(PARTNERS + "spare: {kind: htp, url: 'http://127.0.0.1:1/x'}\nBad Name: {kind: http}\n")
    ran = cli("topology", "check", "--folder", folder)
    assert ran.code == 1
    assert f"{partners}:5: spare: `kind: htp` is not known; did you mean `http`?" in ran.out
    assert f"{partners}:6: Bad Name: is no name" in ran.out
    assert cli("topology", "check", "demo", "--folder", folder).code == 0, "one pipeline was asked about"

    partners.write_text(PARTNERS.replace("127.0.0.1:1/x", "127.0.0.1:1/x\n  tiemout: 3"))
    assert cli("topology", "check", "--folder", folder).out.count("tiemout") == 1, "said once, named or not"

    partners.write_text(PARTNERS + "spare: {kind: http, url: 'http://127.0.0.1:1/x'}\n")
    ran = cli("topology", "check", "--folder", folder)
    assert (ran.code, ran.out) == (0, "demo: ok\nspare (partners.yaml): ok, and no pipeline names it\n")
    assert {"kind": "partner", "partner": "spare", "ok": True, "file": str(partners)} in cli(
        "topology", "check", "--folder", folder, "--json"
    ).rows


def test_topology_describe_draws_the_pipeline(cli: Cli, folder: Path) -> None:
    ran = cli("topology", "describe", "demo", "--folder", folder)
    assert ran.code == 0
    assert "waybill.demo.validated" in ran.out
    assert cli("topology", "describe", "demo", "--folder", folder, "--mermaid").out.startswith("flowchart")
    topics = {
        row["short"]: row["name"] for row in cli("topology", "describe", "demo", "--folder", folder, "--json").rows
    }
    assert topics["raw"] == "demo.raw"


def test_doctor_warns_without_a_broker_and_fails_for_one_that_is_away(cli: Cli, folder: Path) -> None:
    ran = cli("doctor", "--folder", folder, "--json")
    words = {row["what"]: row["word"] for row in ran.rows}
    assert (words["python"], words["home"], words["pipelines"], words["broker"]) == ("ok", "ok", "ok", "warn")
    assert ran.code == 0
    ran = cli("doctor", "--folder", folder, "--brokers", "127.0.0.1:1")
    assert ran.code == 1
    assert "fail  broker" in ran.out


def test_broker_status_says_that_none_runs(cli: Cli) -> None:
    ran = cli("broker", "status", "--json")
    assert (ran.code, ran.rows[0]["running"], ran.rows[0]["brokers"]) == (3, False, None)
    assert cli("broker", "stop").code == 0
