"""The wire format: what is written is read back, by this version and by later ones; damage is told, never guessed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import (
    MARKER,
    NAMES,
    OLDER,
    SingleObjectCodec,
    WireError,
    schema_fingerprint,
    schema_text,
    single_object_fingerprint,
)

from .record import RECORDED, jsonable
from .samples import example, messages

CODEC = SingleObjectCodec()


def test_the_fingerprint_is_the_specifications() -> None:
    # Avro 1.12, "Single-object encoding" and "Parsing Canonical Form": the Rabin fingerprint of "int" is
    # 7275d51a3f395c8f, and it is written least significant byte first.
    assert single_object_fingerprint("int").hex() == "8f5c393f1ad57572"
    assert single_object_fingerprint({"type": "int"}).hex() == "8f5c393f1ad57572"


def test_every_kind_has_a_header_of_its_own() -> None:
    assert len({schema_fingerprint(name) for name in NAMES}) == len(NAMES)
    for name in NAMES:
        assert CODEC.encode(name, example(name))[:10] == MARKER + schema_fingerprint(name) == CODEC.header(name)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_what_is_written_is_read_back(name: str, data: st.DataObject) -> None:
    message = data.draw(messages(name))
    assert CODEC.decode(CODEC.encode(name, message)) == (name, message)


@pytest.mark.parametrize("name", NAMES)
def test_messages_recorded_earlier_are_still_read(name: str) -> None:
    data = bytes.fromhex((RECORDED / f"{name}.hex").read_text())
    recorded = json.loads((RECORDED / f"{name}.json").read_text("utf-8"))
    kind, message = CODEC.decode(data)
    assert (kind, jsonable(message)) == (name, recorded)
    assert CODEC.encode(name, message) == data


@pytest.mark.parametrize("old", OLDER)
def test_messages_of_an_older_schema_are_read_with_the_defaults_of_todays(old: str) -> None:
    data = bytes.fromhex((RECORDED / f"{old}.hex").read_text())
    recorded = json.loads((RECORDED / f"{old}.json").read_text("utf-8"))
    name, message = CODEC.decode(data)
    added = {f["name"]: f["default"] for f in json.loads(schema_text(name))["fields"] if f["name"] not in recorded}
    assert added
    assert (name, jsonable(message)) == (OLDER[old], recorded | added)
    for cut in range(len(data)):
        with pytest.raises(WireError):
            CODEC.decode(data[:cut])


def test_every_recorded_message_is_of_a_schema_that_is_read() -> None:
    assert {path.stem for path in RECORDED.iterdir()} == {*NAMES, *OLDER}


@pytest.mark.parametrize("name", NAMES)
def test_a_message_cut_anywhere_is_told(name: str) -> None:
    data = CODEC.encode(name, example(name))
    for cut in range(len(data)):
        with pytest.raises(WireError):
            CODEC.decode(data[:cut])


@pytest.mark.parametrize("name", NAMES)
def test_bytes_behind_the_end_are_told(name: str) -> None:
    with pytest.raises(WireError, match=f"{name} message has 3 bytes behind its end"):
        CODEC.decode(CODEC.encode(name, example(name)) + b"\0\0\0")


@pytest.mark.parametrize("name", NAMES)
def test_every_bit_of_the_header_counts(name: str) -> None:
    data = CODEC.encode(name, example(name))
    for bit in range(80):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WireError, match="unknown message header"):
            CODEC.decode(bytes(changed))


@pytest.mark.parametrize("name", NAMES)
@given(tail=st.binary(max_size=80))
def test_any_bytes_give_a_message_or_a_wire_error(name: str, tail: bytes) -> None:
    try:
        kind, message = CODEC.decode(CODEC.header(name) + tail)
    except WireError:
        return
    assert kind == name
    assert set(message) == {field["name"] for field in json.loads(schema_text(name))["fields"]}


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_body_gives_a_message_or_a_wire_error(name: str) -> None:
    data = CODEC.encode(name, example(name))
    told = 0
    for place in range(10, len(data)):
        for value in (0x00, 0x01, 0x7F, 0x80, 0xFF):
            try:
                CODEC.decode(data[:place] + bytes([value]) + data[place + 1 :])
            except WireError:
                told += 1
    assert told


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", "one"),
        ("recorded_at", 2**63),
        ("digest", b"short"),
        ("key", None),
        ("warnings", [{"code": "X"}]),
        ("date", 7),
    ],
)
def test_a_message_that_does_not_fit_is_refused(field: str, value: Any) -> None:
    with pytest.raises(WireError, match="does not fit schema validated"):
        CODEC.encode("validated", {**example("validated"), field: value})


def test_a_missing_field_is_refused() -> None:
    message = example("validated")
    del message["payload"]
    with pytest.raises(WireError, match="payload"):
        CODEC.encode("validated", message)
