"""Who moves when: the moves of a history, drawn from its seed, and the quiet at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas.errors import UNPROCESSABLE
from schemas.messages import position_of, position_part
from schemas.pack import CANONICAL_TYPE
from streams.pipeline import STAGES
from tests.simulation.oracle import judge
from tests.simulation.world import CODEC, Broken, Process, Submission, World

PATIENCE = 500
"""Rounds without faults in which everything must have come to its answer."""
LAST = 40
"""Events that a failure shows."""


# ---- publishers --------------------------------------------------------------------------------------


def publish(w: World) -> None:
    """A submission of one record, or of several."""
    r, n = w.r, len(w.published)
    earlier = list(w.published.values())
    x = r.random()
    if x < 0.15 and earlier:
        return send(w, r.choice(earlier).lines)  # a publisher that repeats itself
    if x < 0.18:
        return send(w, [])
    if x < 0.22 and w.setting.stage_faults:
        return send(w, ["crash"] if r.random() < 0.3 else [line(w, n), "boom", line(w, n)][: r.randint(2, 3)])
    size = 1 if r.random() < 0.75 else r.randint(2, 9)
    return send(w, [line(w, n) for _ in range(size)])


def line(w: World, n: int) -> str:
    """One record: new, of a much used key, late, out of order, or bad."""
    r = w.r
    if r.random() < 0.08:
        return f"!bad {n}"
    hot = r.random() < 0.3
    number = r.randrange(3) if hot else n
    supersede = w.pipeline.on_conflict == "supersede"
    group = number % 2 if supersede or not hot else r.randrange(2)
    day = r.choice((1, 1, 1, 1, 0))
    order = max(0, n - r.choice((0, 0, 0, 1, 9))) // 2
    return f"k{number} g{group} {day} {order:04} {r.choice('ab')}"


def send(w: World, lines: list[str], after: Any = None) -> None:
    """The publisher's message on `raw`."""
    value = "\n".join(lines).encode()
    write(w, value, lines or [""], None, after)


def write(w: World, value: bytes, lines: list[str], content_type: str | None, after: Any) -> None:
    r = w.r
    partition = r.randrange(w.pipeline.partitions)
    stamp = None
    if w.pipeline.raw.timestamps == "create":
        stamp = w.now + r.choice((0, 0, -3_000, -40_000, 90_000))
    headers = () if content_type is None else (("content-type", content_type.encode()),)
    offset = w.broker.append("raw", partition, None, value, headers, stamp)
    w.published[partition, offset] = Submission(value, lines, after)
    w.note(f"published {partition}/{offset}: {lines}")


def publish_again(w: World) -> None:
    """A publisher has seen a dead letter, and sends the record again as it was, or corrected (BA8)."""
    letters = [m.value for m in w.broker.all("dead-letter") if m.value]
    if not letters:
        return None
    letter = w.decode(w.r.choice(letters))[1]
    position = position_of(letter)
    if position.topic != w.pipeline.raw_topic or letter["original"] is None or letter["stage"] != "dispatch":
        return None
    old = w.published[position.partition, position.offset].lines[position.index]
    known = not letter["outcome_unknown"] and letter["findings"][0]["code"] != UNPROCESSABLE
    seen = position if known else None
    if w.r.random() < 0.5:
        return write(w, letter["original"], [old], CANONICAL_TYPE, seen)
    return send(w, [old[:-1] + w.r.choice("cd")], seen)


def garble(w: World) -> None:
    """Somebody writes bytes on `validated` that nobody can read."""
    partition = w.r.randrange(w.pipeline.partitions)
    offset = w.broker.append("validated", partition, b"k", w.r.choice((b"no message", b"\xc3\x01 nor this one", b"")))
    w.garbled.add((partition, offset))
    w.note(f"garbled validated {partition}/{offset}")


# ---- processes ---------------------------------------------------------------------------------------


