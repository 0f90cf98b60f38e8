"""What the documents show works: their Python runs, their commands exist, the files they name are there."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shlex
import sqlite3
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from schemas import errors
from schemas.canonical import canonical_json
from schemas.delivery import STATES
from schemas.errors import CODES, ROUTES, Reason
from streams.delivery.protocol import OutcomeKind
from streams.driver import AcceptingPartner, TopologyDriver
from streams.runtime import watchdog, worker
from streams.runtime.observe import Metrics
from tests.delivery.worlds import envelope
from topology.load import load_pipeline
from topology.reference import reference
from waybill.batch_result import BatchResult
from waybill.books import Tally
from waybill.life import transmission
from waybill.main import build
from waybill.output import Code

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^(?:\$ )?(?:\w+=\S+ )*(?:\.venv/bin/)?(waybill|make) (.*)$")
MENTION = re.compile(r"`((?:waybill|make) [^`]+)`")
PATH = re.compile(
    r"`((?:schemas|topology|streams|audit|waybill|tests|bench|docs)/[\w./-]+|[\w-]+\.(?:md|toml|lock|yml)|\.ci/run)`"
)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
ANCHOR = re.compile(r"\]\((?!https?:)([^)#]*\.md)?#([^)]+)\)")
RULE = re.compile(r"\b(?:VA|BA|DI|TX)\d\b")
REQUIREMENT = re.compile(r"\b(?:AUD|BAT|DEL|DLQ|DRL|FSM|IDM|ING|OBS|REC|RTY|VAL)-\d\d\b")
PACKAGES = ("accelerate", "audit", "bench", "chaos", "schemas", "streams", "topology", "waybill")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, *languages: str) -> list[tuple[int, str]]:
    """Line number and text of the fenced blocks in some languages."""
    text = page.read_text("utf-8")
    found = BLOCK.finditer(text)
    return [(text.count("\n", 0, m.start()) + 2, m[2]) for m in found if m[1] in languages]


def test_the_page_on_testing_runs_from_top_to_bottom() -> None:
    page = ROOT / "docs" / "testing-a-pipeline.md"
    parts = blocks(page, "python")
    assert len(parts) >= 5
    lines = [""] * page.read_text("utf-8").count("\n")
    for start, text in parts:  # at their own line numbers, so that a failure points into the page
        for number, line in enumerate(text.splitlines(), start - 1):
            lines[number] = line
    exec(compile("\n".join(lines), str(page), "exec"), {"__name__": "example"})


def test_the_sink_of_the_page_keeps_the_laws(tmp_path: Path) -> None:
    page = ROOT / "docs" / "sinks.md"
    [(_, text)] = blocks(page, "python")
    assert len(text.splitlines()) <= 42
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(compile(text, str(page), "exec"), namespace)

    async def work(path: Path) -> list[OutcomeKind]:
        sink = namespace["SqliteSink"](path)
        sent = [await sink.send(one) for one in (envelope(b"a"), envelope(b"a", attempt=2), envelope(b"b"))]
        await sink.close()
        return [outcome.kind for outcome in sent]

    kinds = asyncio.run(work(tmp_path / "batches"))
    assert kinds == [OutcomeKind.DELIVERED, OutcomeKind.DELIVERED, OutcomeKind.CONFLICT]
    assert asyncio.run(work(tmp_path / "no such folder" / "batches")) == [OutcomeKind.FAILED] * 3
    base = sqlite3.connect(tmp_path / "batches")
    assert base.execute("SELECT body FROM batches").fetchall() == [(b"a",)]
    base.close()


def commands(page: Path) -> list[tuple[bool, str]]:
    """Every waybill and make command on a page: lines of shell blocks (True), and what stands between backticks."""
    lines = [line for _, text in blocks(page, "sh") for line in text.splitlines()]
    prose = BLOCK.sub("", page.read_text("utf-8"))
    return [(True, " ".join(m.groups())) for line in lines if (m := COMMAND.match(line))] + [
        (False, m[1]) for m in MENTION.finditer(prose)
    ]


def parse(words: list[str]) -> None:
    """Parses a command line as the program would, without running it. Raises what is wrong with it."""
    command: Any = get_command(build())
    context = None
    while hasattr(command, "commands"):
        context = command.make_context("waybill", [], parent=context, resilient_parsing=True)
        name = words.pop(0)
        assert name in command.commands, f"there is no {name!r}; there are {', '.join(command.commands)}"
        command = command.commands[name]
        if not words and hasattr(command, "commands"):
            return  # a noun by itself
    command.make_context(name, words, parent=context)


@each_page
def test_commands_exist(page: Path) -> None:
    root: Any = get_command(build())
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)
    variables = re.findall(r"\$\(([A-Z]+)\)", makefile)
    for shown, line in commands(page):
        program, *rest = shlex.split(line, comments=True)
        if program == "make":
            assert {word.partition("=")[0] for word in rest} <= {*targets, *variables}, line
        elif re.search(r"…|\||\[", line):  # a form, not a command line: the noun must exist
            assert rest[0] in root.commands, line
        else:
            try:
                parse(rest)
            except Exception as wrong:
                if shown or type(wrong).__name__ != "MissingParameter":  # prose may name a command without its words
                    raise AssertionError(f"{page.name}: {line}: {wrong}") from wrong


@each_page
def test_files_and_links_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    prose = BLOCK.sub("", text)
    missing = [name for name in PATH.findall(prose) if not (ROOT / name).exists() and not (page.parent / name).exists()]
    missing += [name for name in LINK.findall(prose) if not (page.parent / name).exists()]
    assert not missing


@each_page
def test_links_lead_to_headings_that_exist(page: Path) -> None:
    prose = BLOCK.sub("", page.read_text("utf-8"))
    aims = [(page.parent / name if name else page, anchor) for name, anchor in ANCHOR.findall(prose)]
    missing = [f"{aim.name}#{anchor}" for aim, anchor in aims if anchor not in anchors(aim)]
    assert not missing


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_numbers_of_rules_are_explained_and_keep_out_of_the_users_pages() -> None:
    explained = ROOT / "docs" / "architecture.md"
    section = explained.read_text("utf-8").partition("## The numbered rules")[2]
    known = set(re.findall(r"^\| ([A-Z]{2}\d) \|", section, re.MULTILINE))
    sources = [path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")]
    named = {
        rule
        for path in [*sources, *(ROOT / "docs" / "adr").glob("*.md")]
        for rule in RULE.findall(path.read_text("utf-8"))
    }
    assert named <= known
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "packs").glob("*.md")]
    unexplained = {
        f"{page.name}: {number}"
        for page in pages
        if page != explained
        for number in [*RULE.findall(page.read_text("utf-8")), *REQUIREMENT.findall(page.read_text("utf-8"))]
    }
    assert not unexplained


def test_operating_names_every_variable_of_the_shipped_pipelines_and_of_the_program() -> None:
    section = (ROOT / "docs" / "operating.md").read_text("utf-8").partition("## Environment variables\n")[2]
    listed = set(re.findall(r"^\| `(\w+)`", section.partition("\n## ")[0], re.MULTILINE))
    shipped = [path.read_text("utf-8") for path in (ROOT / "topology").rglob("*.yaml")]
    named = {name for text in shipped for name in re.findall(r"\$\{(WAYBILL_\w+)", text)}
    program = [path.read_text("utf-8") for folder in ("topology", "waybill") for path in (ROOT / folder).rglob("*.py")]
    named |= {name for text in program for name in re.findall(r'"(WAYBILL_\w+)"', text)}
    assert listed == named


def codes_under(text: str, heading: str) -> set[int]:
    """The numbers in the first column of a section's table."""
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}


