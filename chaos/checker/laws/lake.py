"""I4 and I11 at object stores: every object lies where its batch belongs, and none is there that no batch explains."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chaos.checker.evidence import StoredObject
from chaos.checker.facts import Batch, Facts
from chaos.checker.formats import object_folder
from chaos.checker.verdict import Verdict

NAME = re.compile(r"batch_(?P<batch>[0-9a-f]{64})(?P<beside>(\.meta)?\.json(#\d+)?)")
"""A batch; in a folder also its metadata, and what a writer that was killed left of either."""


def placed(facts: Facts, verdict: Verdict) -> None:
    """I4: an object lies under the date of its batch."""
    for stored, batch in _objects(facts):
        if batch is not None:
            prefix = facts.round.partners[stored.partner]["prefix"]
            wanted, found = object_folder(prefix, batch.value["date"]), stored.path.rpartition("/")[0]
            verdict.expect(found == wanted, f"lies in {found}, its date says {wanted}", [batch.id, stored.path])


def explained(facts: Facts, verdict: Verdict) -> None:
    """I11: an object belongs to a frozen batch, and metadata to an object."""
    for stored, batch in _objects(facts):
        verdict.expect(batch is not None, f"{stored.partner} holds what belongs to no batch", [stored.path])


def _objects(facts: Facts) -> Iterator[tuple[StoredObject, Batch | None]]:
    """Every object, and the batch whose name it bears, if such things may be there."""
    for stored in facts.evidence.objects:
        match = NAME.fullmatch(stored.path.rpartition("/")[2])
        batch = facts.batch.get(match["batch"]) if match is not None else None
        if match is not None and match["beside"] != ".json":
            folder = facts.round.partners[stored.partner]["folder"]
            left = match["beside"].startswith(".meta") and match["batch"] not in facts.effect
            batch = batch if folder and not left else None
        yield stored, batch
