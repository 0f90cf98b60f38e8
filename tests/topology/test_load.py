"""A right file gives a frozen pipeline; a wrong one has all its mistakes named: file, line, field, what is allowed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from streams.delivery.object_store import folder_of
from topology.explain import PARTNER_KINDS
from topology.load import TopologyError, load_all, load_pipeline, pipeline_names
from topology.model import Pipeline
from topology.partner import HttpPartner, ObjectStorePartner
from topology.yaml_file import MAX_BYTES

from .conftest import PARTNERS, Write

BOMB = b"a: &a [x, x, x, x]\n" + b"".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 8)}]\n".encode() for before, name in pairwise("abcdef")
)
"""Aliases of aliases: a few lines that would unfold to 131,072 values."""


def mistakes(path: Path) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        load_pipeline(str(path))
    lines = str(caught.value).replace(f"{path.parent}/", "").splitlines()
    assert len(lines) == len(caught.value.mistakes)
    return lines


def url(pipeline: Pipeline, name: str) -> str:
    """Of a partner that has one."""
    partner = pipeline.partners[name]
    assert isinstance(partner, HttpPartner | ObjectStorePartner)
    return partner.url


def test_a_right_file_is_loaded_with_the_partners_it_names(write: Write) -> None:
    pipeline = load_pipeline("demo", folder=write().parent)
    assert pipeline.batching.max_records == 2000
    assert sorted(pipeline.partners) == ["clinic", "lake"]
    lake, clinic = pipeline.partners["lake"], pipeline.partners["clinic"]
    assert isinstance(lake, ObjectStorePartner)
    assert lake.url == "file:lake"
    assert isinstance(clinic, HttpPartner)
    with pytest.raises(ValidationError, match="frozen"):
        pipeline.partitions = 5  # type: ignore[misc]


def test_a_wrong_profile_is_a_mistake_like_any_other(write: Write) -> None:
    path = write()
    path.write_text(path.read_text() + "profile: stict\nkep: 3\n")
    told = mistakes(path)
    assert any("profile: " in line and "strict, lenient, schema" in line for line in told)
    assert any("kep: unknown key" in line for line in told)


def test_the_shipped_pipelines_are_found_by_default() -> None:
    assert pipeline_names() == ["cold-chain", "epcis"]


def test_the_folder_is_taken_from_the_environment(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_TOPOLOGY", str(write().parent))
    assert pipeline_names() == ["demo"]
    assert load_all()["demo"].pipeline == "demo"


def test_partners_may_lie_one_folder_up(write: Write, tmp_path: Path) -> None:
    path = write()
    inner = tmp_path / "pipelines"
    inner.mkdir()
    path.rename(inner / "demo.yaml")
    assert sorted(load_pipeline("demo", folder=inner).partners) == ["clinic", "lake"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("partitions: 4", "partitons: 4"), "demo.yaml:3: partitons: unknown key; did you mean `partitions`?; allow"),
        (("partitions: 4", "partitions: 0"), "demo.yaml:3: partitions: should be greater than or equal to 1, not 0"),
        (("partitions: 4", "partitions: four"), "demo.yaml:3: partitions: should be a valid integer"),
        (("partitions: 4", "keep: .inf"), "demo.yaml:3: keep: should be a finite number, not inf"),
        (("backoff: packets", "backoff: packet"), "demo.yaml:12: retry.backoff: 'packet' is not known (waits between"),
        (("attempts: 3", "atempts: 3"), "demo.yaml:12: retry.atempts: unknown key; did you mean `attempts`?; allowe"),
        (("partition_by: [sensor_id]\n", ""), "demo.yaml:1: partition_by: is required (fields that choose the parti"),
        (("[sensor_id]", "sensor_id"), "demo.yaml:4: partition_by: should be a valid list, not 'sensor_id'"),
        (("[sensor_id]", "[product]"), "demo.yaml:4: partition_by: ['product'] must be among idempotency"),
        (("[sensor_id]", "[sensor_ip]"), "demo.yaml:4: partition_by[0]: pack fake has no field 'sensor_ip'; did you"),
        (("event_time]", "evnt_time]"), "demo.yaml:5: idempotency[1]: pack fake has no field 'evnt_time'; did you m"),
        (("[product]", "[produkt]"), "demo.yaml:6: group_by[0]: pack fake has no field 'produkt'; did you mean `pro"),
        (("by: product", "by: site"), "demo.yaml:9: partner.by: pack fake has no field 'site'; allowed: event_time,"),
        (("pack: fake", "pack: fake\nordering_by: rev"), "demo.yaml:3: ordering_by: pack fake has no field 'rev'"),
        (("telemetry-run", "telemetry"), "demo.yaml:7: batching: 'telemetry' is no preset; allowed: telemetry-defau"),
        (("telemetry-run", "{lingr: 3}"), "demo.yaml:7: batching.lingr: unknown key; did you mean `linger`?"),
        (("frozen: clinic", "frozen: clinik"), "demo.yaml:10: partner.map.frozen: partner 'clinik' is not declared "),
        (("default: lake", "default: late"), "demo.yaml:11: partner.default: partner 'late' is not declared in part"),
        (("  default: lake\n", ""), "demo.yaml:8: partner.default: is required (partner of every other value); allo"),
        (("pack: fake", "pack: fale"), "demo.yaml:2: pack: no pack 'fale'; did you mean `fake`?; allowed: cold_chai"),
        (("limit: 7", "limit: 0"), "demo.yaml:13: options.limit: should be greater than or equal to 1, not 0"),
        (("limit: 7", "limt: 7"), "demo.yaml:13: options.limt: unknown key; did you mean `limit`?; allowed: limit"),
        (("pack: fake", "pack: ${NOT_SET}"), "demo.yaml:2: pack: environment variable NOT_SET is not set; allowed: "),
        (("pack: fake", "pack: ${not-a-name}"), "demo.yaml:2: pack: '${not-a-name}' has a ${ that is no variable"),
        (("pack: fake", "pack: fake\npartners: {}"), "demo.yaml:3: partners: unknown key; allowed: declare partners"),
        (("pack: fake", "pack: fake\npack: fake"), "demo.yaml:3: not YAML: found duplicate key"),
        (("pack: fake", "pack: [fake"), "demo.yaml:3: not YAML: "),
        (("pack: fake", "pack: !python/name fake"), "demo.yaml:2: pack: tag !python/name; allowed: no tags"),
        (("pack: fake", "pack: 2026-11-01"), "demo.yaml:2: pack: a value of a kind not used here (a date?); allowed"),
        (("pack: fake", "pack: fake\n7: x"), "demo.yaml:3: 7: a key that is no text"),
        (("pack: fake", "pack: &a {b: *a}"), "demo.yaml:2: pack"),
        (("pack: fake", "pack: fake\nraw: {topic: waybill.demo.validated}"), "demo.yaml:3: raw.topic: 'waybill.demo"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(write: Write, change: tuple[str, str], expected: str) -> None:
    assert any(line.startswith(expected) for line in mistakes(write(change))), mistakes(write(change))


def test_all_mistakes_are_named_at_once(write: Write) -> None:
    lines = mistakes(
        write(
            ("partitions: 4", "partitions: 0"),
            ("backoff: packets", "backoff: packet"),
            ("frozen: clinic", "frozen: clinik"),
            ("limit: 7", "limit: seven"),
        )
    )
    assert [line.split(": ")[1] for line in lines] == [
        "partitions",
        "partner.map.frozen",
        "retry.backoff",
        "options.limit",
    ]


def test_a_mistake_in_a_partner_names_the_partners_file(write: Write) -> None:
    assert mistakes(write(partners=PARTNERS.replace("kind: http\n  url: http:", "kind: htp\n  url: http:", 1))) == [
        "partners.yaml:4: clinic: `kind: htp` is not known; did you mean `http`?; allowed: " + ", ".join(PARTNER_KINDS),
    ]
    assert mistakes(write(partners=PARTNERS.replace("url: http://", "ulr: http://", 1))) == [
        "partners.yaml:4: clinic.url: is required (where a batch is sent); allowed: text like ^https?://",
        "partners.yaml:6: clinic.ulr: unknown key; did you mean `url`?; allowed: "
        + ", ".join(HttpPartner.model_fields),
    ]


def test_variables_of_a_partner_that_is_not_used_may_be_missing(write: Write) -> None:
    assert "unused" not in load_pipeline(str(write())).partners


def test_a_wrong_value_from_a_variable_names_the_variable(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    partners = PARTNERS.replace("http://127.0.0.1:8081/batches", "${DEMO_URL:-ftp://default}", 1)
    monkeypatch.setenv("DEMO_URL", "ftp://here")
    (line,) = mistakes(write(partners=partners))
    assert line.startswith("partners.yaml:6: clinic.url: should match pattern '^https?://', not 'ftp://here'")
    assert line.endswith("(the value comes from variable DEMO_URL)")
    monkeypatch.delenv("DEMO_URL")
    (line,) = mistakes(write(partners=partners))
    assert "not 'ftp://default'" in line
    assert line.endswith("(the value comes from variable DEMO_URL, which is not set)")
    monkeypatch.setenv("DEMO_URL", "http://127.0.0.1:9/x")
    assert url(load_pipeline(str(write(partners=partners))), "clinic") == "http://127.0.0.1:9/x"


def test_a_default_may_hold_another_variable(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    partners = PARTNERS.replace("${DEMO_LAKE:-file:lake}", "${DEMO_LAKE:-file:${DEMO_HOME:-here}/lake}", 1)

    def lake() -> str:
        return url(load_pipeline(str(write(partners=partners))), "lake")

    assert lake() == "file:here/lake"
    monkeypatch.setenv("DEMO_HOME", "/data")
    assert lake() == "file:/data/lake"
    monkeypatch.setenv("DEMO_LAKE", "s3://lake")
    assert lake() == "s3://lake"
    needed = partners.replace("${DEMO_HOME:-here}", "${DEMO_GONE}")
    assert url(load_pipeline(str(write(partners=needed))), "lake") == "s3://lake", "it is not asked for"
    monkeypatch.delenv("DEMO_LAKE")
    (line,) = mistakes(write(partners=needed))
    assert line.startswith("partners.yaml:3: lake.url: environment variable DEMO_GONE is not set")


@pytest.mark.parametrize("written", ["${A:-${B}", "${A:-${b-c}}", "${A:-${B:-${C}}}"])
def test_a_default_that_holds_no_whole_variable_is_a_mistake(write: Write, written: str) -> None:
    (line,) = mistakes(write(partners=PARTNERS.replace("${DEMO_LAKE:-file:lake}", written, 1)))
    assert "has a ${ that is no variable" in line


def test_a_variable_inside_a_default_is_named_and_may_be_a_secret(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMO_TOKEN", "hunter2")
    partners = PARTNERS.replace("http://127.0.0.1:8081/batches", "${DEMO_URL:-x:${DEMO_TOKEN}}", 1)
    (line,) = mistakes(write(partners=partners))
    assert "hunter2" not in line
    assert line.endswith("(the value comes from variable DEMO_URL, which is not set and variable DEMO_TOKEN)")


def test_the_lake_that_is_shipped_lies_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lake() -> Path | None:
        return folder_of(url(load_pipeline("cold-chain"), "lake"))

    monkeypatch.delenv("WAYBILL_LAKE", raising=False)
    monkeypatch.delenv("WAYBILL_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert lake() == tmp_path / ".waybill" / "lake"
    monkeypatch.setenv("WAYBILL_HOME", str(tmp_path / "my home"))
    assert lake() == tmp_path / "my home" / "lake"
    monkeypatch.chdir("/")
    assert lake() == tmp_path / "my home" / "lake", "a worker started elsewhere finds the same"
    monkeypatch.setenv("WAYBILL_LAKE", "s3://lake")
    assert lake() is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("partitions: 4", "partitions: ${DEMO}"), "partitions: should be a valid integer"),
        (("backoff: packets", "backoff: '${DEMO}'"), "retry.backoff: 'lost' is not known"),
        (("default: lake", "default: '${DEMO}'"), "partner.default: partner 'lost' is not declared"),
        (("pack: fake", "pack: ${DEMO}"), "pack: no pack 'lost'"),
        (("telemetry-run", "${DEMO}"), "batching: 'lost' is no preset"),
        (("by: product", "by: '${DEMO}'"), "partner.by: pack fake has no field 'lost'"),
    ],
)
def test_whatever_is_wrong_with_it(
    write: Write, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], expected: str
) -> None:
    monkeypatch.setenv("DEMO", "lost")
    lines = [line for line in mistakes(write(change)) if expected in line]
    assert lines
    assert all("'lost'" in line and line.endswith("(the value comes from variable DEMO)") for line in lines)


@pytest.mark.parametrize(
    "written",
    ["${DEMO_TOKEN}", "${DEMO_PLACE}"],
    ids=["by the variable", "by its looks"],
)
def test_a_value_that_may_be_a_secret_is_never_shown(
    write: Write, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("DEMO_TOKEN", "hunter2")
    monkeypatch.setenv("DEMO_PLACE", "ftp://me:hunter2@there")
    partners = PARTNERS.replace("http://127.0.0.1:8081/batches", written, 1)
    (line,) = mistakes(write(partners=partners))
    assert "hunter2" not in line
    assert f"not '{written}'" in line, "as the file has it"


def test_a_secret_that_stands_in_the_file_is_not_shown_either(write: Write) -> None:
    headers = "url: http://127.0.0.1:8081/batches\n  headers: {Authorization: 4711}"
    partners = PARTNERS.replace("url: http://127.0.0.1:8081/batches", headers, 1)
    (line,) = mistakes(write(partners=partners))
    assert line.startswith("partners.yaml:7: clinic.headers.Authorization: should be a valid string, not the value")
    assert "4711" not in line


COLD = """\
pipeline: cold
pack: cold_chain
partition_by: [sensor_id]
idempotency: [sensor_id, event_time]
partner: lake
"""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("stuck_reading: 3", "options.stuck_reading: unknown key; did you mean `stuck_readings`?; allowed: products,"),
        ("stuck_readings: 1", "options.stuck_readings: should be greater than or equal to 2, not 1 (equal readings in"),
        (
            "sources: [{match: a, unti: C}]",
            "options.sources[0].unti: unknown key; did you mean `unit`?; allowed",
        ),
        (
            "sources: [{match: a, unit: FHA}]",
            "options.sources[0].unit: 'FHA' is no unit; did you mean `FAH`?; allowed",
        ),
        ("sources: [{match: a, product: fridge}]", "options.sources[0].product: 'fridge' has no limits; allowed: "),
        ("sources: [{match: a, utc_offset: CET}]", "options.sources[0].utc_offset: 'CET' is no UTC offset: expected Z"),
        ("default_product: refrigirator", "options.default_product: 'refrigirator' has no limits; did you mean `refri"),
        ("products: {milk: {hihg: 8}}", "options.products.milk.hihg: unknown key; did you mean `high`?; allowed: low,"),
        ("products: {milk: {low: 9, high: 8}}", "options.products.milk.low: 9 is above the upper limit 8"),
        (
            "products: {milk: {alarms: [{side: hihg, limit: 8, minutes: 1}]}}",
            "options.products.milk.alarms[0].side: 'hihg' is not known (alarm below or above the limit; the limit",
        ),
        (
            "products: {milk: {alarms: [{side: high, limit: 8, minuts: 1}]}}",
            "options.products.milk.alarms[0].minuts: unknown key; did you mean `minutes`?",
        ),
    ],
)
def test_a_mistake_in_the_options_of_a_pack_says_what_is_allowed(write: Write, options: str, expected: str) -> None:
    path = write()
    path.write_text(COLD + f"options: {{{options}}}\n")
    lines = mistakes(path)
    assert any(line.startswith(f"demo.yaml:6: {expected}") for line in lines), lines


EPCIS = """\
pipeline: demo
pack: epcis
partition_by: [issuer]
idempotency: [event_hash, issuer]
partner: lake
"""


def test_an_option_of_a_pack_may_be_called_partners(write: Write) -> None:
    """Only a pipeline itself has a field of that name which is no key of its file."""
    path = write()
    path.write_text(EPCIS + "options: {partner: ['0300011111116']}\n")
    (line,) = mistakes(path)
    assert line.startswith("demo.yaml:6: options.partner: unknown key; did you mean `partners`?; allowed: partners,")


def test_without_a_partners_file_the_places_are_named(write: Write) -> None:
    path = write()
    (path.parent / "partners.yaml").unlink()
    (line,) = mistakes(path)
    assert line.startswith("demo.yaml:11: partner.default: no partners.yaml found; allowed: partners.yaml or ")


def test_an_unknown_name_lists_the_known_ones(write: Write) -> None:
    with pytest.raises(TopologyError, match=r"no pipeline 'deno'; did you mean `demo`\?; allowed: demo"):
        load_pipeline("deno", folder=write().parent)


def test_a_pipeline_goes_by_its_own_name_and_by_that_of_its_file(write: Write) -> None:
    folder = write(name="fridges").parent
    for name in ("demo", "fridges", "fridges.yaml"):
        assert load_pipeline(str(folder / name) if "." in name else name, folder=folder).pipeline == "demo"
    with pytest.raises(TopologyError, match=r"no pipeline 'deno'; did you mean `demo`\?; allowed: demo, fridges"):
        load_pipeline("deno", folder=folder)


def test_a_name_that_means_two_pipelines_is_refused_with_both_files(write: Write) -> None:
    folder = write(name="other").parent
    write(("pipeline: demo", "pipeline: third"), name="demo")
    with pytest.raises(TopologyError) as caught:
        load_pipeline("demo", folder=folder)
    (line,) = str(caught.value).splitlines()
    assert "'demo' may mean demo.yaml (`pipeline: third`) and other.yaml (`pipeline: demo`)" in line
    assert "allowed: the path of the file" in line
    assert load_pipeline("third", folder=folder).pipeline == "third"
    assert load_pipeline("other", folder=folder).pipeline == "demo"
    assert sorted(load_all(folder)) == ["demo", "other"]


def test_a_file_named_like_its_pipeline_comes_before_others_that_call_themselves_so(write: Write) -> None:
    folder = write().parent
    write(("partitions: 4", "partitions: 4\nregion: eu"), name="demo-eu")
    assert load_pipeline("demo", folder=folder).region is None
    assert load_pipeline("demo-eu", folder=folder).region == "eu"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "demo.yaml:1: empty"),
        (b"- a\n", "demo.yaml:1: no mapping at its top"),
        (b"a: \xff\n", "demo.yaml: not UTF-8 at byte 3"),
        (b"a: \x00\n", "demo.yaml: not YAML"),
        (b"a: 1\n---\nb: 2\n", "demo.yaml:2: not YAML"),
        (b"#" * (MAX_BYTES + 1), f"demo.yaml: {MAX_BYTES + 1} bytes"),
        (b"a: " + b"[" * 5000, "demo.yaml: not YAML"),
        (BOMB, "demo.yaml:1: f[3][4][6][5][3]: nested too deep or aliases without end"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_pipeline(write: Write, content: bytes, expected: str) -> None:
    path = write()
    path.write_bytes(content)
    (line,) = mistakes(path)
    assert line.startswith(expected)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert mistakes(tmp_path / "gone.yaml") == ["gone.yaml: cannot be read: No such file or directory"]


def test_two_pipelines_may_not_share_topics(write: Write) -> None:
    folder = write().parent
    write(name="other")
    with pytest.raises(TopologyError, match=r"writes the same topics as .*demo\.yaml"):
        load_all(folder)


def test_mistakes_of_all_files_are_gathered(write: Write) -> None:
    folder = write(("partitions: 4", "partitions: 0")).parent
    write(("attempts: 3", "attempts: 0"), ("pipeline: demo", "pipeline: other"), name="other")
    with pytest.raises(TopologyError) as caught:
        load_all(folder)
    assert [mistake.field for mistake in caught.value.mistakes] == ["partitions", "retry.attempts"]


def test_every_mistake_is_told_in_one_pass(write: Write) -> None:
    path = write(
        ("partitions: 4", "partitions: none"),
        ("partition_by: [sensor_id]", "partition_by: [product]\nkeep: 3"),
        ("options: {limit: 7}", "options: {limit: much}"),
        ("group_by: [product]", "group_by: [prodct]\nkep: 9"),
    )
    told = mistakes(path)
    assert len(told) == 5
    for said in (
        "partitions: ",
        "kep: unknown key; did you mean `keep`?",
        "options.limit: ",
        "pack fake has no field 'prodct'; did you mean `product`?",
        "partition_by: ['product'] must be among idempotency",
    ):
        assert any(said in line for line in told), (said, told)


def test_no_rule_is_held_against_a_value_that_is_wrong_in_itself(write: Write) -> None:
    linger = mistakes(write(("batching: telemetry-run", "keep: 15\nbatching: {linger: soon}")))
    assert len(linger) == 1, "how long keep must be is not known"
    missing = mistakes(write(("idempotency: [sensor_id, event_time]\n", "")))
    assert len(missing) == 1
    misspelt = mistakes(
        write(("idempotency:", "idempotncy:"), ("partition_by: [sensor_id]", "partition_by: [product]"))
    )
    assert len(misspelt) == 2


def test_a_pipeline_that_is_not_there_is_told_with_the_variable_that_names_the_folder(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write().parent
    with pytest.raises(TopologyError, match=r"no pipeline 'epcis'; allowed: demo$"):
        load_pipeline("epcis", folder=folder)
    monkeypatch.setenv("WAYBILL_TOPOLOGY", str(folder))
    with pytest.raises(TopologyError, match=r"allowed: demo \(the folder that WAYBILL_TOPOLOGY names\)$"):
        load_pipeline("epcis")
