"""Settings of the service: from environment variables, and from a file in TOML that they override.

A setting is one field of `Settings`: `grace_s` is the variable RIDGELINE_GRACE_S and the key `grace_s` of the
file. What is no setting is refused, wherever it stands, so that a misspelt limit is not a missing one.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from rapidfuzz import process

from ridgeline_server.default_database import file_url
from ridgeline_server.planning.limits import MAX_ROWS
from ridgeline_server.store.roles import Role

PREFIX = "RIDGELINE_"

FILE_VARIABLE = "RIDGELINE_CONFIG"
"""Names the settings' file."""

DEFAULT_LISTEN = "127.0.0.1:50051"

CLIENT_VARIABLES = frozenset(
    {
        "RIDGELINE_SERVER",
        "RIDGELINE_DEBUG",
        "RIDGELINE_TOKEN",
        "RIDGELINE_TOKEN_FILE",
        "RIDGELINE_TLS",
        "RIDGELINE_TLS_CA",
        "RIDGELINE_CLIENT_CERTIFICATE",
        "RIDGELINE_CLIENT_KEY",
    }
)
"""Variables of the client, which the service shares an environment with and does not read."""

MAX_WORKERS = 256

LIKE_PERCENT = 70
"""How like a wrong name must be to a setting's for the message to propose it."""


class SettingsError(ValueError):
    """The settings cannot be meant; the text names each that is wrong, where it stands and the way out."""


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"give HOST:PORT, such as {DEFAULT_LISTEN}; port 0 is a free one")
    return text


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _roles(value: object) -> object:
    """The table of a file as it is, or `NAME=ROLE,NAME=ROLE` of a variable."""
    if not isinstance(value, str):
        return value
    pairs = [pair.partition("=") for pair in value.split(",")]
    if not all(name.strip() and equals for name, equals, _ in pairs):
        raise ValueError("give NAME=ROLE, separated by commas, such as ops.example.org=admin")
    return {name.strip(): role.strip() for name, _, role in pairs}


def is_loopback(listen: str) -> bool:
    """Whether no other machine reaches HOST:PORT. A name other than localhost may come to mean anything."""
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"


Address = Annotated[str, AfterValidator(_address)]
LogFormat = Annotated[Literal["text", "json"], BeforeValidator(_lower)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
CertificateRoles = Annotated[dict[str, Role], BeforeValidator(_roles)]


class Settings(BaseModel):
    """Where the service listens, what it stores in, and how it works."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: Address = Field(default=DEFAULT_LISTEN, description="HOST:PORT that serve listens on")
    database_url: str = Field(
        default="",
        validate_default=True,
        # It may hold a password.
        repr=False,
        description="sqlite:///PATH or postgresql://USER@HOST:PORT/NAME; SQLite under home unless set",
    )
    home: str = Field(default="", description="folder of the SQLite file; the user's data folder unless set")
    sweep_max_rows: int = Field(default=MAX_ROWS, ge=1, le=2**31 - 1, description="points of one sweep")
    workers: int = Field(default=1, ge=1, le=MAX_WORKERS, description="processes that share the port")
    threads: int = Field(
        default=4, ge=1, le=1000, description="unary calls that a process answers at the same time"
    )
    stream_threads: int = Field(
        default=8, ge=1, le=1000, description="streams that a process answers at the same time"
    )
    write_threads: int = Field(
        default=4, ge=1, le=1000, description="calls that may write, answered by a process at the same time"
    )
    grace_s: float = Field(
        default=20.0, ge=0, le=3600, description="seconds that calls in flight get at a stop"
    )
    drain_s: float = Field(
        default=0.0,
        ge=0,
        le=3600,
        description="seconds from NOT_SERVING to the end of new calls at a stop, for load balancers",
    )
    log_level: LogLevel = Field(default="info", description="debug, info, warning or error")
    authentication: Literal["", "off", "required"] = Field(
        default="", description="off or required: whether calls need a token; off on loopback unless set"
    )
    allow_insecure: bool = Field(
        default=False, description="true: serve other machines in clear text, as behind a proxy"
    )
    tls_certificate: str = Field(default="", description="PEM file of the server's certificate and its chain")
    tls_key: str = Field(default="", description="PEM file of the certificate's key")
    tls_client_ca: str = Field(
        default="", description="PEM file of the CAs of client certificates, which are then required"
    )
    certificate_roles: CertificateRoles = Field(
        default={}, description="NAME=ROLE,...: the roles of client certificates, by their names"
    )
    token_refresh_s: float = Field(
        default=1.0, ge=0, le=60, description="seconds until a revoked token is refused everywhere"
    )
    token_outage_s: float = Field(
        default=60.0,
        ge=0,
        le=3600,
        description="seconds that tokens seen before hold while the database does not answer",
    )
    calls_per_s: float = Field(
        default=0.0, ge=0, le=1e6, description="calls a second of each caller and process; 0: no limit"
    )
    call_burst: int = Field(
        default=100, ge=1, le=1_000_000, description="calls of a caller before that limit holds"
    )
    max_request_bytes: int = Field(
        default=64 * 2**20, ge=2**20, le=2**30, description="size of the largest request that is read"
    )
    log_format: LogFormat = Field(default="text", description="text or json: how lines of the log look")
    metrics_listen: Address | None = Field(
        default=None, description="HOST:PORT that Prometheus asks for metrics; none unless set"
    )
    tracing: bool = Field(
        default=False, description="send spans by OTLP, as OTEL_* variables say; true or false"
    )
    channelz: bool = Field(
        default=False, description="let callers look into the server's sockets; true or false"
    )

    catalog_max_age_s: float = Field(
        default=1.0,
        ge=0,
        le=3600,
        description="seconds after which another server's write is seen at the latest",
    )
    catalog_stale_s: float = Field(
        default=300.0,
        ge=0,
        le=7 * 86400,
        description="seconds that questions are answered from memory while the database is away",
    )
    database_pool_size: int | None = Field(
        default=None, ge=1, le=1000, description="connections to the database; one a call unless set"
    )
    database_pool_wait_s: float = Field(
        default=5.0, ge=0, le=3600, description="seconds that a call waits for a free connection"
    )
    database_timeout_s: float = Field(
        default=10.0, ge=1, le=3600, description="seconds that PostgreSQL may take over one statement"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: object, info: ValidationInfo) -> object:
        """Python takes true for 1: `workers = true` in a file is a slip."""
        assert info.field_name is not None
        kind = cls.model_fields[info.field_name].annotation
        if isinstance(value, bool) and kind in (int, float, int | None):
            raise ValueError("give a number")
        return value

    def model_post_init(self, context: object, /) -> None:  # noqa: ARG002
        """Complete what follows from other settings."""
        if not self.database_url:
            object.__setattr__(self, "database_url", file_url(self.home))
        if not self.authentication:
            object.__setattr__(self, "authentication", "off" if is_loopback(self.listen) else "required")

    @property
    def calls(self) -> int:
        """The calls that a process works on at the same time; each needs one connection at most."""
        return self.threads + self.stream_threads + self.write_threads

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The settings of an environment and of the file that RIDGELINE_CONFIG names in it.

        An empty variable counts as absent. Raises SettingsError with everything that is wrong.
        """
        file = environment.get(FILE_VARIABLE, "")
        in_file = _file(Path(file)) if file else {}
        in_environment = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX) and name not in CLIENT_VARIABLES and name != FILE_VARIABLE and value
        }
        try:
            return cls.model_validate({**in_file, **in_environment})
        except ValidationError as error:
            lines = [_told(problem, in_environment, file) for problem in error.errors(include_url=False)]
            raise SettingsError("\n".join(lines)) from None


