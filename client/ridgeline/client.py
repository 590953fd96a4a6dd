"""The Python client: the same questions and answers over the wire and in this process."""

from __future__ import annotations

import math
import os
from types import TracebackType
from typing import Self, TypedDict

from ridgeline.calls.base import Transport
from ridgeline.calls.catalog import CatalogCalls
from ridgeline.calls.hardware import HardwareCalls
from ridgeline.calls.measurements import MeasurementCalls
from ridgeline.calls.models import ModelCalls
from ridgeline.calls.profiles import ProfileCalls
from ridgeline.calls.questions import QuestionCalls
from ridgeline.calls.sweeps import SweepCalls
from ridgeline.errors import FieldViolation, InvalidArgumentError

__all__ = ["Client", "Transport", "connect"]


def connect(
    server: str | None = None,
    database_url: str | None = None,
    timeout_s: float | None = None,
    *,
    token: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    tls: bool | None = None,
    ca: str | os.PathLike[str] | None = None,
    certificate: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    allow_insecure: bool | None = None,
) -> Client:
    """A client of the server at `server` (HOST:PORT), of RIDGELINE_SERVER, or of the service in this process.

    In this process the service uses `database_url`, else RIDGELINE_DATABASE_URL, else a SQLite file under
    RIDGELINE_HOME (default: the platform's user data directory); it creates, migrates and seeds a SQLite file
    when needed. `timeout_s` limits each call over the wire; by default
    30 s, 300 s where it is about many rows. Sweeps have no limit.

    A server that asks who calls is shown `token`, or what `token_file` holds (RIDGELINE_TOKEN,
    RIDGELINE_TOKEN_FILE). Calls are encrypted with `tls` (RIDGELINE_TLS), with `ca`, the PEM file of the
    authorities that the server's certificate is from (RIDGELINE_TLS_CA), and with `certificate` and `key`,
    the client's own (RIDGELINE_CLIENT_CERTIFICATE, RIDGELINE_CLIENT_KEY). A token goes to another machine in
    clear text only with `allow_insecure` (RIDGELINE_ALLOW_INSECURE).

    Nothing is sent yet to a server, so that one which does not answer is found by the first call. Raises
    InvalidArgumentError for arguments that cannot be meant, MissingServerError when the service is not
    installed, and the database's errors.
    """
    security: Security = {
        "token": token,
        "token_file": token_file,
        "tls": tls,
        "ca": ca,
        "certificate": certificate,
        "key": key,
        "allow_insecure": allow_insecure,
    }
    named = resolved_server(server, database_url, timeout_s, security)
    if named is not None:
        from ridgeline.credentials import Credentials
        from ridgeline.wire import WireTransport

        return Client(WireTransport(named, timeout_s, Credentials.resolved(**security)))
    from ridgeline.embedded import EmbeddedTransport

    return Client(EmbeddedTransport(database_url))


class Security(TypedDict, total=False):
    """The arguments of `connect` that secure calls."""

    token: str | None
    token_file: str | os.PathLike[str] | None
    tls: bool | None
    ca: str | os.PathLike[str] | None
    certificate: str | os.PathLike[str] | None
    key: str | os.PathLike[str] | None
    allow_insecure: bool | None


def resolved_server(
    server: str | None, database_url: str | None, timeout_s: float | None, security: Security
) -> str | None:
    """The server that is meant; None for the service in this process. Raises InvalidArgumentError for
    arguments that cannot be meant.
    """
    if timeout_s is not None and not 0 < timeout_s < math.inf:
        raise _wrong_argument("timeout_s", f"is {timeout_s!r}; give seconds over 0, such as 30")
    if server is not None and database_url is not None:
        raise _wrong_argument(
            "database_url", "is given together with server; a server has its own database: give one of both"
        )
    if server is None and database_url is None:
        server = os.environ.get("RIDGELINE_SERVER") or None
    if server is None:
        for name, value in security.items():
            if value is not None:
                raise _wrong_argument(name, "is given without a server, to which alone it could be shown")
    return server


class Client(
    QuestionCalls, SweepCalls, HardwareCalls, ModelCalls, ProfileCalls, CatalogCalls, MeasurementCalls
):
    """Asks questions. Safe to share between threads; close it, or use it as a context manager.

    A method returns the whole response message of its rpc, which `ridgeline.jsonform` prints (the `iter_`
    ones yield entries instead, sweeps record batches), and raises `ridgeline.errors.RidgelineError`: beside
    the errors that a method names, UnavailableError and DeadlineExceededError when the server or the database
    does not answer.
    """

    @property
    def target(self) -> str:
        """HOST:PORT of the server, or `embedded`."""
        return self._transport.target

    def close(self) -> None:
        """Close the connection, or the embedded database."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _wrong_argument(field: str, description: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        "The client cannot connect.", "INVALID_FIELD", [FieldViolation(field, description)]
    )
