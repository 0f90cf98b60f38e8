"""What the Quix Streams peer makes of readings is what the product's pack says, and its environment is pinned."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from bench.peers.expected import Expected, expect, messages
from bench.peers.job import PeerError
from bench.peers.outputs import Message, Wrong, judge_dead, judge_validated
from bench.peers.quix import environment
from bench.peers.quix.judging import Judge
from topology.load import load_pipeline


class Known(dict[bytes, bytes]):
    """The state of one message key."""

    def get_bytes(self, key: bytes) -> bytes | None:
        return self.get(key)

    def set_bytes(self, key: bytes, value: bytes) -> None:
        self[key] = value


@pytest.fixture(scope="module")
def run() -> tuple[Expected, list[Message], list[Message], Counter[str]]:
    """What was expected, `validated`, dead letters, and what was counted."""
    made, given = load_pipeline("cold-chain"), messages(2_000)
    judge = Judge(made.pack, dict(made.options), made.profile)
    states: dict[str, Known] = defaultdict(Known)
    validated: list[Message] = []
    dead: list[Message] = []
    for key, value in given:
        for answer in judge.judge(value, states[key]):
            message = Message(0, key.encode(), answer.value, dict(answer.headers))
            (validated if answer.valid else dead).append(message)
    assert judge.read == len(given)
    return expect(given), validated, dead, judge.counts


def test_payloads_dead_letters_and_counts_are_the_packs(
    run: tuple[Expected, list[Message], list[Message], Counter[str]],
) -> None:
    expected, validated, dead, counts = run
    judge_validated(validated, expected)
    judge_dead(dead, expected, expected.contradicting)
    assert counts["duplicates"] == expected.duplicates > 0
    assert counts["conflicts"] == expected.contradicting.total() > 0
    assert 0 <= counts["refused"] - expected.refused.total() <= len(expected.either)


def test_the_check_finds_what_is_missing_doubled_or_altered(
    run: tuple[Expected, list[Message], list[Message], Counter[str]],
) -> None:
    expected, validated, dead, _ = run
    for wrong in (
        validated[1:],
        [*validated, validated[0]],
        [validated[0]._replace(value=b"{}"), *validated[1:]],
        [validated[0]._replace(headers={}), *validated[1:]],
    ):
        with pytest.raises(Wrong):
            judge_validated(wrong, expected)
    refused = next(number for number, one in enumerate(dead) if one.value in expected.refused and one.value[:1] == b"{")
    for letters in (
        dead[:refused] + dead[refused + 1 :],
        [*dead, dead[refused]],
        [*dead[:refused], dead[refused]._replace(headers={"code": b"CONFLICT"}), *dead[refused + 1 :]],
        [*dead[:refused], dead[refused]._replace(headers={"code": b"FINE"}), *dead[refused + 1 :]],
    ):
        with pytest.raises(Wrong):
            judge_dead(letters, expected, expected.contradicting)


def test_the_lock_file_pins_every_package_with_hashes_and_names_no_index() -> None:
    text = environment.LOCK.read_text()
    assert "--index" not in text
    assert "://" not in text
    assert "--find-links" not in text
    pinned = re.split(r"\n(?=\S)", text.strip())
    assert all(re.match(r"[a-z0-9-]+==\S+", one) and "--hash=sha256:" in one for one in pinned)
    wanted = (environment.LOCK.parent / "requirements.in").read_text().split()
    assert {one.split()[0] for one in pinned} >= set(wanted)


def test_where_it_cannot_be_made_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"nothing==1.0 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(environment, "LOCK", lock)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(PeerError) as caught:
        environment.build(tmp_path / "env")
    assert "\n" not in str(caught.value)
    assert "nothing" in str(caught.value)
    assert not (tmp_path / "env" / "built").exists()
