"""A partner is asked whether it is well: what goes over the wire, and that nothing is delivered by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiohttp import web

from streams.delivery.engine import build_sink
from streams.delivery.protocol import Probed, Probing
from tests.delivery.worlds import http, run, s3, s3_client, s3_server, silent_port, store

Seen = list[tuple[str, str, dict[str, str], bytes]]


def asked(seen: Seen, answer: web.Response, **settings: Any) -> Probed:
    """What came back from a server in this loop, which remembers the requests."""

    async def handle(request: web.BaseRequest) -> web.Response:
        seen.append((request.method, request.raw_path, dict(request.headers), await request.read()))
        return answer

    async def whole() -> Probed:
        runner = web.ServerRunner(web.Server(handle))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sink = build_sink("p", http(f"http://127.0.0.1:{runner.addresses[0][1]}/batches?v=1", **settings))
        assert isinstance(sink, Probing)
        try:
            return await sink.probe()
        finally:
            await sink.close()
            await runner.cleanup()

    return run(whole())


def test_the_declared_probe_is_asked_with_our_credentials_and_carries_no_batch(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("open-sesame-1")
    auth = {"kind": "bearer", "token": {"file": str(tmp_path / "token")}}
    seen: Seen = []
    probe = {"method": "GET", "path": "/health"}
    found = asked(seen, web.Response(text="fine"), probe=probe, auth=auth, headers={"X-Site": "ours"}, path="/{batch}")
    assert found == Probed(True, "200 OK: fine")
    ((method, path, headers, body),) = seen
    assert (method, path, body) == ("GET", "/health?v=1", b"")
    assert (headers["Authorization"], headers["X-Site"]) == ("Bearer open-sesame-1", "ours")
    assert not {name for name in headers if name.lower().startswith(("idempotency", "waybill", "content-"))}


def test_without_a_declared_probe_the_url_is_asked_for_its_head() -> None:
    seen: Seen = []
    assert asked(seen, web.Response(status=405)).well is None, "it is there; whether it takes us is not known"
    assert [(method, path) for method, path, _, _ in seen] == [("HEAD", "/batches?v=1")]


def test_a_partner_that_says_nothing_is_not_well() -> None:
    async def whole(port: int) -> Probed:
        sink = build_sink("p", http(f"http://127.0.0.1:{port}/", timeout=0.2))
        assert isinstance(sink, Probing)
        try:
            return await sink.probe()
        finally:
            await sink.close()

    with silent_port() as port:
        found = run(whole(port))
    assert (found.well, found.answer.startswith("no answer")) == (False, True)


def _probed(url_or_partner: Any) -> Probed:
    async def whole() -> Probed:
        sink = build_sink("p", url_or_partner)
        assert isinstance(sink, Probing)
        return await sink.probe()

    return run(whole())


def test_a_folder_is_looked_at_and_nothing_is_made(tmp_path: Path) -> None:
    assert _probed(store((tmp_path / "lake" / "deep").as_uri())).well
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    assert _probed(store((tmp_path / "file").as_uri())).well is False


def test_a_bucket_is_listed_and_nothing_is_written() -> None:
    with s3_server() as endpoint:
        s3_client(endpoint).create_bucket(Bucket="probed")  # others write to the one that is there
        assert _probed(s3(endpoint, bucket="probed")).well
        assert "Contents" not in s3_client(endpoint).list_objects_v2(Bucket="probed")
        assert _probed(s3(endpoint, bucket="none-such")).well is False
