"""The checker is a program of its own: it shares no code with the product, and says clearly what it cannot read."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form

from chaos.checker.__main__ import main
from chaos.checker.wire import NotReadable, Reader

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = {"schemas", "streams", "topology", "audit", "waybill", "tests", "bench"}


def imported(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


def test_the_checker_imports_nothing_of_the_product() -> None:
    files = sorted((ROOT / "chaos" / "checker").rglob("*.py"))
    assert len(files) > 10
    for path in files:
        for name in imported(path):
            assert name.split(".")[0] not in PRODUCT, f"{path} imports {name}"
            own = not name.startswith("chaos") or name.startswith("chaos.checker.")
            assert own, f"{path} imports {name}"
        assert "__import__" not in path.read_text("utf-8")


def test_an_import_of_the_product_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("def f():\n    from schemas.codec import Codec\n    import audit.chain\n")
    assert imported(tmp_path / "x.py") == {"schemas.codec", "audit.chain"}


def test_messages_of_a_former_schema_are_read_under_its_name() -> None:
    former = {"type": "record", "name": "X", "fields": [{"name": "a", "type": "long"}]}
    present = {"type": "record", "name": "X", "fields": [*former["fields"], {"name": "b", "type": "string"}]}
    reader = Reader({"x-1": former, "x": present})
    mark = bytes.fromhex(fingerprint(to_parsing_canonical_form(former), "CRC-64-AVRO"))
    assert reader.read(b"\xc3\x01" + mark + b"\x02") == ("x", {"a": 1})
    for wrong in (None, b"", b"\xc3\x01" + mark, b"\xc3\x01" + mark + b"\x02\x02"):
        with pytest.raises(NotReadable):
            reader.read(wrong)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("round.json", None, "round.json"),
        ("round.json", "{", "round.json"),
        ("round.json", '{"seed": 1}', "'application' is missing"),
        ("manifest.jsonl", '{"partition": 0}\n', "'records' is missing"),
        ("manifest.jsonl", "\nnot json\n", "line 2"),
        ("ledger.jsonl", None, "ledger.jsonl"),
        ("ledger.jsonl", '{"kind": "attempt", "key": "k"}\n', "'time' is missing"),
        ("topics.jsonl.gz", None, "topics.jsonl.gz"),
        ("topics.jsonl.gz", "plain", "topics.jsonl.gz"),
    ],
)
def test_unreadable_input_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str | None, said: str
) -> None:
    ran = {
        "seed": 1, "application": "a", "pipeline": "p", "raw": "r", "topics": {}, "partitions": 1, "groups": {},
        "inputs": {}, "on_conflict": "conflict", "acks": "record", "ordering": "group",
        "partners": {"clinic": {"kind": "http"}}, "routing": {"by": None, "map": {}, "default": "clinic"},
        "group_by": [], "idempotency": [], "unknown_attempts": 1, "harmed": [], "deadline_met": True,
        "drained": True, "restarts": {}, "max_restarts": 1, "exits": [],
    }  # fmt: skip
    (tmp_path / "round.json").write_text(json.dumps(ran))
    (tmp_path / "manifest.jsonl").write_text("")
    (tmp_path / "ledger.jsonl").write_text("")
    if text is None:
        (tmp_path / name).unlink(missing_ok=True)
    else:
        (tmp_path / name).write_text(text)
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
