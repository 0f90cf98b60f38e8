"""Owns how partners are told from outside a worker: what `delivery`, the control topic and the YAML say of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from schemas.codec import SingleObjectCodec, WireError
from schemas.delivery import UNSETTLED, Row
from streams.dispatch.allowance import Allowance
from streams.dispatch.attempts import Terms, deadline, taken_over
from streams.dispatch.gate import Gate
from streams.dispatch.orders import Orders, decode
from topology.lanes import lanes_of
from topology.model import CONTROL_TOPIC
from waybill.life import transmission
from waybill.output import utc

if TYPE_CHECKING:
    from topology.model import Pipeline
    from waybill.reader import Reader

Rows = Iterable[Mapping[str, Any]]


def read_orders(reader: Reader) -> Orders:
    """The orders that a cluster's control topic holds; none where there is no such topic."""
    codec, orders = SingleObjectCodec(), Orders()
    for message in reader.all(CONTROL_TOPIC):
        try:
            order = decode(codec, message.value or b"")
        except WireError:  # not ours; a worker says so in its log
            continue
        if order is not None:
            orders.learn(order)
    return orders


def read_standings(reader: Reader, pipelines: Iterable[Pipeline], now: int) -> list[dict[str, Any]]:
    """Every partner of some pipelines, lane by lane, as `standings` tells it. now: ms since epoch."""
    from waybill.reader import Decoder

    orders = read_orders(reader)
    found = []
    for pipeline in pipelines:
        for lane in lanes_of(pipeline).values():
            rows = Decoder(lane).delivery(reader.table(lane.topic("delivery")).values())
            told = standings(pipeline, rows.batches, rows.partners, orders, now)
            found += [{**row, "pipeline": lane.pipeline} for row in told]
    return found


def held_up(row: Mapping[str, Any]) -> str | None:
    """Why a partner's batches wait, in words; None where none does, or nothing but their turn is waited for. row: of
    `standings`."""
    if not row["queue"]:
        return None
    if row["paused"]:
        return f"paused by command: {ordered(row)}"
    why = {
        "open": f"its breaker is open until {row['until']}",
        "half-open": "its breaker is half-open: the next attempt decides",
        "paused": f"it asked to be left alone until {row['until']}",
        "stopped": f"it does not let us in; asked again at {row['until']}",
    }.get(row["state"])
    return why and (f"{why}; last answer: {row['last_answer']}" if row["last_answer"] else why)


def ordered(row: Mapping[str, Any]) -> str:
    """Since when a paused partner is, by whom, and why. row: of `standings`."""
    order = row["order"]
    return f"since {order['at']} by {order['by']}: {order['reason']}"


def by_partner(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """Rows of `delivery` by whom they are for, in the order of their names."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["partner"], []).append(row)
    return dict(sorted(found.items()))


def ends(terms: Terms, row: Mapping[str, Any], now: int) -> int | None:
    """When an unsettled batch is given up, ms since epoch; None: never, or it is settled. row: of `delivery`."""
    return deadline(taken_over(Row(**row), now), terms) if row["state"] in UNSETTLED else None


def queue(name: str, rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    """What the rows of a partner's batches say, and what the partner said last."""
    last = max(rows, key=lambda row: row["last_attempt_at"], default=None)
    waits = [row["not_before"] for row in rows if row["state"] == "pending" and row["not_before"]]
    return {
        "partner": name,
        "batches": dict(sorted(Counter(transmission(row) for row in rows).items())),
        "records_in_flight": sum(row["count"] for row in rows if row["state"] in UNSETTLED),
        "next_attempt": utc(min(waits)) if waits else None,
        "last_answer": last["answer"] if last else None,
        "last_attempt_at": utc(last["last_attempt_at"] or None) if last else None,
    }


def standings(pipeline: Pipeline, rows: Rows, states: Rows, orders: Orders, now: int) -> list[dict[str, Any]]:
    """Every partner that a pipeline names or has batches for, as `partner ls` tells it; `states`: the rows of
    `delivery` about partners."""
    terms, batches, left_alone = Terms.of(pipeline), by_partner(rows), by_partner(states)
    found = []
    for name in sorted({*pipeline.partners, *batches}):
        of_partner = terms.partner(name)
        gate = Gate(name, of_partner, Allowance(of_partner))
        newest: Any = max(left_alone.get(name, ()), key=lambda row: row["at"], default=None)
        if newest is not None:
            gate.take_over(newest, now)
        alone = None if newest is None or newest["state"] == "well" else newest
        waiting = [row["recorded_at"] for row in batches.get(name, ()) if row["state"] in UNSETTLED]
        given_up = [at for row in batches.get(name, ()) if (at := ends(terms, row, now)) is not None]
        order = orders.newest(pipeline, name)
        found.append(
            {
                "pipeline": pipeline.pipeline,
                "kind": pipeline.partners[name].kind if name in pipeline.partners else None,
                "state": gate.state(now),
                "since": utc(alone["at"]) if alone else None,
                "until": utc(alone["until"]) if alone else None,
                "queue": len(waiting),
                "cap": gate.cap,
                "oldest_recorded_at": utc(min(waiting, default=None)),
                "oldest_age_s": max(0, now - min(waiting)) / 1000 if waiting else None,
                "first_deadline": utc(min(given_up, default=None)),
                "paused": bool(order and order.paused),
                "order": None if order is None else {"by": order.actor, "reason": order.reason, "at": utc(order.at)},
                **queue(name, batches.get(name, [])),
            }
        )
    return found
