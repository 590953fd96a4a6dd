"""The certificates of tests/data/certificates, by what they are for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "data" / "certificates"

CA = FOLDER / "ca.pem"
OTHER_CA = FOLDER / "other-ca.pem"

SERVER_NAME = "ridgeline.example.org"
"""A name that all servers' certificates have, beside localhost; none is for an address."""

KEY_WITH_PASSWORD = FOLDER / "server-with-password.key"
"""SERVER's key, encrypted."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path


def pair(name: str) -> Pair:
    """The certificate of this name."""
    return Pair(FOLDER / f"{name}.pem", FOLDER / f"{name}.key")


SERVER = pair("server")
RENEWED_SERVER = pair("renewed-server")
"""For the same names as SERVER, from another authority."""
NAMELESS_SERVER = pair("nameless-server")
"""Without a name that clients would check."""
BOTH_WAYS = pair("both-ways")
"""For the same names as SERVER, and good as a client's too."""
CLIENT = pair("client")
"""Of `ops.example.org`."""
ROLELESS_CLIENT = pair("roleless-client")
"""Of `guest.example.org`."""
FOREIGN_CLIENT = pair("foreign-client")
"""Of `ops.example.org` too, from another authority."""
