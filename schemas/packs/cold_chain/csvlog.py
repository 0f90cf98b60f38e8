"""CSV readings: HOBO exports, two-column files, and any table whose header names a time and a temperature.

A row is one line (no quoted line breaks). Every line is a header line, a record or refusal, an event row, or blank;
`notes` count all but the records. An event row says when something was done to the logger and measures nothing: a word
in one of its event columns, and nothing in any other but time and row number.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from typing import NamedTuple

from schemas import errors
from schemas.errors import Finding
from schemas.pack import Record
from schemas.packs.cold_chain import codes
from schemas.packs.cold_chain.judge import Observation, Rules, judge
from schemas.packs.cold_chain.options import Source
from schemas.packs.cold_chain.times import offset_text, parse_offset
from schemas.packs.jsontext import BOM, shorten, text_findings

HOBO_FORMAT = "%m/%d/%y %I:%M:%S %p"
"""The vendor's default date format, used for HOBO files unless the source rule names another."""

MAX_LINE = 8192
"""Bytes of one line. The widest export known has 400; a line of millions of cells would hold up the stream for minutes,
and every row that is refused is kept with its header."""

_COLUMNS = {
    "timestamp": "timestamp", "timestamp_utc": "timestamp_utc", "time": "timestamp", "datetime": "timestamp",
    "date time": "timestamp", "date_time": "timestamp",
    "temperature_c": "temperature_c", "value": "value", "temperature": "value", "temp": "value",
    "unit": "unit", "sensor_id": "sensor_id", "zone_id": "zone_id", "product": "product",
    "compliance_state": "compliance_state",
}  # fmt: skip
"""Header name (lower case) → what the column is."""

_HOBO_TIME = re.compile(r"Date Time(?:, GMT([+-]\d\d:?\d\d))?")
_HOBO_TEMP = re.compile(r"Temp, ?(°?[CFK])\b.*")
_HOBO_SERIAL = re.compile(r"(?:SEN|LGR) S/N: ?([^,()]+)")
_HOBO_EVENT = re.compile(r"[^,()]+ \(LGR S/N: ?[^,()]+\)")
"""An event happens to the logger. A channel, of humidity for example, has a unit, a sensor or a label: a comma."""

_BLANK_LINES = re.compile(rb"(?:[^\S\n]*+\n)*+")
_NUMBER = ("", "#")
"""Names of a column that numbers the rows."""


class Table(NamedTuple):
    """The header of a CSV, understood."""

    header: bytes
    """Its lines as sent, with their line ends, without blank ones: together with a row they are a submission of one
    record."""
    header_lines: int
    names: tuple[str, ...]
    columns: Mapping[str, int]
    """What a column is → its place; `value` or `temperature_c` is the temperature."""
    events: frozenset[int]
    sensor_id: str | None = None
    unit: str | None = None
    utc_offset: str | None = None
    timestamp_format: str | None = None
    findings: tuple[Finding, ...] = ()
    blank_lines: int = 0
    """Before and between the header lines."""
    end: int = 0
    """Where the rows begin."""


class Row(NamedTuple):
    """One line that is a record or refuses itself."""

    line: bytes
    cells: tuple[str, ...]
    findings: tuple[Finding, ...]


def find_header(data: bytes) -> Table | None:
    """The header within the first two lines that are not blank, None if they name no time and temperature."""
    position, blank = len(data) - len(data.removeprefix(BOM)), 0
    header = data[:position]
    for place in range(1, 3):
        start = _BLANK_LINES.match(data, position).end()  # type: ignore[union-attr]  # it matches nothing, too
        blank += data.count(b"\n", position, start)
        end = data.find(b"\n", start) + 1 or len(data)
        if end - start > MAX_LINE:
            return None
        header += data[start:end]
        cells = _cells(data[start:end])
        table = _hobo(cells) or _named(cells) if isinstance(cells, tuple) else None
        if table is not None:
            return table._replace(header=header, header_lines=place, blank_lines=blank, end=end)
        position = end
    return None


def _hobo(cells: tuple[str, ...]) -> Table | None:
    times = [(place, match) for place, name in enumerate(cells) if (match := _HOBO_TIME.fullmatch(name))]
    temps = [(place, match) for place, name in enumerate(cells) if (match := _HOBO_TEMP.fullmatch(name))]
    if not times or not temps:
        return None
    findings = []
    if len(times) > 1 or len(temps) > 1:
        message = "more than one time or temperature column: export one sensor to a file"
        findings.append(Finding(errors.MALFORMED_CSV, "", message))
    offset = times[0][1][1]
    try:
        stated = None if offset is None else offset_text(parse_offset(offset))
    except ValueError as error:
        stated = None
        findings.append(Finding(errors.BAD_FORMAT, "utc_offset", str(error)))
    taken = {times[0][0], temps[0][0]}
    return Table(
        header=b"",
        header_lines=0,
        names=cells,
        columns={"timestamp": times[0][0], "value": temps[0][0]},
        events=frozenset(p for p, name in enumerate(cells) if p not in taken and _HOBO_EVENT.fullmatch(name)),
        # The sensor's own serial number stands last; a logger without one is its own sensor.
        sensor_id=(_HOBO_SERIAL.findall(temps[0][1][0]) or [None])[-1],
        unit=temps[0][1][1],
        utc_offset=stated,
        timestamp_format=HOBO_FORMAT,
        findings=tuple(findings),
    )


