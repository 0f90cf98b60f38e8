"""`waybill master ls|set|rm|load`: the list of authorised trading partners, which pipelines with `dscsa` judge by."""

from __future__ import annotations

import csv
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waybill.context import Brokers, Json, find_brokers, who
from waybill.control_topic import write_control
from waybill.listing import noun
from waybill.output import Code, Fault, count, emit, finish, line, say, utc
from waybill.tables import table

if TYPE_CHECKING:
    from streams.validate.authorised import TradingPartner, TradingPartners

COLUMNS = ("gln", "name", "licence", "from", "until")
"""Of a file that `load` takes; `gln` alone must be there."""

Gln = Annotated[str, typer.Argument(metavar="GLN", help="13 digits, the last one the check digit")]
Reason = Annotated[str, typer.Option(help="why; kept with the row")]
Actor = Annotated[str | None, typer.Option("--by", help="who says so; default: the user of this machine")]
Name = Annotated[str | None, typer.Option(help="of the company")]
Licence = Annotated[str | None, typer.Option(help="number of its licence or registration (DSCSA 581(2))")]
From = Annotated[str | None, typer.Option("--from", help="first day of the licence, YYYY-MM-DD; `ever`: since ever")]
Until = Annotated[str | None, typer.Option(help="last day of the licence; `ever`: without end")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = noun("Authorised trading partners.")
    group.command("ls")(ls)
    group.command("set")(set_)
    group.command("rm")(rm)
    group.command("load")(load)
    app.add_typer(group, name="master")


def ls(
    gln: Annotated[str | None, typer.Argument(metavar="GLN", help="this one only, with every row it ever had")] = None,
    brokers: Brokers = None,
    json: Json = False,
) -> None:
    """List trading partners: licence, its days, who wrote the row and when it was taken in."""
    partners = read_partners(find_brokers(brokers))
    history = partners.history()
    found = history.get(gln, []) if gln else [rows[-1] for _, rows in sorted(history.items())]
    rows = [_row(one) for one in found]
    if json:
        for row in rows:
            emit(row)
    else:
        columns = ("gln", "authorised", "name", "licence", "from", "until", "version", "by", "at", "reason")
        cells = [["" if row[column] is None else row[column] for column in columns] for row in rows]
        table(columns, cells, wrap=("name", "reason"), less=("version", "at", "by"))
    say(count(len(rows), "row" if gln else "trading partner"))
    finish(Code.FINE)


def set_(
    gln: Gln, reason: Reason, name: Name = None, licence: Licence = None, since: From = None, until: Until = None,
    by: Actor = None, brokers: Brokers = None, json: Json = False,
) -> None:  # fmt: skip
    """Put a trading partner on the list, or change its row; what is not named stays as it was.

    Counts for what is taken in afterwards: records that were refused before must be published again (`waybill dlq
    show` gives them).
    """
    cluster = find_brokers(brokers)
    partners = read_partners(cluster)
    said = {"gln": gln, "name": name, "licence": licence, "from": since, "until": until}
    _write(cluster, partners, [_changed(partners, said)], reason, by, json)


def rm(gln: Gln, reason: Reason, by: Actor = None, brokers: Brokers = None, json: Json = False) -> None:
    """Take a trading partner off the list; its rows stay to be read. Counts for what is taken in afterwards."""
    cluster = find_brokers(brokers)
    partners = read_partners(cluster)
    before = partners.newest(gln)
    if before is None:
        raise Fault(f"{gln} was never on the list: `waybill master ls` shows who is")
    _write(cluster, partners, [before._replace(authorised=False)], reason, by, json)


def load(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help=f"columns {', '.join(COLUMNS)}; the first is needed")
    ],
    reason: Reason,
    by: Actor = None,
    brokers: Brokers = None,
    json: Json = False,
) -> None:
    """Set the row of each trading partner in a file, or none where a line is wrong. Those not in it stay."""
    cluster = find_brokers(brokers)
    partners = read_partners(cluster)
    _write(cluster, partners, [_changed(partners, said, where) for where, said in _lines(file)], reason, by, json)


