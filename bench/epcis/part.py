"""The runs: ours, the official schemas alone, and the peers that compute event hashes, each a process that measures
itself; what they answer must be the same. Beside them the batch stage with and without state rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench import process
from bench.cases import VARIABLE, cases_folder
from bench.contenders import Mismatch
from bench.epcis.documents import Documents, write
from bench.peers.epcis_hash import generators
from bench.peers.job import PeerError, measure
from bench.process import Measurement

_HOME = "epcis/gs1_epcis"
"""In the folder of public cases."""
SCHEMAS: dict[str, Any] = {
    "json": "EPCIS-JSON-Schema.json",
    "xml": {"1": "XSL/1.2/XSD/EPCglobal-epcis-1_2.xsd", "2": "XSD/EPCglobal-epcis-2_0.xsd"},
}


AGREED: dict[generators.Peer, float] = {"python": 1.0, "openepcis": 0.6}
"""Share of the hashes that must be ours. OpenEPCIS 0.9.2 computes others for events that name both a source and a
destination (shipping and receiving in the sample): it has the lists in the order of the text (docs/packs/epcis.md)."""


class Sizes(NamedTuple):
    """Events of each run."""

    events: int
    peers: int
    """Of the generators, which take milliseconds for each; 0: they are left out."""
    rounds: int


Say = Callable[[str], None]


def contenders(folder: Path, sizes: Sizes, say: Say) -> Iterator[Measurement]:
    """Each as often as there are rounds; what cannot be had is left out with a word, and ours without it: a figure
    without its peer means nothing. Raises contenders.Mismatch."""
    json_ld, xml = write(folder, "json", sizes.events), write(folder, "xml", sizes.events)
    few = write(folder, "json", sizes.peers)
    roofs = _schemas(say)
    peers = _peers(say) if sizes.peers else ()
    for _ in range(sizes.rounds):
        if roofs is not None:
            yield _run("epcis-json", "ours", json_ld)
            yield _run("epcis-xml", "ours", xml)
        if peers:
            yield _run("event-hash", "hash", json_ld)
        for name, items in (("epcis-batch", False), ("epcis-batch-items", True)):
            yield process.run(name, "bench.epcis.histories", {"records": sizes.events, "items": items})
        for syntax, given in (("json", json_ld), ("xml", xml)):
            if roofs is not None:
                yield _run(f"roof-epcis-{syntax}", f"roof-{syntax}", given, schema=roofs[syntax])
        for peer in peers:
            job = {"documents": str(few.path), "records": len(few.hashes), "hashes": str(folder / "hashes")}
            measured = measure(f"event-hash-{peer}", generators.command(peer, job, folder))
            _compare(measured.name, few, folder / "hashes", AGREED[peer])
            yield measured


def _run(name: str, kind: str, given: Documents, **more: object) -> Measurement:
    hashes = given.path.with_suffix(".hashes")
    job = {"kind": kind, "documents": str(given.path), "records": len(given.hashes), "hashes": str(hashes), **more}
    measured = process.run(name, "bench.epcis.contender", job)
    if not kind.startswith("roof"):
        _compare(name, given, hashes)
    return measured


def _compare(name: str, given: Documents, written: Path, agreed: float = 1.0) -> None:
    """Raises Mismatch where a contender computed other hashes than the product in more than the share in which they are
    known to differ, or of another number of events."""
    theirs = tuple(written.read_text().split("\n"))
    same = sum(one == other for one, other in zip(theirs, given.hashes, strict=False))
    if len(theirs) != len(given.hashes) or same < agreed * len(theirs):
        raise Mismatch(f"{name}: {len(theirs)} event hashes, {same} of them those of the {len(given.hashes)} events")


def _schemas(say: Say) -> dict[str, Any] | None:
    home = cases_folder() / _HOME
    if not (home / SCHEMAS["json"]).is_file():
        say(
            f"no figures of EPCIS documents: their roof is the official schemas, which are not in {home}; set "
            f"{VARIABLE} to the folder of public cases"
        )
        return None
    return {
        "json": str(home / SCHEMAS["json"]),
        "xml": {version: str(home / name) for version, name in SCHEMAS["xml"].items()},
    }


def _peers(say: Say) -> list[generators.Peer]:
    found = []
    for peer in generators.PEERS:
        try:
            generators.build(peer)
            found.append(peer)
        except PeerError as missing:
            say(f"no peer {peer} of event hashes: {missing}")
    return found
