"""The public generator of event hashes (PyPI: epcis-event-hash-generator), over documents. Job: see `generators.py`.

Runs in an environment of its own, so it may import of this repository only what needs no more than that.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from epcis_event_hash_generator import hash_generator, json_to_py

from bench.process import Meter, tell


def main() -> None:
    """Reads every document once, and reports."""
    job = json.loads(sys.argv[1])
    documents = Path(job["documents"]).read_text(encoding="utf-8").split("\n")
    meter = Meter()
    meter.fetched(time.perf_counter())
    hashes: list[str] = []
    for document in documents:
        hashes += hash_generator.epcis_hashes_from_events(json_to_py.event_list_from_epcis_document_str(document))
    meter.committed()
    report = meter.report(len(hashes))
    Path(job["hashes"]).write_text("\n".join(hashes))
    tell(report)


if __name__ == "__main__":
    main()
