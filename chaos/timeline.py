"""What a round looked like over time: records published and answered, and how long the answers took."""

from __future__ import annotations

import gzip
import json
from base64 import b64decode
from pathlib import Path
from typing import Any, NamedTuple

from schemas.codec import SingleObjectCodec

_CODEC = SingleObjectCodec()


class Timeline(NamedTuple):
    """Times in seconds from the first message of the round, latencies in seconds."""

    published: list[float]
    answered: list[tuple[float, float]]
    """When an answer was written, and how long after its message had reached `raw`."""


def timeline(folder: Path, began: float) -> Timeline:
    """Of a round whose topics the checker has kept."""
    published: dict[tuple[int, int], float] = {}
    answers: list[tuple[float, dict[str, Any]]] = []
    with gzip.open(folder / "topics.jsonl.gz", "rt", encoding="utf-8") as lines:
        for text in lines:
            short, partition, offset, stamp, _, value = json.loads(text)
            if short == "raw":
                published[partition, offset] = stamp / 1000 - began
            elif short in ("sent", "dead-letter") and value is not None:
                answers.append((stamp / 1000 - began, _CODEC.decode(b64decode(value))[1]))
    answered = []
    for at, answer in answers:
        for record in answer.get("records", [answer]):
            place = record.get("raw_partition"), record.get("raw_offset")
            if place in published:
                answered.append((at, at - published[place]))
    return Timeline(sorted(published.values()), sorted(answered))
