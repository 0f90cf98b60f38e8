"""Owns the TLS context of one HTTP partner: made from its files, and made anew when one of them changes."""

from __future__ import annotations

import ssl
from pathlib import Path

from streams.delivery.secrets import Secrets
from topology.credentials import Tls


class CertificateMissing(Exception):
    """A certificate or key cannot be loaded. The message names the files and the reason."""


class TlsContext:
    """The context for the next connection. Connections made with an older one stay as long as they live."""

    def __init__(self, tls: Tls, secrets: Secrets) -> None:
        self._tls, self._secrets = tls, secrets
        self._files = [name for name in (tls.ca, tls.certificate, tls.key) if name is not None]
        self._seen: list[tuple[int, int]] = []
        self._context: ssl.SSLContext | None = None

    def now(self) -> ssl.SSLContext:
        """The context. Raises CertificateMissing and SecretMissing."""
        try:
            stats = [Path(name).stat() for name in self._files]
            seen = [(stat.st_mtime_ns, stat.st_size) for stat in stats]
            if self._context is None or seen != self._seen:
                self._context, self._seen = self._load(), seen
        except OSError as error:  # an SSLError is one
            names = error.filename or ", ".join(self._files)
            raise CertificateMissing(f"{names} cannot be loaded: {error.strerror or error}") from None
        return self._context

    def _load(self) -> ssl.SSLContext:
        tls = self._tls
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.certificate is not None:
            # Without a password of ours OpenSSL would ask the terminal.
            password = self._secrets.read(tls.password) if tls.password is not None else ""
            context.load_cert_chain(tls.certificate, tls.key, lambda: password)
        return context
