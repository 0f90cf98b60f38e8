"""An HTTP partner as its YAML says: what goes over the wire, who we are to it, and that no secret is ever shown."""

from __future__ import annotations

import asyncio
import base64
import gzip
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streams.delivery.http import HttpSink
from streams.delivery.protocol import Envelope, Outcome
from streams.delivery.protocol import OutcomeKind as Kind
from tests.delivery.worlds import BODY, envelope, run, silent_port
from topology.partner import HttpPartner

TOKEN = "open-sesame-1"
Ask = Callable[..., Awaitable[Outcome]]


class Api:
    """A partner in this loop that remembers requests; answers come from a list, then 200."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Mapping[str, str], bytes]] = []
        self.answers: list[web.Response] = []

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        self.seen.append((f"{request.method} {request.raw_path}", request.headers, await request.read()))
        return self.answers.pop(0) if self.answers else web.json_response({"ok": True})


def with_api(
    work: Callable[[Api, Ask], Awaitable[None]], given: dict[str, Any], tls: ssl.SSLContext | None = None,
    env: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Runs `work` with an API and a sink to it. URL in `given` stands for the API's own."""

    async def whole() -> None:
        api = Api()
        runner = web.ServerRunner(web.Server(api, auto_decompress=False))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        port = runner.addresses[0][1]
        root = f"http{'s' if tls else ''}://localhost:{port}"
        settings = {"kind": "http", "url": f"{root}/base?v=1", "timeout": 20, **given}
        if "auth" in settings and "token_url" in settings["auth"]:
            settings["auth"]["token_url"] = f"{root}/token"
        sink = HttpSink("p", HttpPartner(**settings), env=env if env is not None else {"TOKEN": TOKEN})

        async def ask(one: Envelope | None = None) -> Outcome:
            return await sink.send(one or envelope())

        try:
            await work(api, ask)
        finally:
            await sink.close()
            await runner.cleanup()

    run(whole())