def test_operating_names_every_metric_and_exit_code() -> None:
    text = (ROOT / "docs" / "operating.md").read_text("utf-8")
    names = {family.name + ("_total" if family.type == "counter" else "") for family in Metrics().registry.collect()}
    shown = set(re.findall(r"`((?:messaging|waybill)_\w+)`", text))
    assert shown == names
    exits = {value for name, value in vars(worker).items() if name.startswith("EXIT_")}
    assert codes_under(text, "Exit codes of a worker") == {0, Code.USAGE, watchdog.OVERRUN_EXIT} | exits
    assert codes_under(text, "Exit codes of the other commands") == {*Code, 130}


def rows_under(text: str, heading: str) -> set[tuple[str, ...]]:
    """The rows of a section's tables, without backticks."""
    section = text.partition(f"## {heading}\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| (?!-)(.*) \|$", section, re.MULTILINE)
    return {tuple(cell.strip().strip("`") for cell in row.split(" | ")) for row in rows}


def test_operating_explains_class_route_and_reason_and_every_code_of_dispatch() -> None:
    rows = rows_under((ROOT / "docs" / "operating.md").read_text("utf-8"), "What a dead letter says")
    assert {row[:2] for row in rows} >= {(str(one), route) for one, route in ROUTES.items()}
    assert {row[0] for row in rows} >= set(Reason)
    sources = [path.read_text("utf-8") for path in (ROOT / "streams" / "dispatch").glob("*.py")]
    named = {name for text in sources for name in re.findall(r"(?<![.\w])[A-Z_]+\b", text) if hasattr(errors, name)}
    named &= CODES.keys()
    codes = {(one.name, str(one.error_class), str(one.reason), one.meaning) for one in map(CODES.__getitem__, named)}
    assert {row for row in rows if row[0] in CODES} == codes


