"""Alterations by what they change: each makes a function of a round's evidence that gives the evidence altered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from chaos.checker.evidence import Evidence, LedgerLine, Message, StoredObject
from chaos.checker.facts import Decoded, Place
from tests.chaos.altered import Finder, content, instead, ledger, topics, without

Alteration = Callable[[Evidence, Finder], Evidence]
NAMES = ("raw_partition", "raw_offset", "raw_index")


def answer(given: str, /, **changes: Any) -> Alteration:
    """Another answer to a record."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        short = "sent" if given == "duplicate" else "dead-letter"
        message = find.message(short, find.of(given))
        return instead(evidence, short, message.at, find.encoded(message, **changes))

    return alter


def validated(**changes: Any) -> Alteration:
    """Another message on `validated`."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        message = find.message("validated", find.of("delivered"))
        return instead(evidence, "validated", message.at, find.encoded(message, **changes))

    return alter


def batched(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Alteration:
    """Another frozen batch."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        message = find.facts.decoded("batched")[0]
        return instead(evidence, "batched", message.at, find.encoded(message, **change(message.value)))

    return alter


def delivery(given: str, /, **changes: Any) -> Alteration:
    """Another row of the delivery table."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        row = find.row("delivery", given)
        return instead(evidence, "delivery", row.at, find.encoded(row, **changes))

    return alter


def half(**changes: Any) -> Alteration:
    """Another first row of a half of a split batch."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        row = next(m for m in find.facts.decoded("delivery") if m.name and m.value["parent"] is not None)
        return instead(evidence, "delivery", row.at, find.encoded(row, **changes))

    return alter


def taken_whole(evidence: Evidence, find: Finder) -> Evidence:
    """The partner has a batch that was split."""
    name = find.row("delivery", "split").value["batch_id"].hex()
    effect = next(line for line in evidence.ledger if line.kind == "effect")
    return ledger(evidence, *evidence.ledger, effect._replace(key=name))


