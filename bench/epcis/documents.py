"""The documents that every contender is given, one a line, made by the pack's own sample generator."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from schemas.pack import Pack, Record, Submission
from schemas.packs import load_pack
from schemas.packs.epcis.sample import sample
from topology.load import load_pipeline

_PREFIXED = {
    b'epcis-context.jsonld"]': b'epcis-context.jsonld", {"mda": "urn:epcglobal:cbv:mda"}]',
    b'"cbvmda:': b'"mda:',
}
"""The generator in Python knows no prefix but those that a document declares itself: its hashes would be others."""
Syntax = Literal["json", "xml"]


class Documents(NamedTuple):
    """A file of documents in one syntax."""

    path: Path
    hashes: tuple[str, ...]
    """Event hashes of all their events in order, as the product computes them."""


def write(folder: Path, syntax: Syntax, events: int) -> Documents:
    """Good documents of the sample with at least so many events: what is broken or refused in it is left out, so that
    the official schemas have the same to judge. XML is 2.0 and 1.2 by turns."""
    pack = shipped()
    lines: list[bytes] = []
    hashes: list[str] = []
    for _, value in sample(4 * events + 1_000):
        if value.startswith(b"<") != (syntax == "xml") or b"\n" in value:
            continue
        for before, after in _PREFIXED.items():
            value = value.replace(before, after)
        records = list(pack.unpack(Submission(value)).records())
        if not all(isinstance(record, Record) for record in records):
            continue
        lines.append(value)
        hashes += [record.fields["event_hash"] for record in records if isinstance(record, Record)]
        if len(hashes) >= events:
            break
    path = folder / f"epcis-{syntax}-{events}"
    path.write_bytes(b"\n".join(lines))
    return Documents(path, tuple(hashes))


def shipped() -> Pack:
    """The pack as the shipped pipeline has it, in its strictest profile."""
    made = load_pipeline("epcis")
    return load_pack(made.pack, made.options, "strict")