def some(w: World, busy: float = 0.0) -> Process | None:
    """A process that is not held up in the middle of something; `busy`: how likely only one that has work."""
    ready = [process for process in w.processes if not process.working]
    if w.r.random() < busy:
        ready = [process for process in ready if w.has_work(process)] or ready
    return w.r.choice(ready) if ready else None


def step(w: World) -> None:
    """One turn of one process. One that sleeps wakes now and then for one turn: a zombie."""
    process = some(w, busy=0.9)
    if process is not None and (not process.asleep or w.r.random() < 0.3):
        w.step(process)


def kill(w: World) -> None:
    """kill -9 of any process, one that is held up included. Mostly another one takes its place."""
    if not w.processes:
        return
    process = w.r.choice(w.processes)
    w.note(f"{process.name} is killed")
    w.kill(process)
    if w.r.random() < 0.6:
        w.start(process.stage_name, process.slot)


def sleep(w: World) -> None:
    """SIGSTOP beyond the session time-out: the group goes on without it."""
    if process := some(w):
        process.asleep = not process.asleep
        w.note(f"{process.name} {'falls asleep' if process.asleep else 'wakes'}")
        if process.asleep:
            w.broker.leave(process.log.group, process.log.member)


def expire(w: World) -> None:
    """A dead member's session runs out."""
    if w.ghosts:
        ghost = w.ghosts.pop(0)
        w.note(f"the group gives up on {ghost.member}")
        w.broker.leave(ghost.group, ghost.member)


def add(w: World) -> None:
    """One more worker for a stage, also in a slot whose former process sleeps."""
    stage = w.r.choice(STAGES)
    taken = {process.slot for process in w.of(stage) if not process.asleep}
    w.start(stage, next(slot for slot in range(20) if slot not in taken))


def rebalance(w: World) -> None:
    """A new generation; if it is planned, its members are asked first (DI1)."""
    stage = w.r.choice(STAGES)
    group = w.pipeline.group_id(stage)
    planned = w.r.random() < 0.5
    w.note(f"{'planned ' if planned else ''}rebalance of {stage}")
    for process in w.of(stage) if planned else []:
        if process.log.joined and not process.working and not process.dead and not process.asleep:
            w.guarded(process, lambda process=process: str(process.log.before_revoke() or "asked"))  # type: ignore[misc]
    w.broker.rebalance(group)


def stop(w: World) -> None:
    """A worker is stopped as operators do it; its slot may be filled again. Its open calls are waited for."""
    process = some(w)
    if process is None:
        return
    seconds = w.r.choice((0.0, 3.0, 20.0))

    def leave() -> str:
        process.runner.stop(seconds)
        process.runner.close()
        return "stopped"

    w.guarded(process, leave)
    w.kill(process)
    if w.r.random() < 0.6:
        w.start(process.stage_name, process.slot)


def control(w: World) -> None:
    """The control topic has been read to its end (DI5)."""
    for process in w.of("dispatch"):
        process.stage.may_send = True


def partner(w: World) -> None:
    """Something happens to a request."""
    w.partners.happen()


def clock(w: World) -> None:
    """Time passes."""
    w.now += w.r.choice((3_000, 3_000, 20_000, 20_000, 150_000) if w.depth == 0 else (100, 1000))


# ---- operators ---------------------------------------------------------------------------------------


