"""Where the server's certificate lies, as the settings say. A health check needs this, and no service."""

from __future__ import annotations

from pathlib import Path

from ridgeline_server.security.certificates import CertificateFiles
from ridgeline_server.settings import Settings


def certificate_files(settings: Settings) -> CertificateFiles | None:
    """The files of the server's certificate; None for clear text."""
    if not settings.tls_certificate:
        return None
    client_ca = Path(settings.tls_client_ca) if settings.tls_client_ca else None
    return CertificateFiles(Path(settings.tls_certificate), Path(settings.tls_key), client_ca)
