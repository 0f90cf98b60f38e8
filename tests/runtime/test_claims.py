"""The claim store (VA4) in a folder and in a bucket: by content, create-only, checked when read; away is not lost."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.canonical import sha256
from streams.claims import ClaimLost, Claims, ClaimsAway
from streams.runtime import claims
from streams.runtime.claims import ObjectClaims
from tests.delivery.worlds import BUCKET, s3, s3_server
from topology.sections import ClaimStore

DATA = b"payload" * 1000
NAME = sha256(DATA).hex()
NOWHERE = Path("/nowhere")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as found:
        yield found


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "PAUSE", 0.0)


def bucket(endpoint: str, name: str = BUCKET) -> ObjectClaims:
    return ObjectClaims(ClaimStore(url=f"s3://{name}/some/claims", options=s3(endpoint).options), NOWHERE)


@pytest.fixture(params=["folder", "default", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, endpoint: str) -> ObjectClaims:
    if request.param == "bucket":
        return bucket(endpoint)
    if request.param == "folder":
        return ObjectClaims(ClaimStore(url=f"file:{tmp_path}/a b/c"), NOWHERE)
    return ObjectClaims(ClaimStore(), tmp_path / "home" / "claims")


def test_va4_what_was_put_is_found_by_its_digest_and_named_by_it(store: Claims) -> None:
    where = store.put(DATA)
    assert where.endswith(f"/{NAME}")
    assert "://" in where
    assert store.put(DATA) == where
    assert store.get(sha256(DATA)) == DATA


def test_va4_a_payload_above_the_limit_of_any_topic_fits(store: Claims) -> None:
    data = bytes(40 * 2**20)
    store.put(data)
    assert store.get(sha256(data)) == data


def test_va4_what_is_not_there_is_lost(store: Claims) -> None:
    store.put(DATA)
    with pytest.raises(ClaimLost, match="is not there"):
        store.get(sha256(b"never put"))


def test_va4_another_worker_reads_it(tmp_path: Path, endpoint: str) -> None:
    bucket(endpoint).put(b"from one")
    assert bucket(endpoint).get(sha256(b"from one")) == b"from one"
    ObjectClaims(ClaimStore(url=f"file://{tmp_path}"), NOWHERE).put(b"from one")
    assert ObjectClaims(ClaimStore(url=f"file://{tmp_path}"), NOWHERE).get(sha256(b"from one")) == b"from one"


def test_va4_other_bytes_under_the_name_are_never_given_out_and_are_mended_by_the_next_put(tmp_path: Path) -> None:
    store = ObjectClaims(ClaimStore(), tmp_path)
    store.put(DATA)
    (tmp_path / NAME).write_bytes(DATA[:-1])
    with pytest.raises(ClaimLost, match="other bytes"):
        store.get(sha256(DATA))
    store.put(DATA)
    assert store.get(sha256(DATA)) == DATA


def test_va4_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    store = ObjectClaims(ClaimStore(), tmp_path)
    store.put(DATA)
    before = (tmp_path / NAME).stat().st_ino
    store.put(DATA)
    assert (tmp_path / NAME).stat().st_ino == before
    assert stat.S_ISREG((tmp_path / NAME).stat().st_mode)


def test_va3_a_store_that_cannot_be_reached_is_away_and_nothing_is_lost(tmp_path: Path, endpoint: str) -> None:
    (tmp_path / "file").write_text("in the way")
    aways = [
        ObjectClaims(ClaimStore(url=f"file:{tmp_path}/file/claims"), NOWHERE),
        bucket("http://127.0.0.1:9"),
        bucket(endpoint, "nobodys-bucket"),
    ]
    for store in aways:
        with pytest.raises(ClaimsAway, match="cannot be reached"):
            store.put(DATA)
        with pytest.raises(ClaimsAway, match="cannot be reached"):
            store.get(sha256(DATA))
    gone = ObjectClaims(ClaimStore(), tmp_path / "claims")
    with pytest.raises(ClaimsAway):
        gone.get(sha256(DATA))


def test_no_secret_is_shown(endpoint: str) -> None:
    with pytest.raises(ClaimsAway) as away:
        bucket("http://127.0.0.1:9").get(sha256(DATA))
    assert "test-secret" not in str(away.value)
    with pytest.raises(ValueError, match="claims: ") as wrong:
        ObjectClaims(ClaimStore(url="nothing://x", options={"secret_access_key": "test-secret"}), NOWHERE)
    assert "test-secret" not in str(wrong.value)


def test_va4_it_is_synced_before_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    opened: dict[int, str] = {}
    real = os.open

    def note_open(path: Path, flags: int) -> int:
        descriptor: int = real(path, flags)
        opened[descriptor] = str(path)
        return descriptor

    monkeypatch.setattr(os, "open", note_open)
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(opened[descriptor]))
    ObjectClaims(ClaimStore(), tmp_path / "claims").put(DATA)
    assert synced == [str(tmp_path / "claims" / NAME), str(tmp_path / "claims"), str(tmp_path)]
