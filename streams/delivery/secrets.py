"""Owns the secrets of one partner while the process runs: read where they stand, and blotted out of whatever is kept.

No other module may hold a secret's text, and none may put it into a message, a log or an error.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from topology.credentials import Secret

MOST_BYTES = 64 * 1024
"""Of a secret in a file."""
REMEMBERED = 16
"""Texts that are blotted out after newer ones took their place: an answer may come late."""
SHORTEST = 6
"""Characters; what is shorter stands in too many innocent places."""


class SecretMissing(Exception):
    """A secret is not where it should be. The message says where that is, and nothing of the secret."""


class Secrets:
    """Reads secrets by reference and knows which texts may not be shown."""

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env
        self._read: deque[str] = deque(maxlen=REMEMBERED)
        self._fixed: frozenset[str] = frozenset()

    def always(self, *texts: str | None) -> None:
        """Texts that stand in the configuration itself."""
        self._fixed |= {text for text in texts if text and len(text) >= SHORTEST}

    def note(self, text: str) -> str:
        """A text made of a secret, or a token that was handed out; gives it back."""
        if len(text) >= SHORTEST and text not in self._read:
            self._read.append(text)
        return text

    @property
    def texts(self) -> frozenset[str]:
        """What must be blotted out."""
        return self._fixed | frozenset(self._read)

    def read(self, secret: Secret) -> str:
        """The text of a secret as it is now. Raises SecretMissing. A file is small and local: reading it does not hold
        up a loop."""
        if secret.env is not None:
            found = self._env.get(secret.env)
            if not found:
                raise SecretMissing(f"environment variable {secret.env} is not set")
            return self._checked(found, f"environment variable {secret.env}")
        assert secret.file is not None
        try:
            with Path(secret.file).open("rb") as file:
                data = file.read(MOST_BYTES + 1)
            text = data.decode().rstrip()
        except OSError as error:
            raise SecretMissing(f"secret file {secret.file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SecretMissing(f"secret file {secret.file} is no UTF-8 text") from None
        if len(data) > MOST_BYTES:
            raise SecretMissing(f"secret file {secret.file} has more than {MOST_BYTES} bytes")
        return self._checked(text, f"secret file {secret.file}")

    def _checked(self, text: str, where: str) -> str:
        """What can stand in a header: what cannot would fail further on, with the text in the error."""
        if not text or not text.isprintable():
            raise SecretMissing(f"{where} holds no printable text on one line")
        return self.note(text)
