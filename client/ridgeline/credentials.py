"""What a client shows to a server, and by what it knows that it is the right one: a token, TLS, a
certificate.

A token is as good as its owner to whoever reads it, so it is not sent in clear text to another machine,
unless that is allowed in so many words.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from ridgeline.errors import FieldViolation, InvalidArgumentError

MAX_TOKEN_LENGTH = 4096

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Credentials:
    """How calls to a server are secured. What is empty is not used; the representation shows no token.

    `ca` is a PEM file of the authorities that servers' certificates are from, in place of those that gRPC
    ships; `certificate` and `key` are the client's own. Each of them means TLS, as `tls` alone does.
    """

    token: str = field(default="", repr=False)
    token_file: str = ""
    tls: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""
    allow_insecure: bool = False

    @classmethod
    def resolved(
        cls,
        *,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        tls: bool | None = None,
        ca: str | os.PathLike[str] | None = None,
        certificate: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        allow_insecure: bool | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Credentials:
        """Those of the arguments, and where one is None, of the environment.

        Raises InvalidArgumentError for what cannot be meant together, and for files that cannot be used.
        """
        if token is not None and token_file is not None:
            raise _wrong("token_file", "is given together with token; give one of both")
        if token is None and token_file is None:
            token, token_file = environment.get("RIDGELINE_TOKEN"), environment.get("RIDGELINE_TOKEN_FILE")
            if token and token_file:
                raise _wrong("token_file", "is RIDGELINE_TOKEN_FILE beside RIDGELINE_TOKEN; set one of both")
        found = cls(
            token=(token or "").strip(),
            token_file=os.fspath(token_file or ""),
            tls=_flag("RIDGELINE_TLS", environment) if tls is None else tls,
            ca=_path(ca, "RIDGELINE_TLS_CA", environment),
            certificate=_path(certificate, "RIDGELINE_CLIENT_CERTIFICATE", environment),
            key=_path(key, "RIDGELINE_CLIENT_KEY", environment),
            allow_insecure=(
                _flag("RIDGELINE_ALLOW_INSECURE", environment) if allow_insecure is None else allow_insecure
            ),
        )
        found._check()
        return found

    @property
    def secure(self) -> bool:
        """Whether calls are encrypted."""
        return bool(self.tls or self.ca or self.certificate)

    def channel(self, target: str, options: Sequence[tuple[str, object]]) -> grpc.Channel:
        """A channel to a server."""
        if not self.secure:
            return grpc.insecure_channel(target, options=options)
        return grpc.secure_channel(target, self.channel_credentials(), options=options)

    def refuse_clear_text(self, hosts: Sequence[str]) -> None:
        """Raise InvalidArgumentError where a token would go in clear text to another machine."""
        has_token = bool(self.token or self.token_file)
        abroad = [host for host in hosts if not _is_loopback(host)]
        if has_token and abroad and not (self.secure or self.allow_insecure):
            raise _wrong(
                "token",
                f"would go to {abroad[0]} in clear text; give ca (RIDGELINE_TLS_CA) or tls "
                "(RIDGELINE_TLS=true), or where "
                "the network encrypts, allow_insecure (RIDGELINE_ALLOW_INSECURE=true)",
            )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """TLS, with the client's own certificate where there is one."""
        return grpc.ssl_channel_credentials(
            root_certificates=_content("ca", self.ca),
            private_key=_content("key", self.key),
            certificate_chain=_content("certificate", self.certificate),
        )

    def metadata(self) -> Metadata:
        """What each call carries. A token's file is read each time, for whoever rotates it rewrites it."""
        token = self.token or (_token_in(self.token_file) if self.token_file else "")
        return (("authorization", f"Bearer {token}"),) if token else ()

    def _check(self) -> None:
        if bool(self.certificate) != bool(self.key):
            lacking, other = ("key", "certificate") if self.certificate else ("certificate", "key")
            raise _wrong(lacking, f"is not given, and {other} is; give both")
        if self.token:
            _check_token("token", self.token)
        elif self.token_file:
            _token_in(self.token_file)
        if self.ca:
            _check_pem("ca", self.ca, lambda context: context.load_verify_locations(self.ca))
        if self.certificate:
            # A password, so that a key that needs one fails instead of asking a terminal for it.
            _check_pem(
                "certificate",
                self.certificate,
                lambda context: context.load_cert_chain(self.certificate, self.key, password=""),
            )


NO_CREDENTIALS = Credentials()
"""Nothing is shown, nothing encrypted."""


def tls_problem(details: str, credentials: Credentials) -> str:
    """Why a connection did not come about, by the words of gRPC's own; empty where TLS is not to blame."""
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return "its certificate is of an authority unknown to this client; give its CA (RIDGELINE_TLS_CA)"
    if "Hostname Verification" in details:
        return "its certificate is for another name; ask it by a name that the certificate has"
    if "WRONG_VERSION_NUMBER" in details:
        return (
            "it serves in clear text, and this client was told to encrypt; leave ca, tls and certificate out"
        )
    if "Socket closed" in details:
        if not credentials.secure:
            return "it closes the connection; where it serves TLS, give its CA (RIDGELINE_TLS_CA)"
        if not credentials.certificate:
            return "it closes the connection; where it asks for client certificates, give certificate and key"
        return "it closes the connection; the client's certificate may not be from an authority that it knows"
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _path(given: str | os.PathLike[str] | None, variable: str, environment: Mapping[str, str]) -> str:
    return os.fspath(given) if given is not None else environment.get(variable, "")


def _flag(variable: str, environment: Mapping[str, str]) -> bool:
    text = environment.get(variable, "").lower()
    if text not in _TRUE | _FALSE:
        raise _wrong(variable, f"is '{text}'; give true or false")
    return text in _TRUE


def _token_in(path: str) -> str:
    content = _content("token_file", path) or b""
    token = content[: MAX_TOKEN_LENGTH + 1].decode(errors="replace").strip()
    _check_token("token_file", token)
    return token


def _check_token(name: str, token: str) -> None:
    """Refuse what cannot travel in a header. Messages do not quote it."""
    if not (
        token.isascii() and token.isprintable() and " " not in token and 0 < len(token) <= MAX_TOKEN_LENGTH
    ):
        raise _wrong(name, "holds no token; give one line of letters, digits and signs, without spaces")


def _content(name: str, path: str) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _wrong(name, f"is '{path}', which cannot be read: {error.strerror}") from None


def _check_pem(name: str, path: str, load: Callable[[ssl.SSLContext], None]) -> None:
    """GRPC itself would tell of a wrong file only as a server that cannot be reached."""
    try:
        load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except ssl.SSLError as error:
        reason = (error.reason or "no PEM").lower().replace("_", " ")
        beside = ", and its key" if name == "certificate" else ""
        raise _wrong(name, f"is '{path}', which cannot be used: {reason}; give PEM{beside}") from None
    except OSError as error:
        raise _wrong(name, f"is '{path}', which cannot be read: {error.strerror}") from None


def _wrong(name: str, description: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        "The client cannot connect.", "INVALID_FIELD", [FieldViolation(name, description)]
    )
