"""Owns one partner's token endpoint: client credentials in, a token or the end of the attempt out (RFC 6749, 4.4, 5).

Apart from `auth.py`, which imports it only where a partner has such an endpoint: its client library takes 0.05 s of
processor time of a worker's start.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749 import OAuth2Token
from yarl import URL

from streams.delivery.protocol import NotAllowed, Outcome, OutcomeKind
from streams.delivery.secrets import Secrets
from topology.credentials import OAuth2Auth

FORM = "application/x-www-form-urlencoded"

Post = Callable[[str, dict[str, str], str], Awaitable[tuple[int, bytes]]]
"""Sends a form to a URL with headers; gives back status and body. Raises what its client raises."""


class TokenEndpoint:
    """Where tokens come from."""

    def __init__(self, auth: OAuth2Auth, secrets: Secrets, post: Post) -> None:
        self._auth, self._secrets, self._post = auth, secrets, post

    async def fetch(self) -> OAuth2Token:
        """A new token. Raises NotAllowed, SecretMissing and what `post` raises."""
        auth = self._auth
        form = {"grant_type": "client_credentials", "scope": auth.scope, "audience": auth.audience}
        client = ClientAuth(auth.client_id, self._secrets.read(auth.client_secret), f"client_secret_{auth.client_auth}")
        given = URL.build(query={name: text for name, text in form.items() if text}).raw_query_string
        plain = {"Content-Type": FORM, "Accept": "application/json"}
        _, headers, body = client.prepare("POST", auth.token_url, plain, given)
        self._secrets.note(headers.get("Authorization", "").rpartition(" ")[2])
        status, answer = await self._post(auth.token_url, headers, body)
        return self._read(status, answer)

    def _read(self, status: int, answer: bytes) -> OAuth2Token:
        """The token in an answer (RFC 6749, 5.1). Raises NotAllowed."""
        said: Any = None
        with suppress(ValueError, RecursionError):
            said = json.loads(answer)
        said = said if isinstance(said, dict) else {}
        token = said.get("access_token")
        if status == 200 and isinstance(token, str) and token and token.isascii() and token.isprintable():
            self._secrets.note(token)
            return OAuth2Token({"access_token": token} | _lifetime(said.get("expires_in")))
        error = said.get("error") if isinstance(said.get("error"), str) else ""
        text = f"not sent: the token endpoint answered {status} {error}".rstrip()
        # 4xx is about us, and people must look at it; anything else may pass.
        kind = OutcomeKind.STOPPED if 400 <= status < 500 and status not in (408, 429) else OutcomeKind.FAILED
        raise NotAllowed(Outcome(kind, text))


def _lifetime(seconds: Any) -> dict[str, int]:
    """Until when a token holds; one that does not say is used until it is refused."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float | str):
        return {}
    try:
        return {"expires_at": int(time.time() + min(float(seconds), 10 * 365 * 86_400))}
    except ValueError:
        return {}