def at_partner(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Alteration:
    """Another body."""
    return lambda evidence, find: content(evidence, find.effect("http").batch, change)


def naming(other: Callable[[Finder], Place]) -> Alteration:
    """A duplicate of another record."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        ack = find.message("sent", find.of("duplicate"))
        named = ack.value["duplicate_of"] | dict(zip(NAMES, other(find), strict=True))
        return instead(evidence, "sent", ack.at, find.encoded(ack, duplicate_of=named))

    return alter


def rows_gone(short: str, about: Callable[[Finder], Callable[[Decoded], bool]]) -> Alteration:
    """Messages of a topic that are not there."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        chosen = about(find)
        return without(evidence, short, *(m.at for m in find.facts.decoded(short) if m.name and chosen(m)))

    return alter


def of_batch(state: str | None = None) -> Callable[[Finder], Callable[[Decoded], bool]]:
    """Chooses the delivery rows of one delivered batch."""

    def about(find: Finder) -> Callable[[Decoded], bool]:
        batch = find.effect("http").batch
        return lambda m: m.value["batch_id"].hex() == batch and state in (None, m.value["state"])

    return about


def of_chain(find: Finder) -> Callable[[Decoded], bool]:
    """Chooses heads or blocks of one chain."""
    return lambda m: (m.value["stage"], m.value["partition"]) == ("validate", 0)


def unpublished(evidence: Evidence, where: Place) -> Evidence:
    """A manifest without a submission."""
    left = [s for s in evidence.manifest if (s.partition, s.offset) != where[:2]]
    return replace(evidence, manifest=left)


def named_by_duplicate(find: Finder) -> Place:
    """The record that a duplicate names."""
    other = find.facts.answers[find.of("duplicate")][0].value["duplicate_of"]
    return other["raw_partition"], other["raw_offset"], other["raw_index"]


def fewer_in_array(evidence: Evidence, find: Finder) -> Evidence:
    """A manifest that has one record less in a submission of several."""
    several = next(s for s in evidence.manifest if s.kind == "array")
    shorter = several._replace(records=several.records[:-1])
    return replace(evidence, manifest=[shorter if s is several else s for s in evidence.manifest])


def block(stage: str, /, number: int = 0, **changes: Any) -> Alteration:
    """Another audit block of a stage, of those that read something; `number` counts them. A change may be a function
    of the block."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        chosen = [b for b in find.facts.blocks if b.chain == (stage, 0) and b.value["first_offset"] is not None][number]
        values = {name: change(chosen.value) if callable(change) else change for name, change in changes.items()}
        data = find.encoded(Decoded(chosen.at, "block", chosen.value), **values)
        return instead(evidence, "audit", chosen.at, data)

    return alter


def head(stage: str, /, **changes: Any) -> Alteration:
    """Another last row of a head."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        row = [m for m in find.facts.decoded("heads") if m.name and m.value["stage"] == stage][-1]
        return instead(evidence, "heads", row.at, find.encoded(row, **changes))

    return alter


def acknowledged(**changes: Any) -> Alteration:
    """Another ack of a delivered record, or of the batch it was acknowledged with."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        ack = find.facts.answers[find.of("delivered")][0]
        whole = Decoded(ack.at, "sent" if ack.whole is ack.value else "sent_batch", ack.whole)
        if ack.whole is not ack.value and changes.keys() <= ack.value.keys():
            records = [r | changes if r is ack.value else r for r in ack.whole["records"]]
            return instead(evidence, "sent", ack.at, find.encoded(whole, records=records))
        return instead(evidence, "sent", ack.at, find.encoded(whole, **changes))

    return alter


def under_another_key(given: str) -> Alteration:
    """The message of an answer under another message key."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        at, short = find.facts.answers[find.of(given)][0].at, "dead-letter" if given.startswith("dead") else "sent"
        return topics(evidence, short, lambda found: [m._replace(key=b"another") if m == at else m for m in found])

    return alter


def found_fault(code: str) -> dict[str, Any]:
    """The findings of a dead letter: one, with a code of its own."""
    return {"findings": [{"code": code, "path": "", "message": ""}]}


def first_record(**changes: Any) -> Alteration:
    """Another first record in a body."""
    return at_partner(lambda b: {"records": [b["records"][0] | changes, *b["records"][1:]]})


def an_hour_early(kind: str) -> Alteration:
    """Lines of the ledger, or objects of the store, from before anything was written ahead."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        assert all(stored.time for stored in evidence.objects), "the evidence tells no times"
        objects = [o._replace(time=(o.time or 0) - 3600 * (kind == "object")) for o in evidence.objects]
        lines = [x._replace(time=(x.time or 0) - 3600 * (kind == x.kind)) for x in evidence.ledger]
        return replace(ledger(evidence, *lines), objects=objects)

    return alter


def effect_first(evidence: Evidence, find: Finder) -> Evidence:
    """An effect before the attempt that made it."""
    batch = find.effect("http").batch
    (effect,) = (line for line in evidence.ledger if (line.kind, line.key) == ("effect", batch))
    return ledger(evidence, effect, *(line for line in evidence.ledger if line is not effect))


def moved(before: str, after: str) -> Alteration:
    """Objects in other folders."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        objects = [o._replace(path=o.path.replace(before, after)) for o in evidence.objects]
        return replace(evidence, objects=objects)

    return alter


def foreign(path: str) -> Alteration:
    """An object more."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        stored = StoredObject("lake", path, "00" * 32, 1, b"", None)
        return replace(evidence, objects=[*evidence.objects, stored])

    return alter


def only_metadata(evidence: Evidence, find: Finder) -> Evidence:
    """Metadata whose objects are gone."""
    return replace(evidence, objects=[o for o in evidence.objects if o.path.endswith(".meta.json")])


def in_a_bucket(evidence: Evidence, find: Finder) -> Evidence:
    """Metadata as objects where the store would keep them with the object."""
    partners = evidence.round.partners | {"lake": evidence.round.partners["lake"] | {"folder": False}}
    return replace(evidence, round=replace(evidence.round, partners=partners))


def last_byte(message: Message) -> bytes:
    """The same bytes but for the last."""
    data = message.value or b""
    return data[:-1] + bytes([data[-1] ^ 1])


def raw_altered(evidence: Evidence, find: Finder) -> Evidence:
    """Other bytes on raw than were published."""
    partition, offset, _ = find.of("delivered")
    message = find.facts.raw[partition, offset]
    return instead(evidence, "raw", message, (message.value or b"").replace(b":", b": ", 1))


def attempts(change: Callable[[Any], list[Any]]) -> Alteration:
    """Other attempts in the ledger, where they belong to one delivered batch."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        batch = find.effect("http").batch
        lines = [change(x) if (x.kind, x.key) == ("attempt", batch) else [x] for x in evidence.ledger]
        return ledger(evidence, *(line for some in lines for line in some))

    return alter


def effect_key(evidence: Evidence, find: Finder) -> Evidence:
    """An effect under a key that nobody knows."""
    at = next(number for number, line in enumerate(evidence.ledger) if line.kind == "effect")
    lines = list(evidence.ledger)
    lines[at] = lines[at]._replace(key="ab" * 32)
    return ledger(evidence, *lines)


def dead_batch(find: Finder) -> str:
    """A batch that a partner refused."""
    return find.facts.answers[find.of("dead in dispatch")][0].batch or ""


def given_up(evidence: Evidence, find: Finder) -> Evidence:
    """The partner took the batch of a dead letter at once."""
    batch = dead_batch(find)
    lines = [x._replace(well=True) if (x.kind, x.key) == ("attempt", batch) else x for x in evidence.ledger]
    last = next(x for x in reversed(lines) if (x.kind, x.key) == ("attempt", batch))
    return ledger(evidence, *lines, last._replace(kind="effect"))


def killed_untried(evidence: Evidence, find: Finder) -> Evidence:
    """A dead letter without any attempt."""
    batch = dead_batch(find)
    rows = [at for key, rows in find.facts.write_aheads.items() if key[0] == batch for at in rows]
    return without(evidence, "delivery", *rows)


def elsewhere(evidence: Evidence, find: Finder) -> Evidence:
    """What one partner has, at the other."""
    effect = find.effect("object-store")
    line = LedgerLine("effect", effect.batch, effect.digest, 1, 1, None, partner=find.effect("http").partner)
    return ledger(evidence, *evidence.ledger, line)


def ends(evidence: Evidence, **changes: Any) -> Evidence:
    """A process that ended otherwise."""
    exits = [evidence.round.exits[0] | changes, *evidence.round.exits[1:]]
    return replace(evidence, round=replace(evidence.round, exits=exits))
