"""Asks a running server for its health."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2

TIMEOUT_S = 3.0

SERVING = "SERVING"


class SilentError(Exception):
    """No answer; the text is the name of the gRPC status code."""


def status_at(target: str) -> str:
    """What the server at HOST:PORT says of its health, such as SERVING. Raises SilentError."""
    with grpc.insecure_channel(target) as channel:
        ask = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            response = ask(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            raise SilentError(error.code().name) from None
    status: str = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    return status


def reachable(listen: str) -> str:
    """The address under which this machine reaches a server that listens on all of its addresses."""
    host, _, port = listen.rpartition(":")
    return f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"
