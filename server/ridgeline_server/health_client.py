"""Asks a running server for its health, over the way that its own settings secure.

The command runs where the server does, with its settings. It knows the server by its very certificate, which
it reads from the same file; so it needs no CA, and the address that it asks need not be one of the
certificate's names. Where client certificates are required it shows RIDGELINE_CLIENT_CERTIFICATE, else the
server's own. Health asks for no token.
"""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2

from ridgeline.credentials import Credentials
from ridgeline.errors import InvalidArgumentError
from ridgeline_server.certificate_settings import certificate_files
from ridgeline_server.security.certificates import CertificateError, CertificateFiles, first_name
from ridgeline_server.settings import Settings

TIMEOUT_S = 3.0

SERVING = health_pb2.HealthCheckResponse.SERVING


class ProbeError(Exception):
    """The server does not tell its health."""


def probe(target: str, settings: Settings) -> tuple[str, bool]:
    """The status of the server at HOST:PORT, and whether it serves. Raises ProbeError where it is silent."""
    try:
        with _channel(target, settings) as channel:
            ask = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            status = ask(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status
    except grpc.RpcError as error:
        told = error.code().name
        if settings.tls_client_ca:
            told += (
                "; it asks for client certificates: give RIDGELINE_CLIENT_CERTIFICATE and "
                "RIDGELINE_CLIENT_KEY, unless the server's own are good for clients too"
            )
        raise ProbeError(told) from None
    except CertificateError as error:
        raise ProbeError(str(error)) from None
    except InvalidArgumentError as error:
        raise ProbeError("; ".join(f"{v.field} {v.description}" for v in error.violations)) from None
    return health_pb2.HealthCheckResponse.ServingStatus.Name(status), status == SERVING


def reachable(listen: str) -> str:
    """The address under which this machine reaches a server that listens on all of its addresses."""
    host, _, port = listen.rpartition(":")
    return f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"


def _channel(target: str, settings: Settings) -> grpc.Channel:
    """Secured as the client's variables say, and else as the server's settings do."""
    client = Credentials.resolved(token="")
    files = certificate_files(settings)
    if client.ca or files is None:
        return (
            grpc.secure_channel(target, client.channel_credentials())
            if client.secure
            else grpc.insecure_channel(target)
        )
    own = Credentials(
        ca=str(files.certificate),
        certificate=client.certificate or _own(files, files.certificate),
        key=client.key or _own(files, files.key),
    )
    return grpc.secure_channel(
        target, own.channel_credentials(), [("grpc.ssl_target_name_override", first_name(files))]
    )


def _own(files: CertificateFiles, path: object) -> str:
    return str(path) if files.client_ca else ""