def test_path_method_headers_body_and_compression_are_as_declared(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a-key-of-ours\n")

    async def work(api: Api, ask: Ask) -> None:
        one = envelope()._replace(path="/batches/x%2Fy")
        assert (await ask(one)).kind is Kind.DELIVERED
        api.answers.append(web.json_response({"digest": one.body_digest.hex()}, status=409))
        assert (await ask(one)).kind is Kind.DELIVERED
        target, headers, body = api.seen[0]
        assert target == "PATCH /base/batches/x%2Fy?v=1"
        assert gzip.decompress(body) == BODY
        digest = base64.b64encode(sha256(body).digest()).decode()
        expected = {
            "X-Compliance-Standard": "NIH-NSF-OSHA-EPA",
            "X-Api-Key": "a-key-of-ours",
            "Content-Type": "application/vnd.ours+json",
            "Content-Encoding": "gzip",
            "Content-Digest": f"sha-256=:{digest}:",
            "X-Request-Id": one.idempotency_key,
        }
        assert {name: headers.get(name) for name in expected} == expected
        assert "Idempotency-Key" not in headers
        assert body == api.seen[1][2], "the same bytes at every attempt"

    with_api(
        work,
        {
            "path": "/batches/{group}",
            "method": "PATCH",
            "headers": {
                "X-Compliance-Standard": "NIH-NSF-OSHA-EPA",
                "X-Api-Key": {"file": str(tmp_path / "key")},
                "content-type": "text/ours-wins",
            },
            "content_type": "application/vnd.ours+json",
            "compression": "gzip",
            "idempotency_header": "X-Request-Id",
        },
    )


def test_basic_credentials_are_read_from_where_they_stand() -> None:
    async def work(api: Api, ask: Ask) -> None:
        assert (await ask()).kind is Kind.DELIVERED
        assert api.seen[0][1]["Authorization"] == "Basic " + base64.b64encode(f"us:{TOKEN}".encode()).decode()

    with_api(work, {"auth": {"kind": "basic", "user": "us", "password": {"env": "TOKEN"}}})


def test_a_token_in_a_file_is_read_anew_and_one_that_was_rotated_meanwhile_costs_no_attempt(tmp_path: Path) -> None:
    file = tmp_path / "token"

    async def work(api: Api, ask: Ask) -> None:
        missing = await ask()
        assert (missing.kind, api.seen) == (Kind.STOPPED, [])
        assert str(file) in missing.answer
        file.write_text("token-number-1\n")
        assert (await ask()).kind is Kind.DELIVERED
        api.answers.append(web.Response(status=401))
        assert (await ask()).kind is Kind.STOPPED
        file.write_text("token-number-2\n")
        assert (await ask()).kind is Kind.DELIVERED
        assert [headers["Authorization"][-1] for _, headers, _ in api.seen] == ["1", "1", "2"]

    with_api(work, {"auth": {"kind": "bearer", "token": {"file": str(file)}}})


def oauth2(**more: Any) -> dict[str, Any]:
    return {
        "auth": {
            "kind": "oauth2", "token_url": "http://x", "client_id": "us", "client_secret": {"env": "TOKEN"},
            "scope": "a b", **more,
        }
    }  # fmt: skip


def token(text: str, **more: Any) -> web.Response:
    return web.json_response({"access_token": text, "token_type": "Bearer", "expires_in": 3600} | more)


@pytest.mark.parametrize("client_auth", ["basic", "post"])
def test_oauth2_fetches_a_token_once_and_again_when_it_is_refused(client_auth: str) -> None:
    async def work(api: Api, ask: Ask) -> None:
        api.answers += [token("token-number-1"), web.Response(status=200), web.Response(status=200)]
        assert [(await ask()).kind, (await ask(envelope(batch=2))).kind] == [Kind.DELIVERED] * 2
        api.answers += [web.Response(status=401), token("token-number-2")]
        refused = await ask()
        assert (refused.kind, refused.retry_after) == (Kind.PAUSED, 0.0)
        assert (await ask()).kind is Kind.DELIVERED
        targets = [target for target, _, _ in api.seen]
        sent = "POST /base?v=1"
        assert targets == ["POST /token", sent, sent, sent, "POST /token", sent]
        form = parse_qs(api.seen[0][2].decode())
        assert (form["grant_type"], form["scope"]) == (["client_credentials"], ["a b"])
        assert (form.get("client_secret"), "Authorization" in api.seen[0][1]) == (
            ([TOKEN], False) if client_auth == "post" else (None, True)
        )
        assert [api.seen[at][1]["Authorization"] for at in (1, 2, 5)] == [f"Bearer token-number-{n}" for n in (1, 1, 2)]

    with_api(work, oauth2(client_auth=client_auth))


def test_oauth2_a_new_token_that_is_refused_stops_the_partner() -> None:
    async def work(api: Api, ask: Ask) -> None:
        api.answers += [token("token-number-1"), web.Response(status=401)]
        assert (await ask()).kind is Kind.STOPPED

    with_api(work, oauth2())


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (web.json_response({"error": "invalid_client", "error_description": TOKEN}, status=401), Kind.STOPPED),
        (web.Response(status=503), Kind.FAILED),
        (web.Response(text="<html>"), Kind.FAILED),
        (web.Response(body=b"[" * 60_000), Kind.FAILED),
        (token("a\r\nX: b"), Kind.FAILED),
        (web.Response(status=302, headers={"Location": "/elsewhere"}), Kind.FAILED),
    ],
    ids=["refused", "down", "a page", "nested", "hostile", "redirect"],
)
def test_oauth2_without_a_token_nothing_is_sent(answer: web.Response, kind: Kind) -> None:
    async def work(api: Api, ask: Ask) -> None:
        api.answers.append(answer)
        outcome = await ask()
        assert (outcome.kind, len(api.seen)) == (kind, 1)
        assert TOKEN not in outcome.answer

    with_api(work, oauth2())


