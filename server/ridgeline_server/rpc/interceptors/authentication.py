"""Lets a call to its handler once it is known who calls, and that they may.

A token counts before a client certificate: with a mesh or a proxy between, the certificate is the proxy's. A
token that is no good is refused though there is a certificate, for whoever sends one means to be its owner.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import grpc
from grpc_status import rpc_status

from ridgeline_server.rpc.access import check_rows, needed_role
from ridgeline_server.rpc.dispatch import SERVICES
from ridgeline_server.rpc.errors import status_of
from ridgeline_server.rpc.interceptors.around import Continuation, Handler, Wrapped, around
from ridgeline_server.security.errors import AccessError, Doubt, RoleTooLowError, UnauthenticatedError
from ridgeline_server.security.rate_limits import RateLimits, peer_address
from ridgeline_server.security.verification import TokenVerifier
from ridgeline_server.store.errors import DatabaseError
from ridgeline_server.store.principals import ANONYMOUS, acting_as
from ridgeline_server.store.roles import Role

logger = logging.getLogger(__name__)

HEADER = "authorization"
SCHEME = "bearer"


@dataclass(frozen=True)
class Caller:
    """Who calls, and by which name their calls are counted. `role` is None for a certificate without one."""

    principal: str
    counted_as: str
    role: Role | None


class Authentication(grpc.ServerInterceptor):
    """Finds out who calls, counts their calls, and holds their role against the one that the rpc needs."""

    def __init__(
        self,
        verifier: TokenVerifier | None,
        certificate_roles: Mapping[str, Role],
        limits: RateLimits,
    ) -> None:
        """Without a verifier anyone may do anything: tokens are not looked at, and the name of a client
        certificate is only recorded. Raises ValueError where an rpc of the contract has no role.
        """
        check_rows(SERVICES)
        self._verifier = verifier
        self._certificate_roles = certificate_roles
        self._limits = limits
        self._wrapped = Wrapped(self._guarded)

    def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Wrap the handler, since only there it is known where a call comes from."""
        handler = continuation(handler_call_details)
        return None if handler is None else self._wrapped.of(handler_call_details.method, handler)

    def _guarded(self, name: str, handler: Handler) -> Handler:
        rpc = name.removeprefix("/")
        needed = needed_role(rpc)
        if needed is None:
            return handler
        return around(handler, lambda context: self._let_in(rpc, needed, context))

    @contextmanager
    def _let_in(self, rpc: str, needed: Role, context: grpc.ServicerContext) -> Iterator[None]:
        try:
            caller = self._caller(context)
        except Exception as error:  # noqa: BLE001  # the edge, as in dispatch
            _refuse(rpc, context, error)
        with acting_as(caller.principal):
            try:
                self._limits.take(caller.counted_as)
                if self._verifier is not None and not (caller.role and caller.role.includes(needed)):
                    raise RoleTooLowError(caller.principal, caller.role, needed, rpc)
            except AccessError as error:
                _refuse(rpc, context, error)
            yield

    def _caller(self, context: grpc.ServicerContext) -> Caller:
        token = _bearer_token([value for key, value in context.invocation_metadata() if key == HEADER])
        address = f"address {peer_address(context.peer())}"
        names = [name.decode(errors="replace") for name in context.peer_identities() or ()]
        if self._verifier is not None and token is not None:
            stored = self._verifier.verify(token, lambda: self._limits.take(address))
            return Caller(stored.name, stored.name, stored.role)
        if names:
            name = next((name for name in names if name in self._certificate_roles), names[0])
            return Caller(name, name, self._certificate_roles.get(name))
        if self._verifier is None:
            return Caller(ANONYMOUS, address, None)
        self._limits.take(address)
        raise UnauthenticatedError(Doubt.NO_CREDENTIALS)


def _bearer_token(headers: list[str | bytes]) -> str | None:
    """The token of `authorization: Bearer TOKEN`; empty, and so no good, where several are sent."""
    if not headers:
        return None
    scheme, _, token = str(headers[0]).partition(" ")
    if scheme.lower() != SCHEME:
        return None
    return token.strip() if len(headers) == 1 else ""


def _refuse(rpc: str, context: grpc.ServicerContext, error: Exception) -> NoReturn:
    """End a call, and tell the log who was refused what, and what callers are not told of the database."""
    if isinstance(error, AccessError):
        logger.info("%s from %s was refused: %s", rpc, context.peer(), error)
    elif isinstance(error, DatabaseError):
        logger.error("%s failed: nobody tells whose token it has: %s", rpc, error)
    context.abort_with_status(rpc_status.to_status(status_of(error, rpc)))
