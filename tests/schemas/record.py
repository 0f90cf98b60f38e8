"""Records one message of every wire schema: `python -m tests.schemas.record` writes what is not there yet.

Recorded bytes stand for what lies in topics somewhere. When a schema changes on purpose, its old files are renamed
to `NAME-N` or removed by hand, with an ADR that says how messages already written are read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas.codec import NAMES, SingleObjectCodec
from tests.schemas.samples import example

RECORDED = Path(__file__).parent / "recorded"


def jsonable(value: Any) -> Any:
    """A message as JSON: bytes as `hex:…`."""
    if isinstance(value, bytes):
        return f"hex:{value.hex()}"
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    return [jsonable(item) for item in value] if isinstance(value, list) else value


def main() -> None:
    RECORDED.mkdir(exist_ok=True)
    codec = SingleObjectCodec()
    for name in NAMES:
        if (RECORDED / f"{name}.hex").exists():
            continue
        message = example(name)
        (RECORDED / f"{name}.hex").write_text(codec.encode(name, message).hex() + "\n")
        text = json.dumps(jsonable(message), indent=1, ensure_ascii=False)
        (RECORDED / f"{name}.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
