"""A right file gives a frozen pipeline; a wrong one has all its mistakes named: file, line, field, what is allowed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from topology.load import TopologyError, load_all, load_pipeline, pipeline_names
from topology.model import HttpPartner, ObjectStorePartner
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
    assert pipeline_names() == ["cold-chain"]


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
        (("limit: 7", "limt: 7"), "demo.yaml:13: options.limt: unknown key"),
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
        "partners.yaml:4: clinic: `kind: htp` is not known; did you mean `http`?; allowed: object-store, http"
    ]
    assert mistakes(write(partners=PARTNERS.replace("url: http://", "ulr: http://", 1))) == [
        "partners.yaml:4: clinic.url: is required (where a batch is sent); allowed: text like ^https?://",
        "partners.yaml:6: clinic.ulr: unknown key; did you mean `url`?; allowed: "
        + ", ".join(HttpPartner.model_fields),
    ]


def test_variables_of_a_partner_that_is_not_used_may_be_missing(write: Write) -> None:
    assert "unused" not in load_pipeline(str(write())).partners


def test_a_variable_is_expanded_and_its_value_is_never_shown(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_URL", "secret-token")
    partners = PARTNERS.replace("http://127.0.0.1:8081/batches", "${DEMO_URL}", 1)
    (line,) = mistakes(write(partners=partners))
    assert "'${DEMO_URL}'" in line
    assert "secret-token" not in line
    monkeypatch.setenv("DEMO_URL", "http://127.0.0.1:9/x")
    clinic = load_pipeline(str(write(partners=partners))).partners["clinic"]
    assert clinic.url == "http://127.0.0.1:9/x"


def test_without_a_partners_file_the_places_are_named(write: Write) -> None:
    path = write()
    (path.parent / "partners.yaml").unlink()
    (line,) = mistakes(path)
    assert line.startswith("demo.yaml:11: partner.default: no partners.yaml found; allowed: partners.yaml or ")


def test_an_unknown_name_lists_the_known_ones(write: Write) -> None:
    with pytest.raises(TopologyError, match=r"no pipeline 'deno'; did you mean `demo`\?; allowed: demo"):
        load_pipeline("deno", folder=write().parent)


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