def replay(w: World) -> None:
    """Somebody asks for a dead batch again (DI6), now and then twice with the same passport."""
    dead = {}
    for message in w.broker.all("delivery"):
        if message.value:
            name, row = w.decode(message.value)
            if name == "delivery":
                dead[row["batch_id"]] = row
    rows = [row for row in dead.values() if row["state"] == "dead"]
    if not rows:
        return
    row = w.r.choice(rows)
    place = row["batched_partition"], row["batched_offset"]
    stored = next(m for m in w.broker.partitions("batched")[place[0]] if m.offset == place[1])
    batch = w.decode(stored.value or b"")[1]
    held = batch["records"][row["first"] : row["first"] + row["count"]]
    members = [w.decode(data)[1] for data in held]
    offsets = {message.value: message.offset for message in w.broker.partitions("validated")[batch["partition"]]}
    asked = {
        "batch_id": row["batch_id"], "batched_partition": place[0], "batched_offset": place[1],
        "life": row["life"] + 1, "partner": batch["partner"],
        "group": batch["group"], "date": batch["date"], "first_recorded_at": batch["first_recorded_at"],
        "records": [
            {**position_part(position_of(m)), "key": m["key"], "digest": m["digest"], "ordering": m["ordering"],
             "offset": offsets[data]} for m, data in zip(members, held, strict=True)
        ],
        "passport": {"reason": "r", "approver": "a", "attempt": 1, "original_position": "x"},
    }  # fmt: skip
    w.note(f"replay of {row['batch_id'].hex()[:8]} for life {row['life'] + 1}")
    value = CODEC.encode("replay", asked)
    for _ in range(w.r.choice((1, 1, 2))):
        w.broker.append("validated", batch["partition"], members[0]["key"].encode(), value)


MOVES: dict[Callable[[World], None], float] = {
    step: 56, publish: 14, partner: 12, clock: 4, publish_again: 3, replay: 1.5, kill: 1, sleep: 1, expire: 2,
    add: 1, rebalance: 1.5, stop: 1, control: 3, garble: 0.3,
}  # fmt: skip
NAMES, WEIGHTS = list(MOVES), [sum(list(MOVES.values())[: n + 1]) for n in range(len(MOVES))]


def move(w: World) -> None:
    """One move of somebody."""
    w.now += w.r.choice((0, 0, 5, 300, 900))
    w.r.choices(NAMES, cum_weights=WEIGHTS)[0](w)


def quiesce(w: World) -> None:
    """Faults end; everything must come to its answer (liveness), and every window is closed."""
    w.calm = True
    w.note("faults end")
    while w.ghosts:
        expire(w)
    for process in w.processes:
        process.asleep = False
    for _ in range(PATIENCE):
        for stage in STAGES:
            if not w.of(stage):
                w.start(stage, 0)
        control(w)
        w.now += 4_000
        for process in [process for process in w.processes if w.has_work(process)] or list(w.processes):
            w.step(process)
        w.partners.settle()
        if settled(w) and all(drained(w, process) for process in w.of("batch")):
            return
    raise Broken(f"liveness: {unsettled(w)} after {PATIENCE} rounds without faults")


def settled(w: World) -> bool:
    """Whether nothing is left to do, open windows aside."""
    if w.partners.wire or any(process.runner.busy for process in w.of("dispatch")):
        return False
    return all(map(w.at_end, STAGES)) and not any(p.stage.unsettled for p in w.of("dispatch"))


def drained(w: World, process: Process) -> bool:
    result = w.guarded(process, lambda: process.runner.drain(ending=True).result)
    if result == "commit" and w.closed_at is None:
        w.closed_at = w.broker.end("validated", 0)
    return result == "idle"


def unsettled(w: World) -> str:
    """What is left to do, for a person."""
    behind = [stage for stage in STAGES if not w.at_end(stage)]
    return f"behind: {behind}, unsettled batches: {sum(p.stage.unsettled for p in w.of('dispatch'))}"


def run(seed: int) -> World:
    """One whole history. Raises Broken, with what a person needs to replay it."""
    w = World(seed, move)
    with w.virtual_time():
        try:
            for _ in range(w.setting.moves):
                move(w)
            quiesce(w)
            judge(w)
        except Broken as error:
            raise Broken(report(w, str(error))) from error
        except Exception as error:
            raise Broken(report(w, f"{type(error).__name__}: {error}")) from error
    return w


def report(w: World, what: str) -> str:
    """A failure as it is printed."""
    events = "\n".join(w.events[-LAST:])
    return (
        f"seed {w.seed}: {what}\n{w.setting}\nthe last events (ms, what):\n{events}\n"
        f"replay: WAYBILL_SEED={w.seed} pytest tests/simulation -k replay"
    )
