"""Why a call is refused before its handler hears of it. Messages name the way out and quote no secret."""

from __future__ import annotations

from enum import StrEnum

from ridgeline_server.store.roles import Role


class Doubt(StrEnum):
    """Why it is not known who calls."""

    NO_CREDENTIALS = "no_credentials"
    INVALID = "invalid"
    EXPIRED = "expired"
    REVOKED = "revoked"


_SENTENCES = {
    Doubt.NO_CREDENTIALS: (
        "the call has no token; send one as `authorization: Bearer TOKEN` (with this client: "
        "RIDGELINE_TOKEN), which "
        "`ridgeline-server token create` makes"
    ),
    Doubt.INVALID: (
        "the call's token is none of this server's; check that it was copied whole, or have one made by "
        "`ridgeline-server token create`"
    ),
    Doubt.EXPIRED: "the call's token has expired; have a new one made by `ridgeline-server token create`",
    Doubt.REVOKED: "the call's token was revoked; have a new one made by `ridgeline-server token create`",
}


class AccessError(Exception):
    """A call that is refused, whatever it asks."""


class UnauthenticatedError(AccessError):
    """It is not known who calls."""

    def __init__(self, doubt: Doubt) -> None:
        self.doubt = doubt
        super().__init__(_SENTENCES[doubt])


class RoleTooLowError(AccessError):
    """It is known who calls, and that they may not. `role` is None for a client certificate without one."""

    def __init__(self, principal: str, role: Role | None, needed: Role, rpc: str) -> None:
        self.role = role
        self.needed = needed
        has = f"has the role {role}" if role else "has a certificate and no role"
        remedy = (
            "use a token with that role"
            if role
            else "name the certificate in RIDGELINE_CERTIFICATE_ROLES, or send a token"
        )
        super().__init__(f"{rpc} needs the role {needed}, and '{principal}' {has}; {remedy}")


class RateLimitedError(AccessError):
    """A caller calls more often than allowed; `delay_s` is when the next call is allowed."""

    def __init__(self, caller: str, calls_per_s: float, burst: int, delay_s: float) -> None:
        self.delay_s = delay_s
        super().__init__(
            f"'{caller}' calls more often than this server allows, which is {calls_per_s:g} a second "
            "after the first "
            f"{burst}; repeat after {delay_s:.2g} s"
        )
