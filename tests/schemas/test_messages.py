"""The types of messages say what the .avsc files say: same keys, same types, to the last nested record."""

from __future__ import annotations

import json
import types
import typing
from typing import Any, Literal

import pytest

from schemas import messages
from schemas.canonical import RawPosition
from schemas.codec import NAMES, schema_text
from schemas.delivery import Row

PRIMITIVES: dict[str, Any] = {"string": str, "bytes": bytes, "int": int, "long": int, "boolean": bool, "null": None}


def class_of(name: str) -> Any:
    if name == "delivery":
        return Row
    return getattr(messages, "".join(part.capitalize() for part in name.split("_")))


def avro_shape(schema: Any, named: dict[str, Any]) -> Any:
    """An Avro schema as plain nested values that compare by meaning."""
    if isinstance(schema, list):
        return ("union", sorted(repr(avro_shape(branch, named)) for branch in schema))
    if isinstance(schema, str):
        return PRIMITIVES[schema] if schema in PRIMITIVES else named[schema]
    kind = schema["type"]
    if kind == "array":
        return ("array", avro_shape(schema["items"], named))
    if kind == "record":
        shape: Any = {field["name"]: avro_shape(field["type"], named) for field in schema["fields"]}
        shape = ("record", sorted(shape.items(), key=lambda item: item[0]))
    elif kind == "enum":
        shape = ("enum", sorted(schema["symbols"]))
    elif kind == "fixed":
        shape = bytes
    else:
        return avro_shape(kind, named)
    named[schema["name"]] = shape
    return shape


def python_shape(hint: Any) -> Any:
    """A type hint in the same form."""
    origin = typing.get_origin(hint)
    if hint is type(None):
        return None
    if origin in (typing.Union, types.UnionType):
        return ("union", sorted(repr(python_shape(branch)) for branch in typing.get_args(hint)))
    if origin is list:
        return ("array", python_shape(typing.get_args(hint)[0]))
    if origin is Literal:
        return ("enum", sorted(typing.get_args(hint)))
    if typing.is_typeddict(hint) or hint is Row:
        fields = typing.get_type_hints(hint)
        return ("record", sorted((name, python_shape(kind)) for name, kind in fields.items()))
    return hint


@pytest.mark.parametrize("name", NAMES)
def test_types_and_schema_agree(name: str) -> None:
    assert python_shape(class_of(name)) == avro_shape(json.loads(schema_text(name)), {})


def test_no_message_may_leave_a_field_out() -> None:
    for name in NAMES:
        assert name == "delivery" or not class_of(name).__optional_keys__  # its rows are written whole


def test_a_position_survives_the_message_and_back() -> None:
    position = RawPosition("cold-chain.raw", 1, 2, 3, 4)
    assert messages.position_of(messages.position_part(position)) == position
    assert list(messages.position_part(position).values()) == list(position)
