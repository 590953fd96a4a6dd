"""Asks each address of a name such as `localhost` by itself, since gRPC tells of the last one alone."""

from __future__ import annotations

import ipaddress
import socket

import grpc

from ridgeline.credentials import Credentials, tls_problem

REFUSED = "Connection refused"
"""What gRPC says of an address at which nothing listens."""

LOOPBACK = ("127.0.0.1", "::1")

LIMIT_S = 2.0
"""For an answer from this machine."""


def hidden_tls_problem(details: str, target: str, credentials: Credentials) -> str:
    """Why TLS keeps a client from a server on this machine, where gRPC's `details` only say that another
    address of its name refuses connections; empty where TLS is not to blame.

    `localhost` is ::1 and 127.0.0.1 on most machines, and a server listens at one of them. Names of other
    machines are not asked: that might take long.
    """
    host, _, port = target.removeprefix("dns:///").rpartition(":")
    addresses = _addresses(host, port) if REFUSED in details else []
    if host in addresses or not addresses or not all(map(_is_loopback, addresses)):
        return ""
    if set(addresses) <= set(LOOPBACK):
        # gRPC asks both for `localhost`, of which a machine may name one alone.
        addresses = list(LOOPBACK)
    problems = (tls_problem(_details(each, port, host, credentials), credentials) for each in addresses)
    return next(filter(None, problems), "")


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def _addresses(host: str, port: str) -> list[str]:
    """The IP addresses of a host, each once; none where it has none."""
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return []
    return list(dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in found))


def _details(address: str, port: str, host: str, credentials: Credentials) -> str:
    """What gRPC says of a call to one address; empty where it is answered."""
    target = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    # The certificate is to be for the name, not for the address.
    options = [("grpc.ssl_target_name_override", host), ("grpc.use_local_subchannel_pool", 1)]
    with credentials.channel(target, options) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check", bytes, bytes)
        try:
            check(b"", timeout=LIMIT_S)
        except grpc.RpcError as error:
            return str(error.details())
    return ""
