"""The frozen models of who we are to a partner or source, and whose certificates we trust.

A secret is never written here: `Secret` names where it stands.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.settings import Settings


class Secret(Settings):
    """Where a secret stands; exactly one of the two. It is read for each attempt, so a new one is used at once."""

    env: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="name of an environment variable")
    file: str | None = Field(
        None, min_length=1, description="path of a file; blanks and line ends at its end do not count"
    )

    @model_validator(mode="after")
    def _one(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError("says where a secret stands; allowed: `{env: NAME}` or `{file: PATH}`")
        return self


class BearerAuth(Settings):
    """`Authorization: Bearer …`."""

    kind: Literal["bearer"] = Field(description="a token")
    token: Secret = Field(description="the token")


class BasicAuth(Settings):
    """`Authorization: Basic …` (RFC 7617)."""

    kind: Literal["basic"] = Field(description="user and password")
    user: str = Field(pattern=r"^[^:]*$", description="name of the user, without a colon")
    password: Secret = Field(description="the password")


class OAuth2Auth(Settings):
    """A bearer token by client credentials (RFC 6749, 4.4), fetched anew before it expires and after a 401."""

    kind: Literal["oauth2"] = Field(description="OAuth 2 client credentials")
    token_url: str = Field(pattern=r"^https?://", description="the token endpoint")
    client_id: str = Field(description="who we are")
    client_secret: Secret = Field(description="the client's secret")
    client_auth: Literal["basic", "post"] = Field(
        "basic", description="whether id and secret go in the Authorization header or in the body"
    )
    scope: str | None = Field(None, description="asked for, if any; several with blanks between")
    audience: str | None = Field(None, description="asked for, if any")


Auth = Annotated[BearerAuth | BasicAuth | OAuth2Auth, Field(discriminator="kind")]


class Tls(Settings):
    """Certificates for https: whom we trust, and for mutual TLS who we are. Changed files are used at once."""

    ca: str | None = Field(None, description="PEM file of the authorities to trust; none: those of the system")
    certificate: str | None = Field(None, description="PEM file of our certificate and its chain")
    key: str | None = Field(None, description="PEM file of its key; none: in `certificate`, too")
    password: Secret | None = Field(None, description="of the key, if it is encrypted")

    @model_validator(mode="after")
    def _whole(self) -> Tls:
        if self.certificate is None and (self.key is not None or self.password is not None):
            raise ValueError("has a key and no certificate; allowed: `certificate` with it")
        return self
