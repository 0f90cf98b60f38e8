"""A value of a wrong kind is named with file, line, field and what is allowed, whatever the field; none is bent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from schemas.packs.cold_chain.options import Alarm, Options, Product, Source
from topology.credentials import OAuth2Auth, Tls
from topology.load import TopologyError, load_pipeline
from topology.model import Pipeline
from topology.partner import (
    BreakerSettings,
    HttpPartner,
    KafkaPartner,
    ObjectStorePartner,
    PostgresPartner,
    Rate,
    RecordAnswers,
    SftpPartner,
)
from topology.sections import Batching, Chunking, ClaimStore, Parsing, PartnerRule, Retry, Topic

PIPELINE = """\
pipeline: demo
pack: cold_chain
partition_by: [sensor_id]
idempotency: [sensor_id, event_time]
"""
PLACES: Mapping[str, type[BaseModel]] = {
    "": Pipeline,
    "raw": Topic,
    "batching": Batching,
    "chunk": Chunking,
    "parser": Parsing,
    "retry": Retry,
    "claims": ClaimStore,
    "partner": PartnerRule,
    "options": Options,
    "options.products.milk": Product,
    "options.products.milk.alarms[0]": Alarm,
    "options.sources[0]": Source,
    "lake": ObjectStorePartner,
    "clinic": HttpPartner,
    "clinic.auth": OAuth2Auth,
    "clinic.tls": Tls,
    "clinic.response": RecordAnswers,
    "clinic.breaker": BreakerSettings,
    "clinic.rate": Rate,
    "topic": KafkaPartner,
    "table": PostgresPartner,
    "drop": SftpPartner,
}
"""Where each model stands in a pipeline's file, or in that of the partners."""
NEEDED: Mapping[str, dict[str, Any]] = {
    "partner": {"by": "product", "map": {}, "default": "lake"},
    "options.products.milk.alarms[0]": {"side": "high", "limit": 8, "minutes": 1},
    "options.sources[0]": {"match": "a"},
    "lake": {"kind": "object-store", "url": "file:lake"},
    "clinic": {"kind": "http", "url": "http://127.0.0.1:1/x"},
    "clinic.auth": {
        "kind": "oauth2",
        "token_url": "http://127.0.0.1:1/t",
        "client_id": "us",
        "client_secret": {"env": "SECRET"},
    },
    "clinic.response": {"records": "results"},
    "clinic.rate": {"attempts": 1},
    "topic": {"kind": "kafka", "brokers": "127.0.0.1:1", "topic": "t"},
    "table": {"kind": "postgres", "url": "postgresql://u@127.0.0.1/d"},
    "drop": {"kind": "sftp", "url": "sftp://u@127.0.0.1/f", "known_hosts": "k", "private_key": "p"},
}
"""What the others of a model's fields must say for it to be whole."""


def fields(number: str = "") -> Iterator[tuple[str, str]]:
    """(place, field) of every field, or of those that hold such a number."""
    for place, model in PLACES.items():
        for name, field in model.model_fields.items():
            kind = str(field.annotation)
            if name != "partners" and (not number or (re.search(rf"\b{number}\b", kind) and "list[" not in kind)):
                yield place, name