def test_operating_explains_every_word_of_a_state() -> None:
    rows = rows_under((ROOT / "docs" / "operating.md").read_text("utf-8"), "One state, several words")
    batches = {(row[1], row[2]) for row in rows if len(row) == 4 and row[2] in STATES}
    told = {(transmission({"state": state, "attempt": 0}), state) for state in STATES} | {("Retrying", "pending")}
    assert batches == told
    books = {row[2] for row in rows if len(row) == 5} - {"reconcile"}
    assert {word.replace("-", "_") for word in books} == {
        "in_flight", *({field.name for field in fields(Tally)} & {"acknowledged", "dead", "duplicate"}),
    }  # fmt: skip
    assert {"committed", "quarantined", "in_flight"} <= {row[3] for row in rows} & set(BatchResult._fields)


def test_the_reference_of_pipelines_is_what_the_models_say() -> None:
    page = (ROOT / "docs" / "pipelines.md").read_text("utf-8")
    assert page.partition("## Every field\n\n")[2] == reference()


def test_the_body_on_the_page_for_partners_is_what_is_sent() -> None:
    shown = json.loads(blocks(ROOT / "docs" / "partners.md", "json")[0][1])
    lake = AcceptingPartner()
    driver = TopologyDriver(load_pipeline("cold-chain"), {"lake": lake})
    driver.publish(
        "fridge-07",
        b'{"sensor_id": "fridge-07", "timestamp_utc": "2026-01-05T08:00:00Z", "temperature_c": 4.5, '
        b'"product": "refrigerator"}',
    )
    driver.finish()
    body = lake.attempts[0].body
    sent = json.loads(body)
    assert sent | {"summary": {}} == shown
    assert sent["summary"]
    record = sent["records"][0]
    assert hashlib.sha256(canonical_json(record["record"])).hexdigest() == record["digest"]
    assert canonical_json(record["record"]) in body


def test_making_the_environment_says_each_step_before_it_is_done() -> None:
    ran = subprocess.run(
        ["make", "--dry-run", "--always-make", "setup"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = ran.stdout.splitlines()
    for step in ("-m venv", "--require-hashes", "--no-deps"):
        (at,) = [number for number, line in enumerate(lines) if step in line]
        assert lines[at - 1].startswith("echo "), f"nothing is said before {lines[at]}"
