"""Draws a pipeline: its topics, stages, tables, keys, batching and partners, as text or as a Mermaid graph. Pure."""

from __future__ import annotations

import re

from topology.lanes import lanes_of
from topology.model import EVENT_TOPICS, FEEDS, STANDARD, Pipeline
from topology.partner import KafkaPartner, ObjectStorePartner, Partner, PostgresPartner, SftpPartner
from topology.sections import Batching, PartnerRule

WIDTH = 100


def describe(pipeline: Pipeline) -> str:
    """The pipeline as text, at most 100 columns wide where its names allow it."""
    p = pipeline
    name = p.topic
    lines = [
        f"pipeline {p.pipeline}, version {p.version}   (application {p.application}"
        + (f", region {p.region})" if p.region else ")"),
        f"pack {p.pack}, profile {p.profile}"
        + (", or its feed's; " if p.options.get(FEEDS) else "; ")
        + f"{_count(p.partitions, 'partition')}, {_copies(p.replication)}; "
        + ("deterministic" if p.deterministic else "not deterministic"),
        "",
        f"  publishers ──► {p.raw_topic}   ({_raw(p)})",
        "      │",
        f"  [validate]   unpack, validate, identify      group {p.group_id('validate')}",
        f"      ├──► {name('dead-letter')}   refused records, with every finding",
        f"      ▼    key: {', '.join(p.partition_by)}",
        f"  {name('validated')} ◄────────────────────────────── releases, retains",
        "      │",
        f"  [batch]      duplicates, windows, freeze     group {p.group_id('batch')}",
        f"      ├──► {name('sent')}   duplicates",
        f"      ├──► {name('dead-letter')}   conflicts",
        f"      │    tables {', '.join(map(name, _batch_tables(p)))}",
        "      ▼    key: partner",
        f"  {name('batched')}",
        "      │",
        f"  [dispatch]   write ahead, send, settle       group {p.group_id('dispatch')}",
        f"      ├──► {name('sent')}   delivered; one ack per {p.acks}",
        f"      ├──► {name('dead-letter')}   refused by the partner, or attempts used up",
        *(
            [f"      ├──► {name('review')}   copies of those that an object store caused"]
            if "review" in drawn(p)
            else []
        ),
        f"      ├──► {name('validated')}   releases and retains",
        f"      │    table {name('delivery')}",
        "      ▼",
        *_partners(p),
        "",
        f"  every stage also writes {name('audit')} and table {name('heads')}",
        f"  nothing is written to {' and '.join(map(name, unwritten(p)))}",
        "",
        *_facts(p),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def unwritten(p: Pipeline) -> tuple[str, ...]:
    """Topics that the pipeline has and never writes to: `review` holds what object stores did not take."""
    stores = any(isinstance(partner, ObjectStorePartner) for partner in p.partners.values())
    return ("parked",) if stores else ("review", "parked")


def drawn(p: Pipeline) -> tuple[str, ...]:
    """The topics of a picture, by their short names."""
    return tuple(short for short in EVENT_TOPICS if short not in unwritten(p))


def _batch_tables(p: Pipeline) -> tuple[str, ...]:
    return ("idempotency", "windows") if p.items is None else ("idempotency", "windows", "items", "waiting")


def _raw(p: Pipeline) -> str:
    kept = "kept for ever" if p.raw.retention is None else f"kept {_seconds(p.raw.retention)}"
    time = (
        "broker time"
        if p.raw.timestamps == "log-append"
        else f"publishers' time, at most {_seconds(p.raw.max_ahead)} ahead"
    )
    return f"{time}, {kept}, messages to {_bytes(p.raw.max_message_bytes)}"


def _partners(p: Pipeline) -> list[str]:
    lines = []
    for name in p.partner_names:
        lines.append(f"  ({name})  {_partner(p.partners.get(name))}")
        if isinstance(p.partner, PartnerRule):
            values = sorted(value for value, partner in p.partner.map.items() if partner == name)
            values += ["every other value"] if name == p.partner.default else []
            lines.append(f"      for {p.partner.by}: {', '.join(values)}")
    return lines


def _partner(partner: Partner | None) -> str:
    """Where a partner is, and its times."""
    if partner is None:
        return "not declared"
    if isinstance(partner, KafkaPartner):
        kept = f"looked for {_seconds(partner.key_retention)} back"
    elif partner.key_retention is None:
        kept = "keys kept for ever"
    else:
        kept = f"keys kept {_seconds(partner.key_retention)}"
    ends = "" if partner.deadline is None else f", given up after {_seconds(partner.deadline)}"
    return f"{place_of(partner)}, time-out {_seconds(partner.timeout)}, {kept}{ends}"


def place_of(partner: Partner) -> str:
    """Where a partner is, for people. Options and headers are left out: they may hold secrets; so may a URL's user part
    and query."""
    if isinstance(partner, KafkaPartner):
        return f"topic {partner.topic} at {partner.brokers}"
    where = re.sub(r"//[^/@]*@", "//…@", partner.url.split("?")[0])
    if isinstance(partner, ObjectStorePartner):
        return f"object store {where}, prefix {partner.prefix}"
    if isinstance(partner, PostgresPartner):
        return f"table {partner.table} of {where}"
    if isinstance(partner, SftpPartner):
        return f"{where}, prefix {partner.prefix}"
    return f"{partner.method} {where}"


def _facts(p: Pipeline) -> list[str]:
    conflict = "refused as conflict" if p.on_conflict == "conflict" else f"newer {p.ordering_by} replaces older"
    order = "order kept in each" if p.ordering == "group" else "no order kept between batches"
    facts = [
        ("idempotency", f"{', '.join(p.idempotency)}; known for {_seconds(p.keep)}; other content: {conflict}"),
        ("group", f"{', '.join(p.group_by) or 'all records'}, and event date; {order}"),
        ("batch", _batching(p.batching)),
        ("retry", _retry(p)),
        ("chunk", f"{p.chunk.records:,} messages or {_bytes(p.chunk.bytes)}, cut after {_seconds(p.chunk.seconds)}"),
        ("store", f"{p.store}; wire format {'Confluent, with a registry' if p.registry else 'Avro single object'}"),
    ]  # fmt: skip
    if p.items is not None:
        each = f"each {p.items.domain} has" if p.items.domain else "the pipeline has"
        wait = f"; what comes too early waits {_seconds(p.items.wait)}" if p.items.wait else ""
        facts.insert(1, ("items", f"state rules; {each} a history of its own{wait}"))
    if len(p.lanes) > 1:
        facts.insert(0, ("lanes", _lanes(p)))
    return [f"  {name:<12} {fact}" for name, fact in facts]


def _lanes(p: Pipeline) -> str:
    others = [f"{lane} ({one.raw_topic}, {one.topic('validated')}, …)" for lane, one in lanes_of(p).items()
              if lane != STANDARD]  # fmt: skip
    return f"{STANDARD} is drawn; the same for {', '.join(others)}"


def _retry(p: Pipeline) -> str:
    counted = _count(p.retry.attempts, "attempt")
    return f"backoff {p.retry.backoff}, {counted}; {p.retry.unknown_attempts} more while the outcome is unknown"


def _batching(b: Batching) -> str:
    reread = ""
    if b.max_reread:
        reread = f", or {b.max_reread:,} records or {_bytes(b.max_reread_bytes)} to read again"
    return f"{_count(b.max_records, 'record')}, {_bytes(b.max_bytes)} or {_seconds(b.linger)} of stream time{reread}"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _copies(replication: int) -> str:
    return "1 copy" if replication == 1 else f"{replication} copies"


def _bytes(number: int) -> str:
    for size, unit in ((2**20, "MiB"), (2**10, "KiB")):
        if number >= size:
            return f"{number / size:g} {unit}"
    return f"{number} bytes"


def _seconds(number: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if number >= 2 * size and number % size == 0:
            return f"{number / size:g} {unit}"
    return f"{number:g} s"


def describe_mermaid(pipeline: Pipeline) -> str:
    """The same graph for Mermaid (flowchart); lanes side by side, their partners in common."""
    partners = [f'  partner_{place}(("{name}"))' for place, name in enumerate(pipeline.partner_names)]
    lanes = lanes_of(pipeline)
    if len(lanes) == 1:
        return "\n".join(["flowchart TD", *_nodes(pipeline), *partners, *_arrows(pipeline)]) + "\n"
    lines = ["flowchart TD"]
    for lane, one in lanes.items():
        lines += [f"  subgraph {lane}", *_nodes(one, f"{lane}_"), "  end"]
    lines += partners
    for lane, one in lanes.items():
        lines += _arrows(one, f"{lane}_")
    return "\n".join(lines) + "\n"


def _nodes(p: Pipeline, of: str = "") -> list[str]:
    """Topics, tables and stages; `of` begins their ids."""
    lines = [f'  {of}raw[/"{p.raw_topic}"/]']
    lines += [f'  {of}{short.replace("-", "_")}[/"{p.topic(short)}"/]' for short in drawn(p)]
    lines += [f'  {of}{short}[("{p.topic(short)}")]' for short in (*_batch_tables(p), "delivery", "heads")]
    return lines + [f'  {of}stage_{stage}["{stage}"]' for stage in ("validate", "batch", "dispatch")]


def _arrows(p: Pipeline, of: str = "") -> list[str]:
    validate, batch, dispatch = (f"{of}stage_{stage}" for stage in ("validate", "batch", "dispatch"))
    lines = [
        f"  {of}raw --> {validate}",
        f'  {validate} -- "key: {", ".join(p.partition_by)}" --> {of}validated',
        f"  {validate} -- refused --> {of}dead_letter",
        f"  {of}validated --> {batch}",
        f'  {batch} -- "key: partner" --> {of}batched',
        f"  {batch} -- duplicates --> {of}sent",
        f"  {batch} -- conflicts --> {of}dead_letter",
        *(f"  {batch} <--> {of}{short}" for short in _batch_tables(p)),
        f"  {of}batched --> {dispatch}",
        f"  {dispatch} <--> {of}delivery",
        f"  {dispatch} -- delivered --> {of}sent",
        f"  {dispatch} -- refused --> {of}dead_letter",
        *([f'  {dispatch} -- "an object store failed" --> {of}review'] if "review" in drawn(p) else []),
        f'  {dispatch} -- "releases, retains" --> {of}validated',
    ]
    lines += [f"  {dispatch} <--> partner_{place}" for place in range(len(p.partner_names))]
    return lines + [
        f"  {stage} -.-> {of}{short}" for stage in (validate, batch, dispatch) for short in ("audit", "heads")
    ]
