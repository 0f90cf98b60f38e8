"""Berlinger Fridge-tag and Q-tag text exports: their layout, line by line.

An export is a head (`Device:` … `Conf:`), then a history of days (`Hist:`) or a result (`Res:`), perhaps markers and
logged data, and a certificate with a signature. Every logged row and every day of history is a record, and so is the
device's own report. Nesting is by indentation; a line holds `Key: value` pairs. The signature covers an undocumented
range and is not checked, but it stands last: an export without one was cut off, nobody knows where, and is refused as a
whole, so that what is left of its last day or row does not take the place of the whole one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from schemas import errors
from schemas.errors import Finding
from schemas.pack import Record
from schemas.packs.cold_chain import codes
from schemas.packs.cold_chain.device import daily_summary, device_report
from schemas.packs.cold_chain.judge import Observation, Rules, judge
from schemas.packs.cold_chain.options import Source
from schemas.packs.cold_chain.stated import NO_VALUE, Stated, device_rule
from schemas.packs.jsontext import BOM, shorten, text_findings

_SECTION = re.compile(r"([A-Z][A-Za-z ]*):(.*)")
_PAIRS = re.compile(r", (?=[A-Za-z][A-Za-z0-9 ]*:(?: |,|$))")
_DAY = re.compile(r" \d+:\s*")
_COLUMNS = ["", "yyyy-MM-dd hh:mm", "T", "Out of limits"]
_BODY = {"Hist", "Res", "Marker", "Data", "Cert", "Sig Cert", "Sig"}


class Part(NamedTuple):
    """One record of an export: what kind, and its lines; `before` and `after` make them an export of their own."""

    kind: str
    lines: list[bytes]
    before: bytes
    after: bytes

    @property
    def original(self) -> bytes:
        """Itself as an export of its own."""
        return self.before + _joined(self.lines) + self.after


class Export(NamedTuple):
    """An export, taken apart."""

    head: Stated
    created: str | None
    """`TS Report Creation`, as stated."""
    parts: list[Part]
    notes: Mapping[str, int]


def take_apart(data: bytes) -> Export | Finding:
    """The parts of an export in the order of the file, or why it cannot be read as a whole."""
    lines = data.removeprefix(BOM).split(b"\n")
    if not lines[-1]:
        lines.pop()
    sections: dict[str, list[bytes]] = {}
    counts = {"header_lines": 0, "history_lines": 0, "report_lines": 0, "marker_rows": 0, "certificate_lines": 0}
    blank, name = 0, "head"
    for place, line in enumerate(lines):
        if not line.strip():
            blank += 1
            continue
        if line[:1] not in b" \t":
            try:
                match = _SECTION.match(line.decode())
            except UnicodeDecodeError:
                return Finding(errors.NOT_UTF8, "", f"line {place + 1} is not UTF-8")
            if match is None:
                return Finding(codes.MALFORMED_EXPORT, "", f"line {place + 1} begins no section")
            name = match[1] if match[1] in _BODY else "head"
            if name != "head" and name in sections:
                return Finding(codes.MALFORMED_EXPORT, "", f"line {place + 1} begins {name} a second time")
        sections.setdefault(name, []).append(line)

    if "Sig" not in sections:
        message = "the export ends without its signature (Sig): it was cut off; export it again"
        return Finding(codes.MALFORMED_EXPORT, "", message)
    signature = _joined(sections["Sig"])
    head_lines = sections.get("head", [])
    head = tree(head_lines)
    if isinstance(head, Finding):
        return head
    head_bytes = _joined(head_lines)
    counts["header_lines"] += len(head_lines)
    parts: list[Part] = []

    history = _history(sections.get("Hist", []))
    created = None
    if history is not None:
        top, days = history
        tops = tree(top[1:])
        if isinstance(tops, Finding):
            return tops
        stated = tops.get("TS Report Creation")
        created = stated if isinstance(stated, str) else None
        before = head_bytes + _joined(top)
        counts["header_lines"] += len(top)
        for day in days:
            counts["history_lines"] += len(day)
            parts.append(Part("day", day, before, signature))
    if result := sections.get("Res"):
        counts["report_lines"] += len(result)
        parts.append(Part("report", result, head_bytes, signature))
    counts["header_lines"] += min(len(sections.get("Marker", [])), 2)
    counts["marker_rows"] += max(len(sections.get("Marker", [])) - 2, 0)
    if logged := sections.get("Data"):
        if len(logged) > 1 and [cell.strip() for cell in logged[1].decode("utf-8", "replace").split("\t")] != _COLUMNS:
            return Finding(codes.MALFORMED_EXPORT, "", f"the data's columns are not {', '.join(_COLUMNS[1:])}")
        counts["header_lines"] += min(len(logged), 2)
        before = head_bytes + _joined(logged[:2])
        parts += [Part("row", [line], before, signature) for line in logged[2:]]
    counts["certificate_lines"] += sum(len(sections.get(section, [])) for section in ("Cert", "Sig Cert", "Sig"))
    return Export(head, created, parts, {**counts, "blank_lines": blank, "lines": len(lines)})


def _joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _history(lines: list[bytes]) -> tuple[list[bytes], list[list[bytes]]] | None:
    """The lines before the first day, and the lines of each day."""
    if not lines:
        return None
    top: list[bytes] = []
    days: list[list[bytes]] = []
    for line in lines:
        if _DAY.fullmatch(line.decode("utf-8", "replace")):
            days.append([line])
        elif days:
            days[-1].append(line)
        else:
            top.append(line)
    return top, days


def tree(lines: list[bytes]) -> Stated | Finding:
    """Indented `Key: value` lines as nested texts. Where a key comes again, its line goes to a list under `more`."""
    root: dict[str, Any] = {}
    stack: list[tuple[int, dict[str, Any]]] = [(-1, root)]
    opened: list[tuple[dict[str, Any], str]] = []
    for line in lines:
        try:
            text = line.decode().rstrip()
        except UnicodeDecodeError as error:
            return Finding(errors.NOT_UTF8, "", f"not UTF-8 in the line {line[: error.start]!a}")
        for finding in text_findings(text, ""):
            return finding
        body = text.lstrip(" ")
        indent = len(text) - len(body)
        while stack[-1][0] >= indent:
            stack.pop()
        if len(stack) > 8:
            return Finding(errors.NESTED_TOO_DEEP, "", f"too many levels at {shorten(body)}")
        node = stack[-1][1]
        texts = [body] if body.startswith("User String") else _PAIRS.split(body)
        pairs = [(key, value.strip()) for key, colon, value in (text.partition(":") for text in texts) if colon]
        if len(pairs) != len(texts) or not all(key.isascii() and key.isprintable() for key, _ in pairs):
            return Finding(codes.MALFORMED_EXPORT, "", f"no `Key: value` pairs: {shorten(body)}")
        if any(key in node for key, _ in pairs):
            again: dict[str, Any] = {}
            node.setdefault("more", []).append(again)
            node = again
        node.update(pairs)
        if len(pairs) == 1 and not pairs[0][1]:
            # A key without a value may open a block: it becomes one when a deeper line follows.
            child: dict[str, Any] = {}
            node[pairs[0][0]] = child
            opened.append((node, pairs[0][0]))
            stack.append((indent, child))
    for node, key in opened:
        if node.get(key) == {}:
            node[key] = ""
    return root


def read_part(part: Part, export: Export, rules: Rules, source: Source) -> Record | tuple[Finding, ...]:
    """The record of one part, or every finding."""
    conf = export.head.get("Conf")
    conf = {**(conf if isinstance(conf, dict) else {}), "Device": export.head.get("Device", "")}
    if part.kind == "row":
        return _row(part.lines[0], conf, rules, source)
    stated = tree(part.lines[1:])
    if isinstance(stated, Finding):
        return (stated,)
    if part.kind == "day":
        return daily_summary(stated, conf, export.created, rules, source)
    return device_report(stated, conf, rules, source)


def _row(line: bytes, conf: Stated, rules: Rules, source: Source) -> Record | tuple[Finding, ...]:
    """One logged row: tab, local time, temperature or `--.-`, and `x` where the device holds it out of limits."""
    found: list[Finding] = []
    rule = device_rule(conf, rules, source, found)
    try:
        cells = line.decode().rstrip("\r").split("\t")
    except UnicodeDecodeError as error:
        return (Finding(errors.NOT_UTF8, "", f"byte {error.start} of the row is not UTF-8"),)
    if len(cells) != len(_COLUMNS) or cells[0].strip() or cells[3].strip() not in ("", "x"):
        message = "a row is tab, time, tab, temperature, tab, and x or nothing"
        return (Finding(codes.MALFORMED_EXPORT, "", message),)
    for text, path in ((cells[1], "timestamp"), (cells[2], "value")):
        found += text_findings(text, path)
    value = cells[2].strip()
    seen = Observation(
        sensor_id=rule.sensor_id,
        timestamp=cells[1],
        value=value,
        unit=rule.unit,
        utc_offset=rule.utc_offset,
        claim="excursion" if cells[3].strip() else "within_spec",
        interval=rule.logging_interval,
        fault="no_value" if value == NO_VALUE else None,
        value_field="value",
    )
    return judge(seen, rules, source, found)