def test_nothing_that_is_kept_or_printed_shows_a_secret() -> None:
    async def work(api: Api, ask: Ask) -> None:
        basic = base64.b64encode(f"us:{TOKEN}".encode()).decode()
        for status in (200, 400, 401, 409, 500):
            echo = f"x{basic} {TOKEN} plain-secret query-secret"
            api.answers.append(web.Response(status=status, reason=f"No {TOKEN}", text=echo))
            outcome = await ask()
            assert "***" in outcome.answer
            for text in (basic, TOKEN, "plain-secret", "query-secret"):
                assert text not in repr(outcome)

    settings = {
        "url": "http://x",
        "headers": {"X-Key": {"env": "KEY"}, "X-Plain": "plain-secret"},
        "auth": {"kind": "basic", "user": "us", "password": {"env": "TOKEN"}},
    }
    declared = HttpPartner(**{"kind": "http", **settings})
    assert TOKEN not in repr(declared) + declared.model_dump_json()
    del settings["url"]
    with_api(work, settings, env={"TOKEN": TOKEN, "KEY": "query-secret"})


@pytest.mark.parametrize("text", [None, "", "open\nsesame", "open\x00sesame", "\udcff open sesame"])
def test_a_secret_that_cannot_be_sent_stops_the_partner_and_is_not_shown(text: str | None) -> None:
    async def work(api: Api, ask: Ask) -> None:
        outcome = await ask()
        assert (outcome.kind, api.seen) == (Kind.STOPPED, [])
        assert "TOKEN" in outcome.answer
        assert "sesame" not in outcome.answer

    env = {} if text is None else {"TOKEN": text}
    with_api(work, {"headers": {"X-Key": {"env": "TOKEN"}}}, env=env)


def test_a_partner_that_says_nothing_for_the_read_time_out_is_unknown() -> None:
    with silent_port() as port:
        partner = HttpPartner(kind="http", url=f"http://127.0.0.1:{port}/", timeout=600, read_timeout=0.2)

        async def work() -> None:
            sink = HttpSink("p", partner)
            assert (await sink.send(envelope())).kind is Kind.UNKNOWN
            await sink.close()

        run(work())


# ---- TLS -----------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str, issuer: str | None = None) -> str:
    """Writes `name.pem` with key and certificate, signed by `issuer.pem` or by itself; gives back its path."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = (folder / f"{issuer}.pem").read_bytes() if issuer else b""
    signer: Any = serialization.load_pem_private_key(pem, None) if issuer else key
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(x509.load_pem_x509_certificate(pem).subject if issuer else named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{name}.pem").write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return str(folder / f"{name}.pem")


def test_mutual_tls_and_what_is_known_without_it(tmp_path: Path) -> None:
    authority, server = certificate(tmp_path, "authority"), certificate(tmp_path, "server", "authority")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    context.load_cert_chain(server)
    context.verify_mode = ssl.CERT_REQUIRED
    ours = tmp_path / "client.pem"

    async def work(api: Api, ask: Ask) -> None:
        nothing = await ask()
        assert (nothing.kind, api.seen) == (Kind.STOPPED, [])
        assert str(ours) in nothing.answer
        ours.write_text("no certificate")
        assert (await ask()).kind is Kind.STOPPED
        certificate(tmp_path, "client", "authority")
        assert (await ask()).kind is Kind.DELIVERED, "a new file is used at once"

    with_api(work, {"tls": {"ca": authority, "certificate": str(ours)}}, tls=context)

    async def distrust(api: Api, ask: Ask) -> None:
        assert (await ask()).kind is Kind.FAILED

    with_api(distrust, {}, tls=context)


def test_attempts_that_wait_for_a_token_share_one_fetch() -> None:
    async def work(api: Api, ask: Ask) -> None:
        api.answers.append(token("token-number-1"))
        outcomes = await asyncio.gather(*(ask(envelope(batch=n)) for n in range(5)))
        assert {outcome.kind for outcome in outcomes} == {Kind.DELIVERED}
        assert [target for target, _, _ in api.seen].count("POST /token") == 1

    with_api(work, oauth2())
