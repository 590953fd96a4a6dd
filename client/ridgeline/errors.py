"""Errors of the client: one exception per kind of failure, the same over the wire and embedded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from google.rpc import code_pb2, error_details_pb2, status_pb2

DOMAIN = "ridgeline.v1"
"""`google.rpc.ErrorInfo.domain` of every error that Ridgeline itself reports."""

RETRY_DELAY = "retry_delay_s"
"""Where `google.rpc.RetryInfo` is kept in an error's metadata."""


_CALLERS_OWN = frozenset(
    {"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "ABORTED", "OUT_OF_RANGE", "FAILED_PRECONDITION"}
)
"""Codes whose message tells a caller all that there is to know; the text of others has the id to ask for."""


@dataclass(frozen=True)
class FieldViolation:
    """One field that is wrong: its path in the request, such as `workload.batch`, and a sentence with the way
    out.
    """

    field: str
    description: str


class RidgelineError(Exception):
    """A question without an answer.

    `code` is the name of the gRPC status code, `reason` that of the contract's ErrorReason without its prefix
    (empty when whoever failed was not Ridgeline, such as the network), `message` the text for people.
    `violations` lists every wrong field of the request; `message` does not repeat them. `request_id` is the
    id under which the server's log tells of the call; empty where no server was asked.
    """

    default_code: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        reason: str = "",
        violations: Iterable[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
        code: str | None = None,
    ) -> None:
        self.message = message
        self.reason = reason
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        self.code = code or self.default_code
        super().__init__(message, reason, self.violations, self.metadata, self.code)

    @property
    def request_id(self) -> str:
        """The id of the call, over the wire."""
        return self.metadata.get("request_id", "")

    def __str__(self) -> str:
        lines = [self.message, *(f"  {v.field}: {v.description}" for v in self.violations)]
        if self.request_id and self.code not in _CALLERS_OWN and self.request_id not in self.message:
            lines.append(f"  request id: {self.request_id}")
        return "\n".join(lines)


class InvalidArgumentError(RidgelineError):
    """One or more fields of the request are wrong; `violations` lists all of them."""

    default_code = "INVALID_ARGUMENT"


class NotFoundError(RidgelineError):
    """The catalog has no entry of that name."""

    default_code = "NOT_FOUND"

    @property
    def nearest(self) -> tuple[str, ...]:
        """The closest names that the catalog has, best first."""
        return _names(self.metadata.get("nearest", ""))


class AlreadyExistsError(RidgelineError):
    """The id or an alias is taken; `metadata["holder"]` names the entry that has it."""

    default_code = "ALREADY_EXISTS"


class AbortedError(RidgelineError):
    """The entry changed since its etag was read, and `message` tells what: read it again and repeat. Or
    others kept storing rows while a call calibrated by them: repeat.

    `metadata["etag"]` is the current one.
    """

    default_code = "ABORTED"

    @property
    def changed(self) -> tuple[str, ...]:
        """The names of the fields that changed meanwhile."""
        return _names(self.metadata.get("changed", ""))


class OutOfRangeError(RidgelineError):
    """The catalog has no such revision, or its history starts later."""

    default_code = "OUT_OF_RANGE"

    @property
    def revisions(self) -> tuple[int, int] | None:
        """The first and the last revision that can be read, when the service tells."""
        first, last = self.metadata.get("first", ""), self.metadata.get("last", "")
        return (int(first), int(last)) if first.isdecimal() and last.isdecimal() else None


class FailedPreconditionError(RidgelineError):
    """The state of the device, the database or the installation does not allow it; repeating changes
    nothing.
    """

    default_code = "FAILED_PRECONDITION"


class MissingServerError(FailedPreconditionError):
    """The embedded mode needs the service's packages, which are not installed."""


class UnavailableError(RidgelineError):
    """The server or its database does not answer; repeating may help."""

    default_code = "UNAVAILABLE"


class DeadlineExceededError(RidgelineError):
    """The server did not answer in time."""

    default_code = "DEADLINE_EXCEEDED"


class UnauthenticatedError(RidgelineError):
    """The server does not know who calls: no token, one of another server, an expired or a revoked one."""

    default_code = "UNAUTHENTICATED"


class PermissionDeniedError(RidgelineError):
    """The caller's role does not include the call; `metadata["needed_role"]` names one that does."""

    default_code = "PERMISSION_DENIED"


class ResourceExhaustedError(RidgelineError):
    """The server takes no more calls for now, of this caller or of all, or no request of this size."""

    default_code = "RESOURCE_EXHAUSTED"

    @property
    def retry_delay_s(self) -> float | None:
        """After how many seconds to repeat, when the service tells."""
        told = self.metadata.get(RETRY_DELAY)
        return float(told) if told else None


class InternalError(RidgelineError):
    """A fault of Ridgeline's own; `metadata["request_id"]` finds it in the server's log."""

    default_code = "INTERNAL"


_BY_CODE: dict[str, type[RidgelineError]] = {
    error.default_code: error
    for error in (
        InvalidArgumentError,
        NotFoundError,
        AlreadyExistsError,
        AbortedError,
        FailedPreconditionError,
        OutOfRangeError,
        UnavailableError,
        DeadlineExceededError,
        UnauthenticatedError,
        PermissionDeniedError,
        ResourceExhaustedError,
        InternalError,
    )
}


def from_status(status: status_pb2.Status) -> RidgelineError:
    """The exception for a status that Ridgeline sent, whichever way it travelled."""
    reason = ""
    metadata: dict[str, str] = {}
    violations: list[FieldViolation] = []
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            reason = info.reason
            metadata |= info.metadata
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            metadata[RETRY_DELAY] = f"{retry.retry_delay.ToNanoseconds() / 1e9:g}"
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad_request = error_details_pb2.BadRequest()
            detail.Unpack(bad_request)
            violations += [FieldViolation(v.field, v.description) for v in bad_request.field_violations]
    return of_code(_code_name(status.code), status.message, reason, violations, metadata)


def of_code(
    code: str,
    message: str,
    reason: str = "",
    violations: Iterable[FieldViolation] = (),
    metadata: Mapping[str, str] | None = None,
) -> RidgelineError:
    """The exception for a status code's name."""
    return _BY_CODE.get(code, RidgelineError)(message, reason, violations, metadata, code)


def _names(joined: str) -> tuple[str, ...]:
    return tuple(joined.split(", ")) if joined else ()


def _code_name(code: int) -> str:
    known = code_pb2.Code.DESCRIPTOR.values_by_number.get(code)
    return known.name if known else "UNKNOWN"
