"""Checks of who can reach the server, and of the certificate that it shows."""

from __future__ import annotations

from collections.abc import Iterator

from ridgeline_server.certificate_settings import certificate_files
from ridgeline_server.checkup.finding import Finding, error, ok
from ridgeline_server.command_errors import EXIT_USAGE
from ridgeline_server.security.certificates import CertificateError, check_files
from ridgeline_server.security.exposure import exposure_problems
from ridgeline_server.settings import Settings


def exposure(settings: Settings) -> Iterator[Finding]:
    """Whether others can reach the service in a way that nobody can mean."""
    problems = list(exposure_problems(settings))
    for problem in problems:
        message, _, remedy = problem.partition("; ")
        yield error("access", message, remedy, EXIT_USAGE)
    if not problems:
        tokens = "asks for tokens" if settings.authentication == "required" else "asks for no tokens"
        way = "TLS" if settings.tls_certificate else "clear text"
        yield ok("access", f"{settings.listen} serves in {way} and {tokens}")


def certificate(settings: Settings) -> Iterator[Finding]:
    """Whether the files of the certificate can be used."""
    try:
        files = certificate_files(settings)
        if files is None:
            return
        check_files(files)
    except CertificateError as problem:
        yield error("certificate", str(problem), "give files that can be read and belong together")
        return
    yield ok("certificate", f"{files.certificate} can be used")
