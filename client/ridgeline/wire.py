"""Calls a Ridgeline server over gRPC."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_status import rpc_status

from ridgeline.errors import FieldViolation, InvalidArgumentError, RidgelineError, from_status, of_code

R = TypeVar("R", bound=Message)

MAX_RESPONSE_BYTES = 64 * 2**20
"""gRPC's own limit of 4 MiB would refuse pages that the contract allows."""

MAX_PORT = 65535

REQUEST_ID_KEY = "x-request-id"
"""The metadata that names a call; the server's log tells of the call under it."""

_TARGET = re.compile(r"(dns:///)?(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+):(?P<port>[0-9]{1,9})")

_UNRESOLVED = ("DNS resolution failed", "Domain name not found", "name resolution")
"""What gRPC's resolvers say of a host without an address."""

_TOO_LARGE = "larger than max"
"""What a gRPC server says of a message that is over its limit, 4 MiB unless it was told otherwise."""


class WireTransport:
    """Calls one server over one channel; safe to share between threads."""

    def __init__(self, target: str, timeout_s: float) -> None:
        """Raises InvalidArgumentError for a target that is not HOST:PORT. No connection is made yet."""
        match = _TARGET.fullmatch(target)
        if match is None:
            raise _wrong_target(f"is '{target}'; give HOST:PORT without a scheme, such as localhost:50051")
        if not 1 <= int(match["port"]) <= MAX_PORT:
            raise _wrong_target(f"is '{target}'; ports are from 1 to {MAX_PORT}")
        self.target = target
        self._timeout_s = timeout_s
        # A subchannel pool of its own: one shared between channels would make a new client wait out the
        # back-off of an older one whose server was down.
        self._channel = grpc.insecure_channel(
            target,
            options=[
                ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
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
        request_id = secrets.token_hex(8)
        try:
            response: R = send(request, timeout=self._timeout_s, metadata=((REQUEST_ID_KEY, request_id),))
        except grpc.RpcError as error:
            raise self._translated(error, request, request_id) from None
        return response

    def close(self) -> None:
        """Close the channel; calls that are under way are cancelled."""
        self._channel.close()

    def _translated(self, error: grpc.RpcError, request: Message, request_id: str) -> RidgelineError:
        # The RpcError of a call is that call.
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        if status is not None:
            return from_status(status)
        code = error.code().name
        details = error.details() or ""
        if code == "UNAVAILABLE":
            unnamed = any(words in details for words in _UNRESOLVED)
            cause = "its name cannot be resolved" if unnamed else "nothing answers there"
            message = (
                f"No Ridgeline server can be reached at {self.target}: {cause}. Start one with "
                "`ridgeline-server serve`, correct the address, or leave it out to answer in this process."
            )
        elif code == "DEADLINE_EXCEEDED":
            message = (
                f"{self.target} did not answer within {self._timeout_s:g} s. Ask again, or allow more time "
                "with timeout_s."
            )
        elif code == "UNIMPLEMENTED":
            message = (
                f"The server at {self.target} does not know this call: it is no Ridgeline server, or of an "
                "older release; upgrade it."
            )
        elif code == "RESOURCE_EXHAUSTED" and _TOO_LARGE in details:
            size = request.ByteSize() / 2**20
            message = f"{self.target} takes no request of {size:.1f} MiB at once. Send less in one request."
        else:
            message = f"The call to {self.target} failed: {details or code}"
        # A server that cannot be reached knows nothing of the call.
        return of_code(code, message, metadata={} if code == "UNAVAILABLE" else {"request_id": request_id})


def _wrong_target(description: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        "The server's address is wrong.", "INVALID_FIELD", [FieldViolation("server", description)]
    )