def _file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"{FILE_VARIABLE} is '{path}', which cannot be read: {error.strerror}") from None
    except ValueError as error:  # of TOML and of UTF-8
        raise SettingsError(f"{FILE_VARIABLE} is '{path}', which is no TOML: {error}") from None


def _told(problem: ErrorDetails, in_environment: Mapping[str, str], file: str) -> str:
    """One sentence: the setting under the name that it was given by, its value, and the way out."""
    key, *below = map(str, problem["loc"])
    place = f"{PREFIX}{key.upper()}" if key in in_environment else f"{key} in {file}"
    if problem["type"] == "extra_forbidden":
        if key in in_environment:
            hint = "Kubernetes sets such variables unless enableServiceLinks is false"
        else:
            hint = "settings stand at the top of the file, and the one table is certificate_roles"
        way_out = _alike(key) or f"see `ridgeline-server --help`; {hint}"
        return f"{place} is no setting of ridgeline-server; {way_out}"
    if not Settings.model_fields[key].repr:
        return f"{place} cannot be used, which may hold a secret and is not shown; {_wish(problem)}"
    within = f"'{below[0]}' of " if below else ""
    value = problem["input"]
    shown = str(value).lower() if isinstance(value, bool) else value
    return f"{within}{place} is '{shown}'; {_wish(problem)}"


def _wish(problem: ErrorDetails) -> str:
    context = problem.get("ctx", {})
    metadata = Settings.model_fields[str(problem["loc"][0])].metadata
    low, high = (next((getattr(m, end) for m in metadata if hasattr(m, end)), None) for end in ("ge", "le"))
    match problem["type"]:
        case "value_error":
            return str(context["error"])
        case "literal_error" | "enum":
            return f"give one of {context['expected']}"
        case kind if low is not None and high is not None:
            number = "a whole number" if kind.startswith("int_") else "a number"
            return f"give {number} from {low:,} to {high:,.0f}"
        case _:
            return problem["msg"].lower()


def _alike(key: str) -> str:
    """A question after the setting that a name looks like; empty where it looks like none."""
    found = process.extractOne(key, list(Settings.model_fields), score_cutoff=LIKE_PERCENT)
    if found is not None:
        return f"do you mean {found[0]}?"
    return ""