def read_partners(brokers: str) -> TradingPartners:
    """The rows that a cluster's control topic holds; none where there is no such topic."""
    from schemas.codec import SingleObjectCodec, WireError
    from streams.validate.authorised import TradingPartners, decode
    from topology.model import CONTROL_TOPIC
    from waybill.reader import Reader

    codec, partners = SingleObjectCodec(), TradingPartners()
    with Reader(brokers) as reader:
        for message in reader.all(CONTROL_TOPIC):
            try:
                row = decode(codec, message.value or b"")
            except WireError:  # not ours; a worker says so in its log
                continue
            if row is not None:
                partners.learn(row, message.timestamp)
    return partners


def _lines(file: Path) -> list[tuple[str, dict[str, str | None]]]:
    found: list[tuple[str, dict[str, str | None]]] = []
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            names = reader.fieldnames or []
            if "gln" not in names or (stray := [name for name in names if name not in COLUMNS]):
                wrong = f"no column {stray[0]!r}" if "gln" in names else "there is no column gln"
                raise Fault(f"{file}: {wrong}; allowed: {', '.join(COLUMNS)}")
            for row in reader:
                where = f"{file}:{reader.line_num}: "
                if None in row:
                    raise Fault(f"{where}more values than there are columns")
                found.append((where, {name: text or None for name, text in row.items()}))
    except (OSError, UnicodeError, csv.Error) as wrong:
        raise Fault(f"{file}: {wrong}") from wrong
    seen: set[str | None] = set()
    for where, said in found:
        if said["gln"] in seen:
            raise Fault(f"{where}{said['gln']} stands in the file twice")
        seen.add(said["gln"])
    return found


def _changed(partners: TradingPartners, said: dict[str, str | None], where: str = "") -> TradingPartner:
    """The row in force, authorised, with what is said anew."""
    from schemas.gs1.characters import has_check_digit, is_digits
    from streams.validate.authorised import TradingPartner

    gln = said["gln"] or ""
    if len(gln) != 13 or not is_digits(gln) or not has_check_digit(gln):
        raise Fault(f"{where}{gln!r} is no GLN: 13 digits, the last one the check digit")
    row = partners.newest(gln) or TradingPartner(gln, 0, True, "", "", "", "", "", "", 0)
    since, until = (_day(said.get(field), kept, where) for field, kept in
                    (("from", row.licensed_from), ("until", row.licensed_until)))  # fmt: skip
    if since and until and until < since:
        raise Fault(f"{where}the licence ends, {until}, before it begins, {since}")
    name, licence = said.get("name"), said.get("licence")
    return row._replace(
        authorised=True, name=row.name if name is None else name, licence=row.licence if licence is None else licence,
        licensed_from=since, licensed_until=until,
    )  # fmt: skip


def _day(said: str | None, kept: str, where: str) -> str:
    if said is None:
        return kept
    if said == "ever":
        return ""
    try:
        return date.fromisoformat(said).isoformat()
    except ValueError:
        raise Fault(f"{where}{said!r} is no day: YYYY-MM-DD, or `ever`") from None


def _write(
    brokers: str, partners: TradingPartners, rows: list[TradingPartner], reason: str, by: str | None, json: bool
) -> None:
    from schemas.codec import SingleObjectCodec
    from streams.validate.authorised import encode, key

    if not reason.strip():
        raise Fault("--reason is empty: say why, for whoever asks who was authorised when")
    codec, now = SingleObjectCodec(), int(time.time() * 1000)
    changed = []
    for row in rows:
        before = partners.newest(row.gln)
        if row != before:
            version = before.version + 1 if before else 1
            changed.append(row._replace(version=version, actor=who(by), reason=reason, at=now))
    write_control(brokers, [(key(row), encode(codec, row)) for row in changed], "`waybill master ls`")
    for row in changed:
        if json:
            emit(_row(row))
        else:
            line(f"{row.gln}\t{'authorised' if row.authorised else 'withdrawn'}\tversion {row.version}")
    say(f"{count(len(changed), 'row')} written, {len(rows) - len(changed)} as they were")
    finish(Code.FINE)


def _row(row: TradingPartner) -> dict[str, Any]:
    return {
        "gln": row.gln, "authorised": row.authorised, "name": row.name or None, "licence": row.licence or None,
        "from": row.licensed_from or None, "until": row.licensed_until or None, "version": row.version,
        "by": row.actor, "at": utc(row.at), "reason": row.reason,
    }  # fmt: skip
