"""How a client finds servers, spreads calls over them, tries again, and notices that one is gone."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from ridgeline.errors import FieldViolation, InvalidArgumentError

MAX_MESSAGE_BYTES = 64 * 2**20
"""gRPC's own limit of 4 MiB would refuse pages that the contract allows."""

MAX_PORT = 65535

KEEPALIVE_S = 30
KEEPALIVE_TIMEOUT_S = 10
"""While a call is under way its connection is asked for a sign of life as often, and given up without one: a
server that lost power says no goodbye.
"""

RETRIES: dict[str, Any] = {
    "maxAttempts": 4,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
"""How calls that change nothing are tried again: four times in all, within about two seconds."""

LONG_S = 300.0
USUAL_S = 30.0
LONG = re.compile(r"/(Calibrate|Import\w+|Validate\w+|SummarizeErrors)$")
"""Calls about many rows, which may take LONG_S where no limit is stated; others USUAL_S."""

_HOST_AND_PORT = re.compile(r"(dns:///)?(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+):(?P<port>[0-9]{1,9})")
_ADDRESSES = re.compile(r"(ipv4|ipv6):(?P<list>[^\s/]+)")
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[0-9.]+):(?P<port>[0-9]{1,9})")


def hosts_of(target: str) -> list[str]:
    """The hosts of HOST:PORT, with or without `dns:///`, or of a list of addresses such as
    `ipv4:10.0.0.1:50051,10.0.0.2:50051`. Raises InvalidArgumentError for anything else.
    """
    listed, single = _ADDRESSES.fullmatch(target), _HOST_AND_PORT.fullmatch(target)
    each = [_ADDRESS.fullmatch(part) for part in listed["list"].split(",")] if listed else [single]
    hosts = []
    for found in each:
        if found is None:
            raise _wrong_target(f"is '{target}'; give HOST:PORT without a scheme, such as localhost:50051")
        if not 1 <= int(found["port"]) <= MAX_PORT:
            raise _wrong_target(f"is '{target}'; ports are from 1 to {MAX_PORT}")
        hosts.append(found["host"])
    return hosts


def channel_options(target: str) -> list[tuple[str, Any]]:
    """The options of a channel to a target."""
    spread = target.startswith("dns:///") or _ADDRESSES.fullmatch(target) is not None
    return [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # A subchannel pool of its own: one shared between channels would make a new client wait out the
        # back-off of an older one whose server was down.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.keepalive_time_ms", KEEPALIVE_S * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_S * 1000),
        ("grpc.primary_user_agent", _user_agent()),
        ("grpc.service_config", service_config(spread=spread)),
    ]


def time_limit_s(method: str, stated_s: float | None) -> float:
    """How long a call may take: what is stated for all, else what calls of its kind need."""
    if stated_s is not None:
        return stated_s
    return LONG_S if LONG.search(method) else USUAL_S


@cache
def service_config(*, spread: bool) -> str:
    """GRPC's service config: calls are made again where the contract says that a call changes nothing
    (`idempotency_level`). A write that failed may have been done; it is for the caller to look. With `spread`
    all addresses are used in turn, else the first that answers.
    """
    names = [
        {"service": method.containing_service.full_name, "method": method.name}
        for method in methods()
        # A sweep goes on by its token where it broke off.
        if changes_nothing(method) and not method.server_streaming
    ]
    config: dict[str, Any] = {"methodConfig": [{"name": names, "retryPolicy": RETRIES}]}
    if spread:
        # A server that stops says so in its health before it refuses calls.
        config["healthCheckConfig"] = {"serviceName": ""}
    config["loadBalancingConfig"] = [{"round_robin" if spread else "pick_first": {}}]
    return json.dumps(config)


def methods() -> list[MethodDescriptor]:
    """The rpcs of the contract."""
    from ridgeline.v1 import (
        analysis_service_pb2,
        catalog_service_pb2,
        measurement_service_pb2,
        recommendation_service_pb2,
    )

    files = analysis_service_pb2, catalog_service_pb2, measurement_service_pb2, recommendation_service_pb2
    return [
        method
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]


def changes_nothing(method: MethodDescriptor) -> bool:
    """Whether a call may be made again without harm."""
    options: MethodOptions = method.GetOptions()
    return options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS


@cache
def _user_agent() -> str:
    from importlib.metadata import version

    return f"ridgeline-python/{version('ridgeline')}"


def _wrong_target(description: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        "The server's address is wrong.", "INVALID_FIELD", [FieldViolation("server", description)]
    )
