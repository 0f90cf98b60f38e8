"""Judges a finished history from what was published, what the topics hold and what the partners stored. Nothing of the
product decides here but its codec, and the audit verifier, which is on trial with the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from audit.block import Chain
from audit.verify import End, verify
from schemas.canonical import RawPosition, sha256
from schemas.errors import UNPROCESSABLE
from schemas.messages import position_of
from tests.simulation.deadlines import judge_deadlines
from tests.simulation.facts import Answer, Batch, Facts
from tests.simulation.tables import judge_determinism, judge_tables
from tests.streams.batch_oracle import Said, decisions

if TYPE_CHECKING:
    from tests.simulation.world import World

CODES_OF_STORES = (
    "RETRIES_EXHAUSTED", "DEADLINE_EXCEEDED", "OUTCOME_UNKNOWN", "PARTNER_REFUSED", "PARTNER_TOO_LARGE",
    "STORED_OBJECT_DIFFERS",
)  # fmt: skip
"""Why a batch dies at an object store; other codes of dispatch are our own faults."""


def judge(w: World) -> None:
    """Raises Broken, by `World.broken`, with the first law found broken."""
    facts = Facts(w)
    _conservation(facts)
    _answers(facts)
    _batches(facts)
    _attempts(facts)
    _effects(facts)
    _order(facts)
    _releases(facts)
    _reviews(facts)
    _audit(facts)
    judge_deadlines(facts)
    judge_tables(w)
    judge_determinism(w)


# ---- law 1 -------------------------------------------------------------------------------------------


def _conservation(f: Facts) -> None:
    """Every record has one final answer for each of its lives."""
    w = f.w
    known = set()
    for (partition, offset), submission in w.published.items():
        count = len(submission.lines)
        places = [RawPosition(w.pipeline.raw_topic, 0, partition, offset, n) for n in range(count)]
        given_up = f.answers.get(places[0], [])
        whole = len(given_up) == 1 and given_up[0].stage == "validate" and _code(given_up[0]) == UNPROCESSABLE
        if whole and w.setting.stage_faults and given_up[0].message["count"] == 1:
            places = places[:1]
            count = 1
        for place in places:
            known.add(place)
            answers = f.answers.get(place, [])
            wanted = f.lives(place) if place in f.units_of else 1
            if len(answers) != wanted:
                said = [(a.kind, a.stage) for a in answers]
                w.broken(f"law 1: {place} has answers {said}, must have {wanted}")
            for answer in answers:
                if answer.message["count"] != count and answer.message["raw_topic"] == place.topic:
                    w.broken(f"law 1: {place} is said to be of {answer.message['count']} records, not {count}")
    if unasked := f.answers.keys() - known:
        w.broken(f"law 1: answers for what nobody sent: {sorted(unasked)[:3]}")
    unreadable = {(p, o) for topic, p, o in f.condemned if topic == "validated"}
    if not w.garbled <= unreadable or (unreadable > w.garbled and not w.setting.stage_faults):
        w.broken(f"law 1: dead letters for {unreadable} of `validated`, unreadable were {w.garbled}")


def _code(answer: Answer) -> str:
    findings = answer.message.get("findings")
    return findings[0]["code"] if findings else ""


def _answers(f: Facts) -> None:
    """What an answer says is true."""
    w = f.w
    for place, answers in f.answers.items():
        line = w.published[place.partition, place.offset].lines[place.index]
        for answer in answers:
            message = answer.message
            bad = not line or line.startswith("!")
            if _code(answer) == UNPROCESSABLE:
                if not w.setting.stage_faults:
                    w.broken(f"law 5: {place} was given up on: {message['findings']}")
                continue
            if bad != (answer.stage == "validate"):
                w.broken(f"law 1: {line!r} at {place} ends as {answer.kind} of {answer.stage}")
            if bad:
                if message["original"] != line.encode():
                    w.broken(f"law 1: the dead letter of {place} is not its record")
                continue
            if message["digest"] != sha256(f.payload(place)):
                w.broken(f"law 3: the answer of {place} names another content")
            if answer.kind == "duplicate" or answer.stage == "batch":
                _about_another(f, place, answer)
            elif answer.kind == "delivered" and place not in f.units[message["batch_id"].hex()].raws:
                w.broken(f"law 1: {place} is acknowledged by a batch that does not hold it")


def _about_another(f: Facts, place: RawPosition, answer: Answer) -> None:
    """A duplicate names a record of equal content, a conflict one of the same key and other content."""
    other = position_of(answer.message["duplicate_of" if answer.kind == "duplicate" else "conflicts_with"])
    mine, theirs = json.loads(f.payload(place)), json.loads(f.payload(other))
    same_key = all(mine[name[0]] == theirs[name[0]] for name in f.w.pipeline.idempotency)
    if other == place or not same_key or (mine == theirs) != (answer.kind == "duplicate"):
        f.w.broken(f"law 1: {place} {mine} is {answer.kind} because of {other} {theirs}")


# ---- law 3 -------------------------------------------------------------------------------------------


def _batches(f: Facts) -> None:
    w, batching = f.w, f.w.pipeline.batching
    place = {m.value: m.offset for m in w.broker.all("validated")}
    seen: set[RawPosition] = set()
    for batch_id, batch in f.batches.items():
        message, raws = batch.message, batch.raws
        if seen & set(raws) or len(set(raws)) < len(raws):
            w.broken(f"law 3: a record of batch {batch_id[:8]} is in two batches")
        seen |= set(raws)
        offsets = [place[data] for data in message["records"]]
        if offsets != sorted(offsets) or not 0 < len(raws) <= batching.max_records or message["count"] != len(raws):
            w.broken(f"law 3: batch {batch_id[:8]} has {len(raws)} records at {offsets}")
        if len({(m["group"], m["date"], m["partner"]) for m in batch.members}) != 1:
            w.broken(f"law 3: batch {batch_id[:8]} mixes groups, dates or partners")
        if len(raws) > 1 and sum(map(len, message["records"])) > batching.max_bytes:
            w.broken(f"BA5: batch {batch_id[:8]} is larger than its cap")
        for member, raw in zip(batch.members, raws, strict=True):
            if member["payload"] != f.payload(raw):
                w.broken(f"law 3: {raw} is not in its batch as it was published")

    for name, unit in f.units.items():
        if name != _batch_id(unit):
            w.broken(f"BA7: batch {name[:8]} has not the id of its manifest")


def _batch_id(batch: Batch) -> str:
    manifest = {
        "pipeline": batch.message["pipeline"], "partition": batch.message["partition"],
        "group": batch.message["group"], "date": batch.message["date"],
        "records": [{"raw": list(position_of(m)), "digest": m["digest"].hex()} for m in batch.members],
    }  # fmt: skip
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# ---- laws 4 and 7 ------------------------------------------------------------------------------------


def _attempts(f: Facts) -> None:
    """Every attempt was written ahead, and all attempts of a batch send the same bytes."""
    w = f.w
    ahead: dict[tuple[str, int, int], list[dict[str, Any]]] = defaultdict(list)
    for batch_id, rows in f.rows.items():
        for row in rows:
            if row["state"] == "in_flight":
                ahead[batch_id, row["life"], row["attempt"]].append(row)
    bodies: dict[str, bytes] = {}
    for envelope, ends in w.partners.attempts:
        name = f"attempt {envelope.life}.{envelope.attempt} of {envelope.idempotency_key[:8]}"
        written = ahead[envelope.idempotency_key, envelope.life, envelope.attempt]
        if not written or written[0]["offset"] >= ends[written[0]["partition"]]:
            w.broken(f"law 7: {name} began without its write-ahead")
        if written.pop(0)["body_digest"] != envelope.body_digest or sha256(envelope.body) != envelope.body_digest:
            w.broken(f"DI3: {name} is not what was written ahead")
        if bodies.setdefault(envelope.idempotency_key, envelope.body) != envelope.body:
            w.broken(f"law 3: {name} sends other bytes than the one before")
        if envelope.idempotency_key not in f.units or envelope.batch_id.hex() != envelope.idempotency_key:
            w.broken(f"law 3: {name} is of no batch there is")


def _effects(f: Facts) -> None:
    w = f.w
    for key, times in f.effects.items():
        if times > 1:
            w.broken(f"law 7: batch {key[:8]} took effect {times} times")
    for effect in w.partners.effects:
        batch, body = f.units[effect.key], json.loads(effect.body)
        if [r["record"] for r in body["records"]] != [json.loads(f.payload(raw)) for raw in batch.raws]:
            w.broken(f"law 3: the partner holds other records than batch {effect.key[:8]}")
    for batch_id, batch in f.units.items():
        if batch_id in f.split:
            if f.effects[batch_id] or any(row["unknown"] for row in f.rows[batch_id]):
                w.broken(f"DI2: batch {batch_id[:8]} was split, and took effect or may have")
            continue
        # A row that is gone by the clock, while stream time stands still, cannot say which passports were used.
        if len(f.replays[batch_id]) - len(set(f.replays[batch_id])) > f.tombstones[batch_id]:
            w.broken(f"DI6: a passport of batch {batch_id[:8]} admitted twice: lives {f.replays[batch_id]}")
        unknown = False
        for number, raw in enumerate(batch.raws):
            answers = f.answers[raw]
            if any(a.kind == "delivered" for a in answers) and f.effects[batch_id] != 1:
                w.broken(f"law 4: {raw} is acknowledged, batch {batch_id[:8]} took effect {f.effects[batch_id]} times")
            if all(a.kind == "dead" and _known(a) for a in answers) and f.effects[batch_id]:
                w.broken(f"law 4: batch {batch_id[:8]} is dead as known, but took effect")
            said = any(not _known(a) for a in answers)
            if number and said != unknown:
                w.broken(f"law 4: the records of batch {batch_id[:8]} do not share its fate")
            unknown = said
        rows = f.rows[batch_id]
        if rows and batch_id not in f.gone and rows[-1]["state"] not in ("sent", "dead"):
            w.broken(f"law 1: batch {batch_id[:8]} ends as {rows[-1]['state']}")
        sticky = False
        for row in rows:
            if sticky and not row["unknown"]:
                w.broken(f"DI2: batch {batch_id[:8]} forgets that an attempt was unknown")
            sticky = sticky or row["unknown"]


def _known(answer: Answer) -> bool:
    """A death without effect for sure. What a stage gave up on before an attempt counts."""
    return not answer.message.get("outcome_unknown", False)


# ---- order -------------------------------------------------------------------------------------------


def _order(f: Facts) -> None:
    """Batches of a group that were delivered in their first life took effect in their order; so did versions of a
    key, and none of equal content twice while the first was known."""
    w = f.w
    delivered = [
        f.units[e.key] for e in w.partners.effects
        if f.lives(f.units[e.key].raws[0]) == 1 and f.answers[f.units[e.key].raws[0]][0].kind == "delivered"
    ]  # fmt: skip
    if w.pipeline.ordering == "group":
        lines: dict[tuple[int, str], list[tuple[int, int]]] = defaultdict(list)
        for batch in delivered:
            lines[batch.message["partition"], batch.message["group"]].append(batch.place[1:])
        for line, places in lines.items():
            if places != sorted(places):
                w.broken(f"order: {line} took effect as {places}")
    order = {}
    for partition in range(w.pipeline.partitions):
        time = 0
        for m in w.broker.partitions("validated")[partition]:
            if (partition, m.offset) not in w.garbled and (said := w.decode(m.value or b""))[0] == "validated":
                time = max(time, said[1]["recorded_at"])
                order[position_of(said[1])] = (m.offset, time)
    effects: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for batch in delivered if w.pipeline.ordering == "group" else sorted(delivered, key=lambda b: order[b.raws[0]]):
        for member in batch.members:
            effects[member["key"], member["group"]].append(member)
    held: dict[tuple[str, str], set[RawPosition]] = defaultdict(set)
    for batch in f.batches.values():
        for member in batch.members:
            held[member["key"], member["group"]].add(position_of(member))
    for key, members in effects.items():
        for a, b in pairwise(members):
            first, second = order[position_of(a)], order[position_of(b)]
            if w.pipeline.ordering == "group" and second < first:
                w.broken(f"order: versions of {key} took effect as {second} before {first}")
            between = any(first < order[raw] < second and f.payload(raw) != a["payload"] for raw in held[key])
            if a["digest"] == b["digest"] and not between and second[1] - first[1] <= w.pipeline.keep * 1000:
                w.broken(f"law 7: the same content of {key} took effect twice")


# ---- releases and audit ------------------------------------------------------------------------------


def _releases(f: Facts) -> None:
    """BA8: a death known to have had no effect releases its key, no other does; whoever has seen it is admitted."""
    w = f.w
    released: Counter[RawPosition] = Counter()
    for m in w.broker.all("validated"):
        if (m.partition, m.offset) not in w.garbled and (said := w.decode(m.value or b""))[0] == "release":
            released[position_of(said[1])] += 1
    for batch in f.batches.values():
        for raw in batch.raws:
            dead = [a for a in f.answers[raw] if a.stage == "dispatch" and position_of(a.message) == raw and _known(a)]
            if len(dead) != released.pop(raw, 0):
                w.broken(f"BA8: {raw} died {len(dead)} times as known")
    given_up = any(topic == "validated" and (p, o) not in w.garbled for topic, p, o in f.condemned)  # a release, maybe
    if released:
        w.broken(f"BA8: {list(released)[:3]} released without a death")
    for (partition, offset), submission in w.published.items() if not given_up else ():
        if submission.after is None or len(f.answers[submission.after]) > 1:
            continue
        for answer in f.answers[RawPosition(w.pipeline.raw_topic, 0, partition, offset, 0)]:
            named = answer.message.get("duplicate_of") or answer.message.get("conflicts_with")
            if named and position_of(named) == submission.after:
                w.broken(f"BA8: {partition}/{offset} was sent after the dead letter of {submission.after} it ends by")


def _reviews(f: Facts) -> None:
    """RTY-11: of each dead letter that an object store caused there is one copy on `review`, and of no other."""
    w, due = f.w, Counter[tuple[int, bytes | None, bytes | None, int]]()
    stores = {name for name, partner in w.pipeline.partners.items() if partner.kind == "object-store"}
    for m in w.broker.all("dead-letter"):
        letter = w.decode(m.value or b"")[1]
        of_store = letter["stage"] == "dispatch" and letter["partner"] in stores
        if of_store and letter["findings"][0]["code"] in CODES_OF_STORES:
            due[m.partition, m.key, m.value, letter["attempts"]] += 1
    copies = [(m, w.decode(m.value or b"")[1]) for m in w.broker.all("review")]
    found = Counter((m.partition, m.key, copy["dead_letter"], copy["attempts"]) for m, copy in copies)
    if found != due:
        lost, more = [[str(letter[1]) for letter in some] for some in (due - found, found - due)]
        w.broken(f"RTY-11: no copy on `review` of the dead letters of {lost}, one too many of {more}")


def _audit(f: Facts) -> None:
    w, partitions = f.w, range(f.w.pipeline.partitions)
    ends = {}
    for partition in partitions:
        heads = {m.key: w.decode(m.value or b"")[1] for m in w.broker.partitions("heads")[partition]}
        for head in heads.values():
            committed = w.broker.committed(w.pipeline.group_id(head["stage"]), partition)
            if committed != head["processed_through"] + 1:
                w.broken(f"law 2: {head['stage']} {partition} committed {committed}, its head says otherwise: {head}")
            ends[Chain("sim", head["stage"], partition)] = End(head["counter"], head["chain"], committed)
    blocks = [(m.offset, m.value or b"") for m in w.broker.all("audit")]
    result = verify(blocks, ends=ends)
    if result.findings or result.open_tails:
        w.broken(f"audit: {[str(finding) for finding in result.findings[:3]]} {result.summary()}")
    for partition in partitions:
        _audit_of_validate(f, partition)
        _audit_of_batch(f, partition)
    _audit_of_dispatch(f)


def _audit_of_validate(f: Facts, partition: int) -> None:
    """One entry for each record, in the order of the log."""
    got = [raw for _, _, raw in f.entries["validate", partition]]
    wanted = sorted(raw for raw in f.answers if raw.partition == partition)
    if got != wanted:
        f.w.broken(f"audit: validate {partition} noted {got}, must have noted {wanted}")


def _audit_of_batch(f: Facts, partition: int) -> None:
    """What was decided of each message of `validated` is what the rules say, read once from the beginning."""
    w, said = f.w, []
    for m in w.broker.partitions("validated")[partition]:
        if ("validated", partition, m.offset) not in f.condemned:
            said.append(Said(m.offset, *w.decode(m.value or b"")))
    wanted = decisions(said, w.pipeline.on_conflict, int(w.pipeline.keep * 1000))
    got = [(action, raw) for action, _, raw in f.entries["batch", partition] if action != "REJECT"]
    for n, (one, other) in enumerate(zip(got, wanted, strict=False)):
        if one != other:
            w.broken(f"audit: batch {partition}, entry {n} is {one}, the rules say {other}")
    if len(got) != len(wanted):
        w.broken(f"audit: batch {partition} noted {len(got)} decisions, the rules make {len(wanted)}")


def _audit_of_dispatch(f: Facts) -> None:
    got: Counter[tuple[str, RawPosition]] = Counter()
    for partition in range(f.w.pipeline.partitions):
        entries = f.entries["dispatch", partition]
        own = f.w.pipeline.raw_topic
        got.update((action, raw) for action, _, raw in entries if action in ("DELIVER", "DEAD") and raw.topic == own)
    wanted: Counter[tuple[str, RawPosition]] = Counter()
    for raw, answers in f.answers.items():
        for answer in answers:
            if answer.kind == "delivered":
                wanted["DELIVER", raw] += 1
            elif answer.stage == "dispatch" and answer.message["raw_topic"] == f.w.pipeline.raw_topic:
                wanted["DEAD", raw] += 1
    if got != wanted:
        f.w.broken(f"audit: dispatch noted {got - wanted} too many, {wanted - got} too few")