def _named(cells: tuple[str, ...]) -> Table | None:
    kinds = [_COLUMNS.get(cell.strip().lower()) for cell in cells]
    columns = {kind: place for place, kind in enumerate(kinds) if kind is not None}
    if not ({"timestamp", "timestamp_utc"} & columns.keys() and {"value", "temperature_c"} & columns.keys()):
        return None
    findings = []
    if len(columns) != sum(kind is not None for kind in kinds) or {"timestamp", "timestamp_utc"} <= columns.keys():
        findings.append(Finding(errors.MALFORMED_CSV, "", "the header names a column twice"))
    if "temperature_c" in columns and ({"value", "unit"} & columns.keys()):
        message = "the header names temperature_c beside temperature or unit"
        findings.append(Finding(codes.CONTRADICTORY_FIELDS, "temperature_c", message))
    return Table(b"", 0, cells, columns, frozenset(), findings=tuple(findings))


def _cells(line: bytes) -> tuple[str, ...] | Finding:
    """The cells of one line, or why it has none."""
    if len(line) > MAX_LINE:
        return Finding(errors.MALFORMED_CSV, "", f"a row of {len(line)} bytes; {MAX_LINE} are allowed")
    try:
        text = line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        return Finding(errors.NOT_UTF8, "", f"byte {error.start} of the row is not UTF-8")
    if "\0" in text:
        return Finding(errors.NUL_CHARACTER, "", "a NUL character in the row")
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        return Finding(errors.MALFORMED_CSV, "", f"not a CSV row: {error}")
    return tuple(rows[0]) if rows else ()


def rows(data: bytes, table: Table) -> tuple[list[Row], dict[str, int]]:
    """Every row that is a record or refuses itself, and what the other lines are."""
    found: list[Row] = []
    notes = {"header_lines": table.header_lines, "event_rows": 0, "blank_lines": table.blank_lines}
    lines = data[table.end :].split(b"\n")
    if not lines[-1]:
        lines.pop()
    for line in lines:
        if not line.strip():
            notes["blank_lines"] += 1
            continue
        cells = _cells(line)
        if isinstance(cells, Finding):
            found.append(Row(line, (), (cells,)))
        elif len(cells) != len(table.names):
            message = f"{len(cells)} cells under a header of {len(table.names)}"
            found.append(Row(line, cells, (Finding(errors.MALFORMED_CSV, "", message),)))
        elif _is_event(cells, table):
            notes["event_rows"] += 1
        else:
            found.append(Row(line, cells, ()))
    notes["lines"] = table.header_lines + table.blank_lines + len(lines)
    return found, notes


def _is_event(cells: tuple[str, ...], table: Table) -> bool:
    filled = {place for place, cell in enumerate(cells) if cell.strip() and table.names[place].strip() not in _NUMBER}
    events = filled & table.events
    return bool(events) and filled - events <= {table.columns["timestamp"]} and all(_is_word(cells[p]) for p in events)


def _is_word(cell: str) -> bool:
    """HOBO writes `Logged`. A number is a measurement, whatever its column looks like."""
    return cell.strip().isalpha()


def read_row(row: Row, table: Table, rules: Rules, source: Source) -> Record | tuple[Finding, ...]:
    """The record of one row, or every finding."""
    found = list(row.findings) + list(table.findings)
    if row.findings:
        return tuple(found)
    stated: dict[str, str] = {}
    for kind, place in table.columns.items():
        text = row.cells[place].strip()
        if text:
            stated[kind] = text
            found += text_findings(text, kind)
    unknown = codes.UNKNOWN_FIELD_IGNORED if rules.profile == "lenient" else errors.UNKNOWN_FIELD
    found += _strangers(row, table, unknown)
    value_field = "temperature_c" if "temperature_c" in table.columns else "value"
    time_field = "timestamp_utc" if "timestamp_utc" in table.columns else "timestamp"
    value = stated.get(value_field)
    seen = Observation(
        sensor_id=stated.get("sensor_id", table.sensor_id),
        timestamp=stated.get(time_field),
        value=value,
        unit=stated.get("unit", table.unit),
        utc_offset=table.utc_offset,
        timestamp_format=source.timestamp_format or table.timestamp_format,
        zone_id=stated.get("zone_id"),
        claim=stated.get("compliance_state"),
        product=stated.get("product"),
        fault="no_value" if value == "--.-" else None,
        time_field=time_field,
        value_field=value_field,
    )
    return judge(seen, rules, source, found)


def _strangers(row: Row, table: Table, code: str) -> list[Finding]:
    """Columns that are neither fields, events nor the row number, and event columns where they hold no event."""
    known = set(table.columns.values())
    found = []
    for place, name in enumerate(table.names):
        path = f"column {place + 1}"
        if place in table.events:
            cell = row.cells[place].strip()
            if cell and not _is_word(cell):
                found.append(
                    Finding(
                        code,
                        path,
                        f"{shorten(cell)} is no event such as Logged, and no channel beside the temperature is read",
                    )
                )
        elif place not in known and name.strip() not in _NUMBER:
            found.append(Finding(code, path, f"the header's {shorten(name)} is no known column"))
    return found
