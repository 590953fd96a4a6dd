"""The server's certificate and key, and whom it takes client certificates from; read again when files change.

Files are looked at when a connection is made, which costs three `stat`s; connections that are open keep what
they began with. So a renewed certificate needs no restart, whether a file is written or, as Kubernetes does
it, a symbolic link comes to name another one. While new files do not fit each other, which they do not for
the moment between the writing of two, the certificate of before stays.
"""

from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

logger = logging.getLogger(__name__)


class CertificateError(Exception):
    """The certificate, its key or the client CA cannot be used; the text names the file and the way out."""


@dataclass(frozen=True)
class CertificateFiles:
    """Where the server's certificate with its chain, its key, and the CAs of client certificates lie, in PEM.

    Without `client_ca` no client certificate is asked for; with it none may be missing.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that are named."""
        return (self.certificate, self.key, *([self.client_ca] if self.client_ca else []))


_Signature = tuple[tuple[int, int, int], ...]


class Certificates:
    """What is in the files, as gRPC asks for it at each connection."""

    def __init__(self, files: CertificateFiles) -> None:
        """Raises CertificateError for files that cannot be used."""
        self._files = files
        self._lock = threading.Lock()
        # Before the files are read: what changes meanwhile is read again.
        self._signature = _signature(files)
        self._problem = ""
        self.initial = _configuration(files)

    def credentials(self) -> grpc.ServerCredentials:
        """The credentials of a server's port."""
        return grpc.dynamic_ssl_server_credentials(
            self.initial,
            # The stubs do not tell that it may return None.
            self.changed,  # type: ignore[arg-type]
            require_client_authentication=self._files.client_ca is not None,
        )

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """What new connections begin with; None where it is what those before did."""
        with self._lock:
            try:
                signature = _signature(self._files)
                if signature == self._signature:
                    return None
                found = _configuration(self._files)
            except CertificateError as error:
                self._complain(str(error))
                return None
            self._signature, self._problem = signature, ""
            logger.info("the certificate in %s was read again", self._files.certificate)
            return found

    def _complain(self, problem: str) -> None:
        """Once for each problem, not once for each connection."""
        if problem != self._problem:
            self._problem = problem
            logger.error("the certificate of before stays in use: %s", problem)


def _signature(files: CertificateFiles) -> _Signature:
    return tuple((status.st_ino, status.st_mtime_ns, status.st_size) for status in map(_status, files.paths))


def _status(path: Path) -> Any:
    try:
        return path.stat()
    except OSError as error:
        raise CertificateError(f"'{path}' cannot be read: {error.strerror}") from None


def _configuration(files: CertificateFiles) -> grpc.ServerCertificateConfiguration:
    check_files(files)
    certificate, key, *client_ca = (_content(path) for path in files.paths)
    return grpc.ssl_server_certificate_configuration(
        [(key, certificate)], client_ca[0] if client_ca else None
    )


def check_files(files: CertificateFiles) -> ssl.SSLContext:
    """A context with the certificate. Raises CertificateError: gRPC itself would only log that it cannot use
    the files.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # A password, so that a key that needs one fails instead of asking a terminal for it.
        context.load_cert_chain(files.certificate, files.key, password="")
    except OSError as error:  # SSLError is one
        raise CertificateError(
            f"the certificate '{files.certificate}' and the key '{files.key}' cannot be used: "
            f"{_reason(error)}; give both in PEM, the key without a password and of this certificate"
        ) from None
    if files.client_ca is not None:
        try:
            context.load_verify_locations(files.client_ca)
        except OSError as error:
            raise CertificateError(
                f"the client CA '{files.client_ca}' cannot be used: {_reason(error)}; give certificates "
                "in PEM"
            ) from None
    return context


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"'{path}' cannot be read: {error.strerror}") from None


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no PEM").lower().replace("_", " ")
    return (error.strerror or str(error)).lower()


def first_name(files: CertificateFiles) -> str:
    """A name or address that the certificate is for, as a client that checks it would need. Raises
    CertificateError.

    The standard library tells what a certificate says of a peer alone, so it is shown to ourselves.
    """
    server_side = check_files(files)
    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_side.check_hostname = False
    client_side.load_verify_locations(files.certificate)
    client_side.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    try:
        for side in (client, server, client):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    except ssl.SSLError as error:
        raise CertificateError(
            f"the certificate '{files.certificate}' is no good: {_reason(error)}"
        ) from None
    shown = client.getpeercert() or {}
    stated = (entry for entry in shown.get("subjectAltName", ()) if isinstance(entry, tuple))
    names = [str(entry[1]) for entry in stated if entry[0] in ("DNS", "IP Address")]
    if not names:
        raise CertificateError(
            f"the certificate '{files.certificate}' is for no name; give one with subjectAltName, which "
            "clients check"
        )
    # What a wildcard is for has at least one more word.
    return names[0].replace("*", "any")
