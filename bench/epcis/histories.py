"""Contender: the batch stage alone over records of the sample's item histories, with the state rules of their items or
without, in memory. Job: `records` (at least so many), `items` (whether the rules are on).
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from typing import Any

from bench.in_memory import NOW, Timed, work_all
from bench.process import Report, tell
from schemas.codec import SingleObjectCodec
from schemas.packs import load_pack
from schemas.packs.epcis.sample import histories
from streams.pipeline import Parts
from streams.progress import Identity
from streams.runtime import garbage
from streams.runtime.memory import MemoryBroker
from topology.load import load_pipeline
from topology.model import Pipeline
from topology.sections import ItemHistory

LEAST = 2
"""Events of a document, at least on average: of three there are four, two and one, now and then a fourth with one."""


def main() -> None:
    """Validates the documents, works the records, and reports of the second."""
    job = json.loads(sys.argv[1])
    made = pipeline(job["items"])
    broker = MemoryBroker(made)
    broker.now = NOW
    parts = Parts(made, SingleObjectCodec(), load_pack(made.pack, made.options, made.profile), Identity("0", "b", "1"))
    for document in islice(histories("json"), -(-job["records"] // LEAST)):
        broker.publish("maker", document)
    work_all(broker, Timed(parts.validate()), made.chunk)
    garbage.tune()
    batch = Timed(parts.batch())
    work_all(broker, batch, made.chunk)
    records = len(broker.all("validated"))
    if left := broker.all("dead-letter"):
        raise SystemExit(f"{len(left)} of {records} records were refused: the histories are not good")
    tell(Report(records, batch.seconds, batch.cpu))


def pipeline(items: bool) -> Pipeline:
    """The shipped pipeline, keyed by company as state rules need it, in both cases."""
    shipped = load_pipeline("epcis")
    changed: dict[str, Any] = {"partition_by": ["issuer"], "idempotency": [*shipped.idempotency, "issuer"]}
    return shipped.model_copy(update=changed | ({"items": ItemHistory(domain="issuer")} if items else {}))


if __name__ == "__main__":
    main()
