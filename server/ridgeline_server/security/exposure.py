"""Refuses to serve other machines by accident: what is sent in clear text stays on this machine."""

from __future__ import annotations

from collections.abc import Iterator

from ridgeline_server.settings import Settings, is_loopback


def exposure_problems(settings: Settings) -> Iterator[str]:
    """What is wrong with how the settings let others reach the service, each with the way out."""
    listen = f"RIDGELINE_LISTEN is '{settings.listen}'"
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        given, lacking = (
            ("RIDGELINE_TLS_CERTIFICATE", "RIDGELINE_TLS_KEY")
            if settings.tls_certificate
            else ("RIDGELINE_TLS_KEY", "RIDGELINE_TLS_CERTIFICATE")
        )
        yield f"{given} is set without {lacking}; give both, or none to serve in clear text"
    elif settings.tls_client_ca and not settings.tls_certificate:
        yield (
            "RIDGELINE_TLS_CLIENT_CA is set without RIDGELINE_TLS_CERTIFICATE and RIDGELINE_TLS_KEY; client "
            "certificates need TLS: give all three"
        )
    if not (settings.tls_certificate or settings.allow_insecure or is_loopback(settings.listen)):
        yield (
            f"{listen}, which other machines reach, and there is no TLS; set RIDGELINE_TLS_CERTIFICATE and "
            "RIDGELINE_TLS_KEY, listen on 127.0.0.1, or where a proxy or a mesh encrypts, set "
            "RIDGELINE_ALLOW_INSECURE=true"
        )
    if settings.certificate_roles and not settings.tls_client_ca:
        yield (
            "RIDGELINE_CERTIFICATE_ROLES is set without RIDGELINE_TLS_CLIENT_CA, so that no client shows a "
            "certificate; set it to the CA of theirs"
        )
    if settings.certificate_roles and settings.authentication == "off":
        yield (
            "RIDGELINE_CERTIFICATE_ROLES is set, and RIDGELINE_AUTHENTICATION is off, so that roles "
            "would not count; "
            "set it to required"
        )
