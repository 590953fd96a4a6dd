"""Calls a Ridgeline server over gRPC."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_status import rpc_status

from ridgeline.channels import channel_options, hosts_of, time_limit_s
from ridgeline.credentials import NO_CREDENTIALS, Credentials, tls_problem
from ridgeline.errors import RidgelineError, from_status, of_code
from ridgeline.listeners import hidden_tls_problem

R = TypeVar("R", bound=Message)

REQUEST_ID_KEY = "x-request-id"
"""The metadata that names a call; the server's log tells of the call under it."""

_UNRESOLVED = ("DNS resolution failed", "Domain name not found", "name resolution")
"""What gRPC's resolvers say of a host without an address."""

_TOO_LARGE = "larger than max"
"""What a gRPC server says of a message that is over its limit, 4 MiB unless it was told otherwise."""


class WireTransport:
    """Calls one server over one channel; safe to share between threads."""

    def __init__(
        self, target: str, timeout_s: float | None = None, credentials: Credentials = NO_CREDENTIALS
    ) -> None:
        """Raises InvalidArgumentError for a target that is no address, and for a token that would go to
        another machine in clear text. No connection is made yet. `timeout_s` None gives each call the time
        that its kind needs.
        """
        credentials.refuse_clear_text(hosts_of(target))
        self.target = target
        self._timeout_s = timeout_s
        self._credentials = credentials
        self._channel = credentials.channel(target, channel_options(target))
        self._methods: dict[str, Callable[..., Any]] = {}

    def call(self, method: str, request: Message, response_type: type[R]) -> R:
        """Call `package.Service/Method`. Raises the RidgelineError that the server or the network reports."""
        send = self._methods.get(method)
        if send is None:
            send = self._channel.unary_unary(
                f"/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=response_type.FromString,
            )
            self._methods[method] = send
        request_id = new_request_id()
        try:
            response: R = send(
                request,
                timeout=time_limit_s(method, self._timeout_s),
                metadata=(*self._credentials.metadata(), (REQUEST_ID_KEY, request_id)),
            )
        except grpc.RpcError as error:
            limit_s = time_limit_s(method, self._timeout_s)
            raise translated(error, request, self.target, limit_s, self._credentials, request_id) from None
        return response

    def stream(self, method: str, request: Message, response_type: type[R]) -> Iterator[R]:
        """The responses of a streaming `package.Service/Method`, without a limit of time. Raises the
        RidgelineError that the server or the network reports; closing the iterator cancels the call.
        """
        send: Any = self._channel.unary_stream(
            f"/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response_type.FromString,
        )
        request_id = new_request_id()
        responses = send(request, metadata=(*self._credentials.metadata(), (REQUEST_ID_KEY, request_id)))
        try:
            yield from responses
        except grpc.RpcError as error:
            raise translated(error, request, self.target, math.inf, self._credentials, request_id) from None
        finally:
            responses.cancel()

    def pause(self, seconds: float) -> None:
        """Wait before trying again."""
        time.sleep(seconds)

    def close(self) -> None:
        """Close the channel; calls that are under way are cancelled."""
        self._channel.close()


def new_request_id() -> str:
    """An id that no other call has."""
    return secrets.token_hex(8)


def translated(
    error: grpc.RpcError,
    request: Message,
    target: str,
    limit_s: float,
    credentials: Credentials,
    request_id: str,
) -> RidgelineError:
    """What an error of gRPC means: what the service said, or what became of the way to it."""
    # The RpcError of a call is that call.
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    if status is not None:
        return from_status(status)
    code = error.code().name
    details = error.details() or ""
    if code == "UNAVAILABLE":
        cause = tls_problem(details, credentials) or hidden_tls_problem(details, target, credentials)
        if cause:
            return of_code(code, f"The server at {target} is not reached: {cause}.")
        unnamed = any(words in details for words in _UNRESOLVED)
        cause = "its name cannot be resolved" if unnamed else "nothing answers there"
        message = (
            f"No Ridgeline server can be reached at {target}: {cause}. Start one with "
            "`ridgeline-server serve`, correct the address, or leave it out to answer in this process."
        )
    elif code == "DEADLINE_EXCEEDED":
        message = (
            f"{target} did not answer within {limit_s:g} s. Ask again, or allow more time with timeout_s."
        )
    elif code == "UNIMPLEMENTED":
        message = (
            f"The server at {target} does not know this call: it is no Ridgeline server, or of an "
            "older release; upgrade it."
        )
    elif code == "RESOURCE_EXHAUSTED" and _TOO_LARGE in details:
        size = request.ByteSize() / 2**20
        message = (
            f"{target} takes no request of {size:.1f} MiB at once. Send less in one request, or allow larger "
            "ones there with RIDGELINE_MAX_REQUEST_BYTES."
        )
    else:
        message = f"The call to {target} failed: {details or code}"
    # A server that cannot be reached knows nothing of the call.
    return of_code(code, message, metadata={} if code == "UNAVAILABLE" else {"request_id": request_id})