def shown(value: Any) -> str:
    """A value in YAML's flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
    return str(value)


def load(folder: Path, place: str, field: str, value: str) -> Pipeline:
    """Loads the demo pipeline with one value changed."""
    whole: Any = shown(NEEDED.get(place, {}) | {field: value})
    partners = {name: shown(said) for name, said in NEEDED.items() if "kind" in said}
    text = PIPELINE
    name, _, section = place.partition(".")
    if name in partners:
        inside = NEEDED.get(place, {}) | {field: value}
        partners[name] = shown(NEEDED[name] | ({section: inside} if section else inside))
        text += f"partner: {name}\n"
    else:
        if place == "":
            text = re.sub(rf"(?m)^{field}:.*\n", "", text) + f"{field}: {value}\n"
        else:
            head, *inner = re.split(r"\.|(?=\[)", place)
            for part in reversed(inner):
                whole = f"[{whole}]" if part == "[0]" else f"{{{part}: {whole}}}"
            text += f"{head}: {whole}\n"
        text += "" if "\npartner:" in text else "partner: lake\n"
    (folder / "demo.yaml").write_text(text)
    (folder / "partners.yaml").write_text("".join(f"{name}: {value}\n" for name, value in partners.items()))
    return load_pipeline(str(folder / "demo.yaml"))


def refused(folder: Path, place: str, field: str, value: str) -> str:
    """The line that names the value."""
    with pytest.raises(TopologyError) as caught:
        load(folder, place, field, value)
    name = f"{place}.{field}".lstrip(".")
    found = [str(m) for m in caught.value.mistakes if m.field == name or m.field.startswith(f"{name}[")]
    assert found, caught.value
    return found[0].removeprefix(f"{folder}/")


@pytest.mark.parametrize(("place", "field"), [*fields("int"), *fields("float"), *fields("Decimal")])
def test_a_truth_is_no_number(tmp_path: Path, place: str, field: str) -> None:
    line = refused(tmp_path, place, field, "true")
    assert re.match(r"(demo|partners)\.yaml:\d: \S+: ", line)
    assert "allowed: " in line
    if field != "bounds":
        assert "not True" in line


@pytest.mark.parametrize(("place", "field"), [*fields("int"), *fields("float")])
def test_text_is_no_number(tmp_path: Path, place: str, field: str) -> None:
    assert "not '4'" in refused(tmp_path, place, field, "'4'")


@pytest.mark.parametrize(("place", "field"), [*fields("int")])
def test_a_fraction_is_no_whole_number_even_if_nothing_is_behind_the_point(
    tmp_path: Path, place: str, field: str
) -> None:
    assert "should be a valid integer, not 4.0" in refused(tmp_path, place, field, "4.0")


def test_what_is_no_number_in_a_list_is_named_by_its_place(tmp_path: Path) -> None:
    line = refused(tmp_path, "clinic", "not_done", "[503, true]")
    assert line.startswith("partners.yaml:2: clinic.not_done[1]: should be a valid integer, not True (5xx")
    assert line.endswith("allowed: at least 500 and at most 599")
    assert "not True" in refused(tmp_path, "options.sources[0]", "sentinels", "[-127, true]")


def test_a_number_may_come_from_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_NUMBER", "3")
    for place, field in (("", "partitions"), ("batching", "linger"), ("clinic", "timeout")):
        load(tmp_path, place, field, "'${DEMO_NUMBER}'")
        load(tmp_path, place, field, "'${NOT_SET_ANYWHERE:-3}'")
    assert load(tmp_path, "", "partitions", "'${DEMO_NUMBER}'").partitions == 3
    for wrong in ("3.0", "true", "", "three"):
        monkeypatch.setenv("DEMO_NUMBER", wrong)
        line = refused(tmp_path, "", "partitions", "'${DEMO_NUMBER}'")
        assert f"not '{wrong}'" in line
        assert line.endswith("(the value comes from variable DEMO_NUMBER)")


@pytest.mark.parametrize("value", ["[1]", "{}", "null", "5", "telemetry"])
def test_a_preset_that_is_none_is_named(tmp_path: Path, value: str) -> None:
    line = refused(tmp_path, "batching", "base", value)
    assert line.startswith("demo.yaml:5: batching.base: ")
    assert "allowed: telemetry-default, telemetry-run" in line


@pytest.mark.parametrize("partner", ["lake", "clinic", "topic", "table", "drop"])
def test_a_deadline_leaves_room_for_one_attempt(tmp_path: Path, partner: str) -> None:
    line = refused(tmp_path, partner, "deadline", "29")
    assert line.endswith("deadline: 29 s are less than one attempt may take; allowed: at least `timeout`, 30 s")
    assert load(tmp_path, partner, "deadline", "30").partners[partner].deadline == 30


@pytest.mark.parametrize("field", ["key_retention", "timeout", "deadline"])
@pytest.mark.parametrize("partner", ["lake", "clinic", "topic", "table", "drop"])
def test_a_time_of_a_partner_is_above_nothing(tmp_path: Path, partner: str, field: str) -> None:
    for value in ("0", "-1"):
        assert "allowed: above 0" in refused(tmp_path, partner, field, value)


def test_a_list_that_is_too_short_says_so(tmp_path: Path) -> None:
    line = refused(tmp_path, "options.products.milk", "bounds", "[1]")
    assert line.startswith("demo.yaml:5: options.products.milk.bounds[1]: is required (°C; ")


@pytest.mark.parametrize("value", ["[1]", "[{}]", "{a: [1]}", "{base: {}}", "null", "true", "1e400", "-1", "''", "x"])
def test_no_value_anywhere_is_answered_with_a_traceback(tmp_path: Path, value: str) -> None:
    for place, field in fields():
        with suppress(TopologyError):
            load(tmp_path, place, field, value)


@pytest.mark.parametrize("keys", ["", ", private_key: a, password: {env: B}"])
def test_an_sftp_partner_has_one_way_to_log_in(tmp_path: Path, keys: str) -> None:
    drop = "{kind: sftp, url: 'sftp://u@h/f', known_hosts: k" + keys + "}"
    (tmp_path / "demo.yaml").write_text(PIPELINE + "partner: drop\n")
    (tmp_path / "partners.yaml").write_text(f"drop: {drop}\n")
    with pytest.raises(TopologyError, match="either private_key or password must be there"):
        load_pipeline(str(tmp_path / "demo.yaml"))
