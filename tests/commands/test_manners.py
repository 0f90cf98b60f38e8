"""How every command behaves: one clear line for what is wrong, exit codes as documented, data apart from talk."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
from typer.main import get_command

from tests.commands.conftest import Cli
from topology.load import topology_folder
from waybill.commands.dlq import print_letter
from waybill.commands.run import software
from waybill.context import who
from waybill.main import MODULES, NOUNS, build
from waybill.output import Fault

READING = (
    b'{"sensor_id":"FRIDGE-01","timestamp_utc":"2026-03-02T00:00:00Z","temperature":4.5,"unit":"C","zone_id":"A1"}'
)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nope"], "No such option: --nope"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["check"], "Missing argument 'PIPELINE'"),
        (["check", "cold-chain", "--nope", "x"], "No such option: --nope"),
        (["check", "cold-chain", "/no/such/file"], "/no/such/file: cannot be read: No such file"),
        (["check", "cold-chian", "/dev/null"], "did you mean `cold-chain`?"),
        (["check", "cold-chain", "/dev/null"], "no regular file"),
        (["check", "cold-chain", "-", "-"], "named twice"),
        (["check", "cold-chain", "--profile", "lax", "x"], "allowed: strict, lenient, schema"),
        (["check", "cold-chain", "--profile", "stateful", "x"], "'stateful' is unknown; allowed: strict, lenient, sch"),
        (["publish", "cold-chain", "pyproject.toml"], "waybill broker start"),
        (["publish", "cold-chain", "pyproject.toml", "--brokers", "127.0.0.1:1"], "127.0.0.1:1 does not answer"),
        (["publish", "cold-chain", "pyproject.toml", "--lane", "express"], "allowed: standard"),
        (["publish", "cold-chain", "pyproject.toml", "--header", "nonsense"], "expected NAME=VALUE"),
        (["topology", "check", "/no/such.yaml"], "/no/such.yaml: cannot be read"),
    ],
)
def test_what_a_user_does_wrong_is_said_in_one_line_with_exit_code_2(cli: Cli, arguments: list[str], said: str) -> None:
    ran = cli(*arguments)
    assert ran.code == 2
    complaint = ran.out + ran.err
    assert said in complaint
    assert "Traceback" not in complaint
    assert len([text for text in complaint.splitlines() if "mistake" not in text]) == 1, complaint


@pytest.mark.parametrize(
    ("lane", "said"),
    [
        ("urgent", "drop.lane: 'urgent' is not known"),
        ("low", "source drop in sources.yaml: pipeline cold-chain has no lane 'low'; allowed: high, standard"),
    ],
)
def test_a_source_is_for_a_lane_that_its_pipeline_has(cli: Cli, tmp_path: Path, lane: str, said: str) -> None:
    shipped = topology_folder()
    (tmp_path / "partners.yaml").write_text((shipped.parent / "partners.yaml").read_text())
    (tmp_path / "cold-chain.yaml").write_text((shipped / "cold-chain.yaml").read_text() + "\nlanes: [high, standard]\n")
    (tmp_path / "sources.yaml").write_text(f"drop: {{kind: folder, pipeline: cold-chain, path: x, lane: {lane}}}\n")
    ran = cli("source", "run", "drop", "--folder", tmp_path)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_the_version_is_told(cli: Cli) -> None:
    ran = cli("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"{software().replace('/', ' ')}\n", "")
    assert "--version" in cli("--help").out


def test_the_console_script_answers_like_the_function_and_keeps_data_apart_from_talk(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_bytes(READING)
    script = [sys.executable, "-m", "waybill.main"]
    done = subprocess.run(
        [*script, "check", "cold-chain", str(tmp_path), "--json"],
        capture_output=True,
        env={**os.environ, "NO_COLOR": "1", "LC_ALL": "C"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert done.stdout.startswith(b'{"file":')
    assert b"1 record in 1 file" in done.stderr
    assert b"\x1b" not in done.stdout + done.stderr
    assert subprocess.run([*script, "--nope"], capture_output=True, check=False).returncode == 2


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "many.json").write_bytes(b"[" + b",".join([READING] * 20_000) + b"]")
    command = f"{sys.executable} -m waybill.main check cold-chain {tmp_path} | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


def test_help_does_not_load_kafka_or_the_models() -> None:
    code = "import sys, waybill.main as m; m.run(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for heavy in ("confluent_kafka", "faust", "pydantic", "obstore", "fastavro", "rich.table"):
        assert f"'{heavy}'" not in done.stderr, f"{heavy} makes every command slow to start"
    for noun in NOUNS:
        assert noun in done.stdout


def test_help_cuts_no_line_and_fits_a_terminal_of_80_columns(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    whole: Any = get_command(build())
    nouns = [[name] for name, command in whole.commands.items() if hasattr(command, "commands")]
    assert len(nouns) > 5
    for words in [[], *nouns]:
        ran = cli(*words, "--help")
        listed = ran.out.partition("Commands:")[2]
        assert listed.strip()
        assert "..." not in listed
        assert max(map(len, ran.out.splitlines())) <= 80


def test_a_command_line_built_for_one_command_has_it_as_the_whole_one_does() -> None:
    whole: Any = get_command(build())
    assert whole.commands.keys() == MODULES.keys()
    for name, command in whole.commands.items():
        alone: Any = get_command(build(name))
        assert [option.name for option in alone.commands[name].params] == [option.name for option in command.params]
        assert alone.commands[name].get_short_help_str() == command.get_short_help_str()


def test_what_strangers_wrote_does_not_reach_the_terminal_as_control_characters(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2Jb.json").write_bytes(b'{"sensor_id":"\\u001b]0;owned\\u0007"}')
    ran = cli("check", "cold-chain", tmp_path)
    assert "\x1b" not in ran.out + ran.err
    assert "\x07" not in ran.out + ran.err
    assert "\\x1b[2Jb.json  record 0" in ran.out


def test_tabs_of_an_original_stay_and_other_control_characters_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    print_letter({"findings": [], "original": "sensor\tvalue\nf\t\x1b[2J"})
    assert capsys.readouterr().out == "original\n  sensor\tvalue\n  f\t\\x1b[2J\n"


def test_a_file_name_that_is_no_utf8_is_shown_and_read(cli: Cli, tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xff.json")).write_bytes(READING)
    ran = cli("check", "cold-chain", tmp_path, "--json")
    assert ran.code == 0
    (row,) = ran.rows
    assert row["outcome"] == "valid"
    assert row["file"].endswith("r\\xff.json")


def test_an_order_from_a_user_without_a_name_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run under a uid that is in no passwd."""

    def unknown() -> NoReturn:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", unknown)
    assert who("qa@example.org") == "qa@example.org"
    with pytest.raises(Fault, match="--by"):
        who(None)
