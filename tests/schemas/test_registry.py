"""The Confluent wire format against the client's own in-process registry."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryError

from schemas.codec import NAMES, OLDER, Codec, SingleObjectCodec, WireError, schema_text
from schemas.registry import RegistryCodec, codec_for

from .record import RECORDED
from .samples import example


@pytest.fixture
def codec() -> RegistryCodec:
    return RegistryCodec("mock://test")


def test_the_setting_chooses_the_codec() -> None:
    assert isinstance(codec_for(None), SingleObjectCodec)
    assert isinstance(codec_for("mock://test"), RegistryCodec)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read_back_behind_magic_and_id(codec: RegistryCodec, name: str) -> None:
    data = codec.encode(name, example(name))
    number = int.from_bytes(data[1:5], "big")
    assert data[0] == 0
    assert codec._client.get_schema(number).schema_str == schema_text(name)
    assert data[5:] == SingleObjectCodec().encode(name, example(name))[10:]
    assert codec.decode(data) == (name, example(name))


@pytest.mark.parametrize("codec_", [SingleObjectCodec(), RegistryCodec("mock://test")])
def test_one_format_is_not_taken_for_the_other(codec_: Codec) -> None:
    other: Codec = RegistryCodec("mock://x") if isinstance(codec_, SingleObjectCodec) else SingleObjectCodec()
    with pytest.raises(WireError):
        codec_.decode(other.encode("window", example("window")))


def test_damage_is_told(codec: RegistryCodec) -> None:
    data = codec.encode("sent", example("sent"))
    for cut in range(len(data)):
        with pytest.raises(WireError):
            codec.decode(data[:cut])
    with pytest.raises(WireError, match="behind its end"):
        codec.decode(data + b"\0")
    with pytest.raises(WireError, match="schema id 9999 is not in the registry"):
        codec.decode(b"\0" + (9999).to_bytes(4, "big") + data[5:])


def test_our_schema_under_another_id_is_read_and_a_foreign_one_is_refused(codec: RegistryCodec) -> None:
    ours = Schema(schema_text("sent").replace("\n", " "), "AVRO")
    number = codec._client.register_schema("copied", ours)
    data = codec.encode("sent", example("sent"))
    assert number.to_bytes(4, "big") != data[1:5]
    assert codec.decode(b"\0" + number.to_bytes(4, "big") + data[5:])[0] == "sent"
    foreign = codec._client.register_schema("foreign", Schema('{"type": "int"}', "AVRO"))
    with pytest.raises(WireError, match=f"schema id {foreign} is none that this version reads"):
        codec.decode(b"\0" + foreign.to_bytes(4, "big") + b"\2")


@pytest.mark.parametrize(("old", "name"), OLDER.items())
def test_a_message_of_an_older_schema_is_read(codec: RegistryCodec, old: str, name: str) -> None:
    number = codec._client.register_schema(f"waybill.wire.{name}", Schema(schema_text(old), "AVRO"))
    recorded = bytes.fromhex((RECORDED / f"{old}.hex").read_text())
    data = b"\0" + number.to_bytes(4, "big") + recorded[10:]
    assert codec.decode(data) == SingleObjectCodec().decode(recorded)
    assert codec.decode(data)[0] == name


def test_a_failing_registry_is_not_blamed_on_a_message(codec: RegistryCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(number: int) -> Any:
        raise SchemaRegistryError(503, 50301, "away")

    monkeypatch.setattr(codec._client, "get_schema", away)
    with pytest.raises(SchemaRegistryError):
        codec.decode(b"\0" + (9999).to_bytes(4, "big"))
    assert codec.decode(codec.encode("head", example("head")))[0] == "head"  # known ids are not asked for again
