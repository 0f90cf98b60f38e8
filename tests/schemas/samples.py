"""Messages of every wire schema: any (a strategy), or one fixed example of each."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from schemas.codec import schema_text

RANGES = {"int": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}


def messages(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Any message that fits schema `name`."""
    return _strategy(json.loads(schema_text(name)), {})


def _strategy(schema: Any, named: dict[str, Any]) -> st.SearchStrategy[Any]:
    if isinstance(schema, list):
        return st.one_of([_strategy(branch, named) for branch in schema])
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(schema, dict) and "name" in schema:
        named[schema["name"]] = schema
    if kind in named:
        return _strategy(named[kind], named)
    match kind:
        case "null":
            return st.none()
        case "string":
            return st.text(max_size=12)
        case "bytes":
            return st.binary(max_size=12)
        case "boolean":
            return st.booleans()
        case "int" | "long":
            return st.integers(*RANGES[kind])
        case "fixed":
            return st.binary(min_size=schema["size"], max_size=schema["size"])
        case "enum":
            return st.sampled_from(schema["symbols"])
        case "array":
            return st.lists(_strategy(schema["items"], named), max_size=3)
        case "record":
            return st.fixed_dictionaries({f["name"]: _strategy(f["type"], named) for f in schema["fields"]})
    raise AssertionError(f"a kind of schema these tests do not know: {kind}")


def example(name: str) -> dict[str, Any]:
    """The one fixed message of schema `name`: every union takes its last branch, so nothing is null."""
    message = _example(json.loads(schema_text(name)), name, {})
    assert isinstance(message, dict)
    return message


def _example(schema: Any, field: str, named: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_example(branch, field, named) for branch in schema][-1]
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(schema, dict) and "name" in schema:
        named[schema["name"]] = schema
    if kind in named:
        return _example(named[kind], field, named)
    seed = sum(field.encode())
    match kind:
        case "null":
            return None
        case "string":
            return f"{field} ä"
        case "bytes":
            return field.encode()
        case "boolean":
            return True
        case "int":
            return seed
        case "long":
            return 1_700_000_000_000 + seed
        case "fixed":
            return bytes((seed + place) % 256 for place in range(schema["size"]))
        case "enum":
            return schema["symbols"][-1]
        case "array":
            return [_example(schema["items"], field, named)]
        case "record":
            return {f["name"]: _example(f["type"], f["name"], named) for f in schema["fields"]}
    raise AssertionError(f"a kind of schema these tests do not know: {kind}")
