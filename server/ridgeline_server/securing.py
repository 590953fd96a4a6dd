"""What the settings ask of a server: who may call it and how often, and the certificate that it shows."""

from __future__ import annotations

import grpc

from ridgeline_server.certificate_settings import certificate_files
from ridgeline_server.rpc.interceptors.authentication import Authentication
from ridgeline_server.security.certificates import Certificates
from ridgeline_server.security.rate_limits import RateLimits
from ridgeline_server.security.verification import Tokens, TokenVerifier
from ridgeline_server.settings import Settings


def authentication(settings: Settings, tokens: Tokens) -> Authentication:
    """The interceptor that lets callers in. It stands outside of whatever costs more than it does."""
    required = settings.authentication == "required"
    verifier = TokenVerifier(tokens, settings.token_refresh_s, settings.token_outage_s)
    limits = RateLimits(settings.calls_per_s, settings.call_burst)
    return Authentication(verifier if required else None, settings.certificate_roles, limits)


def server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """What the server's port is secured by; None for clear text. Raises CertificateError."""
    files = certificate_files(settings)
    return Certificates(files).credentials() if files else None
