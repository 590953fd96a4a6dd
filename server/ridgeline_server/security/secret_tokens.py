"""The form of a token, and the hash by which its secret is known again.

A token is `ridgeline_ID_SECRET`. The prefix lets scanners for leaked secrets find it. The id is public: it
finds the row, and is what logs and lists show. The secret has 256 bits from the operating system's generator.

The hash is one pass of SHA-256. A slow hash (bcrypt, scrypt, Argon2) makes up for what passwords lack: a
guess costs more because there are few worth guessing. Against 2^256 secrets of equal likelihood there is
nothing to make up for, whoever stole the table; and 50 ms of work for each call would be a way to stop the
service.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

PREFIX = "ridgeline_"

ID_BYTES = 6
SECRET_BYTES = 32

_FORM = re.compile(rf"{PREFIX}(?P<id>[0-9a-f]{{{2 * ID_BYTES}}})_(?P<secret>[0-9a-f]{{{2 * SECRET_BYTES}}})")


@dataclass(frozen=True)
class SecretToken:
    """A token with its secret, which its representation leaves out."""

    id: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> SecretToken:
        """A token that nobody had before."""
        return cls(secrets.token_hex(ID_BYTES), secrets.token_hex(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> SecretToken | None:
        """The token that a text is, None for a text that is none."""
        match = _FORM.fullmatch(text)
        return cls(match["id"], match["secret"]) if match else None

    @property
    def text(self) -> str:
        """The token as its owner sends it."""
        return f"{PREFIX}{self.id}_{self.secret}"

    @property
    def secret_sha256(self) -> str:
        """What the database keeps of the secret."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def has_hash(self, secret_sha256: str) -> bool:
        """Whether the secret is the one that was hashed, in a time that does not tell how much of it is."""
        return hmac.compare_digest(self.secret_sha256, secret_sha256)
