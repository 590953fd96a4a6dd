"""Turns whatever a handler raises into a google.rpc.Status: the one error path, over the wire and
embedded.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence

from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from ridgeline.v1.errors_pb2 import ErrorReason
from ridgeline_server.domain.errors import (
    FieldViolation,
    InvalidFieldsError,
    MissingProfileError,
    UnsupportedArchitectureError,
    UnsupportedConfigError,
    UnsupportedDtypeError,
)
from ridgeline_server.domain.patience import NoLongerWantedError, OutOfTimeError
from ridgeline_server.observability.calls import current_call, new_request_id
from ridgeline_server.security.errors import Doubt, RateLimitedError, RoleTooLowError, UnauthenticatedError
from ridgeline_server.store import errors as store

logger = logging.getLogger(__name__)

DOMAIN = "ridgeline.v1"
"""`ErrorInfo.domain` of every status."""

MAX_STATUS_BYTES = 4000
"""A status travels in HTTP/2 trailers, of which gRPC peers accept 8 KiB, in base64 and beside its own
message."""

MAX_TEXT_LENGTH = 900
"""Characters of a message or of a violation."""

_WORD = re.compile(r"[a-z]+[,:;]?(?=\s|$)")
"""A word of the language at the start of a text, and no name."""

MAX_TOLD_CHANGES = 6
"""Fields that the message of a stale etag tells."""

_NOT_FOUND = {
    store.Resource.HARDWARE: ErrorReason.ERROR_REASON_HARDWARE_NOT_FOUND,
    store.Resource.MODEL: ErrorReason.ERROR_REASON_MODEL_NOT_FOUND,
    store.Resource.EFFICIENCY_PROFILE: ErrorReason.ERROR_REASON_EFFICIENCY_PROFILE_NOT_FOUND,
}

_DOUBTS = {
    Doubt.NO_CREDENTIALS: ErrorReason.ERROR_REASON_MISSING_TOKEN,
    Doubt.INVALID: ErrorReason.ERROR_REASON_INVALID_TOKEN,
    Doubt.EXPIRED: ErrorReason.ERROR_REASON_TOKEN_EXPIRED,
    Doubt.REVOKED: ErrorReason.ERROR_REASON_TOKEN_REVOKED,
}

_DATABASE = {
    store.DatabaseReadOnlyError: (code_pb2.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_DATABASE_READ_ONLY),
    store.DatabaseLockedError: (code_pb2.UNAVAILABLE, ErrorReason.ERROR_REASON_DATABASE_LOCKED),
    store.PoolExhaustedError: (code_pb2.UNAVAILABLE, ErrorReason.ERROR_REASON_DATABASE_POOL_EXHAUSTED),
    store.SchemaMismatchError: (
        code_pb2.FAILED_PRECONDITION,
        ErrorReason.ERROR_REASON_DATABASE_SCHEMA_MISMATCH,
    ),
}
_OTHER_DATABASE = (code_pb2.UNAVAILABLE, ErrorReason.ERROR_REASON_DATABASE_UNAVAILABLE)


class StatusError(Exception):
    """A call that failed, with the status that its caller gets."""

    def __init__(self, status: status_pb2.Status) -> None:
        self.status = status
        super().__init__(status.message)


class UnsupportedConfigFieldError(InvalidFieldsError):
    """Nothing is wrong with a request but that a config in it cannot be modelled."""


class StaleEtagError(Exception):
    """An entry changed since its etag was read; `changes` are triples of a field, its value before and after,
    as JSON.
    """

    def __init__(self, error: store.EtagMismatchError, changes: Sequence[tuple[str, str, str]]) -> None:
        self.etag: str = error.current.etag
        self.fields = tuple(field for field, _, _ in changes)
        said = ", ".join(
            f"{field} {_cut(before, 60) or 'nothing'} -> {_cut(after, 60) or 'nothing'}"
            for field, before, after in changes[:MAX_TOLD_CHANGES]
        )
        more = f" and {len(changes) - MAX_TOLD_CHANGES} more" if len(changes) > MAX_TOLD_CHANGES else ""
        wrote = f"{error.principal} wrote it at {error.time:%Y-%m-%d %H:%M:%S} UTC" if error.time else ""
        what = f": {said}{more}" if said else ", with the content it had"
        super().__init__(f"{error}. {wrote}{what}" if error.stale is not None else str(error))


class ConcurrentWritesError(Exception):
    """Others kept writing what a call had read, each time that it read it again."""


class TooManyCallsError(Exception):
    """A server has as many calls of a class as it takes; `delay_s` is when it will probably have room."""

    def __init__(self, calls: str, threads: int, taken: int, delay_s: float) -> None:
        self.calls = calls
        self.delay_s = delay_s
        super().__init__(
            f"the server answers {threads} {calls} at a time, and has {taken} already; repeat after "
            f"{delay_s:.2g} s, or spread calls over more servers"
        )


class InvalidPageTokenError(ValueError):
    """A page token does not belong to the query that it came with."""


def status_of(error: Exception, method: str) -> status_pb2.Status:
    """The status for an exception that the handler of `method` raised.

    What neither the caller nor an operator can mend becomes INTERNAL: the caller gets an id, the log the
    traceback.
    """
    match error:
        case InvalidFieldsError():
            return _invalid(error)
        case InvalidPageTokenError():
            violation = FieldViolation("page_token", str(error))
            return _with_violations(ErrorReason.ERROR_REASON_INVALID_PAGE_TOKEN, [violation])
        case UnsupportedConfigError():
            return _status(code_pb2.INVALID_ARGUMENT, str(error), ErrorReason.ERROR_REASON_UNSUPPORTED_CONFIG)
        case UnsupportedArchitectureError():
            return _status(
                code_pb2.FAILED_PRECONDITION, str(error), ErrorReason.ERROR_REASON_UNSUPPORTED_ARCHITECTURE
            )
        case UnsupportedDtypeError():
            return _status(
                code_pb2.FAILED_PRECONDITION,
                str(error),
                ErrorReason.ERROR_REASON_UNSUPPORTED_DTYPE,
                {"field": error.field},
            )
        case MissingProfileError():
            return _status(
                code_pb2.NOT_FOUND, str(error), ErrorReason.ERROR_REASON_EFFICIENCY_PROFILE_NOT_FOUND
            )
        case store.NotFoundError():
            return _status(
                code_pb2.NOT_FOUND,
                str(error),
                _NOT_FOUND[error.resource],
                {"nearest": ", ".join(error.nearest)},
            )
        case store.MeasurementsNotFoundError():
            return _status(
                code_pb2.NOT_FOUND,
                str(error),
                ErrorReason.ERROR_REASON_MEASUREMENT_NOT_FOUND,
                {"ids": _cut(", ".join(error.ids), MAX_TEXT_LENGTH)},
            )
        case store.MeasurementTakenError():
            return _status(
                code_pb2.ALREADY_EXISTS,
                str(error),
                ErrorReason.ERROR_REASON_NAME_TAKEN,
                {"holder": error.measurement_id},
            )
        case store.NameTakenError():
            return _status(
                code_pb2.ALREADY_EXISTS,
                str(error),
                ErrorReason.ERROR_REASON_NAME_TAKEN,
                {"holder": error.holder},
            )
        case StaleEtagError():
            return _status(
                code_pb2.ABORTED,
                str(error),
                ErrorReason.ERROR_REASON_ETAG_MISMATCH,
                {"etag": error.etag, "changed": _cut(", ".join(error.fields), MAX_TEXT_LENGTH)},
            )
        case ConcurrentWritesError():
            return _status(code_pb2.ABORTED, str(error), ErrorReason.ERROR_REASON_CONCURRENT_WRITES)
        case store.InvalidCursorError():
            violation = FieldViolation("page_token", f"{error}; give the next_page_token of its page before")
            return _with_violations(ErrorReason.ERROR_REASON_INVALID_PAGE_TOKEN, [violation])
        case store.RevisionOutOfRangeError():
            return _status(
                code_pb2.OUT_OF_RANGE,
                str(error),
                ErrorReason.ERROR_REASON_CATALOG_REVISION_OUT_OF_RANGE,
                {"first": str(error.first), "last": str(error.last)},
            )
        case OutOfTimeError():
            return _status(code_pb2.DEADLINE_EXCEEDED, str(error), ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED)
        case NoLongerWantedError():
            return _status(code_pb2.CANCELLED, str(error), ErrorReason.ERROR_REASON_CANCELLED)
        case TooManyCallsError():
            return _status(
                code_pb2.RESOURCE_EXHAUSTED,
                str(error),
                ErrorReason.ERROR_REASON_TOO_MANY_CALLS,
                {"calls": error.calls},
                [_retry_after(error.delay_s)],
            )
        case store.InvalidEntryError():
            return _status(code_pb2.INVALID_ARGUMENT, str(error), ErrorReason.ERROR_REASON_INVALID_FIELD)
        case UnauthenticatedError():
            return _status(code_pb2.UNAUTHENTICATED, str(error), _DOUBTS[error.doubt])
        case RoleTooLowError():
            return _status(
                code_pb2.PERMISSION_DENIED,
                str(error),
                ErrorReason.ERROR_REASON_ROLE_TOO_LOW,
                {"role": error.role or "", "needed_role": error.needed},
            )
        case RateLimitedError():
            return _status(
                code_pb2.RESOURCE_EXHAUSTED,
                str(error),
                ErrorReason.ERROR_REASON_RATE_LIMITED,
                details=[_retry_after(error.delay_s)],
            )
        case store.DatabaseError():
            code, reason = _DATABASE.get(type(error), _OTHER_DATABASE)
            return _status(code, f"{error.problem}; {error.remedy}", reason)
        case _:
            call = current_call()
            request_id = call.request_id if call else new_request_id()
            logger.error("%s failed, request %s", method, request_id, exc_info=error)
            return _status(
                code_pb2.INTERNAL,
                f"A fault of Ridgeline's own. Its log tells more under the request id {request_id}",
                ErrorReason.ERROR_REASON_INTERNAL,
                {"request_id": request_id},
            )


def _invalid(error: InvalidFieldsError) -> status_pb2.Status:
    unsupported = isinstance(error, UnsupportedConfigFieldError)
    reason = (
        ErrorReason.ERROR_REASON_UNSUPPORTED_CONFIG if unsupported else ErrorReason.ERROR_REASON_INVALID_FIELD
    )
    return _with_violations(reason, error.violations)


def _with_violations(
    reason: ErrorReason.ValueType, violations: Sequence[FieldViolation]
) -> status_pb2.Status:
    """All violations, or as many as a status can carry; the message names the fields and counts the rest."""
    details = error_details_pb2.BadRequest()
    for violation in violations:
        added = details.field_violations.add(
            field=_cut(violation.field, 200), description=_cut(violation.description, MAX_TEXT_LENGTH)
        )
        if details.ByteSize() > MAX_STATUS_BYTES - 2 * MAX_TEXT_LENGTH:
            details.field_violations.remove(added)
            break
    told = len(details.field_violations)
    fields = ", ".join(dict.fromkeys(v.field for v in details.field_violations))
    count = "one wrong field" if len(violations) == 1 else f"{len(violations)} wrong fields"
    message = f"The request has {count}: {_cut(fields, MAX_TEXT_LENGTH // 2)}"
    if told < len(violations):
        message += f"; the first {told} are told"
    return _status(code_pb2.INVALID_ARGUMENT, message, reason, details=[details])


def _status(
    code: code_pb2.Code.ValueType,
    message: str,
    reason: ErrorReason.ValueType,
    metadata: Mapping[str, str] | None = None,
    details: Sequence[Message] = (),
) -> status_pb2.Status:
    call = current_call()
    request_id = {"request_id": call.request_id} if call else {}
    info = error_details_pb2.ErrorInfo(
        reason=ErrorReason.Name(reason).removeprefix("ERROR_REASON_"),
        domain=DOMAIN,
        metadata={key: value for key, value in {**request_id, **(metadata or {})}.items() if value},
    )
    status = status_pb2.Status(code=code, message=_sentence(message))
    for detail in (info, *details):
        status.details.add().Pack(detail)
    return status


def _retry_after(delay_s: float) -> error_details_pb2.RetryInfo:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromNanoseconds(round(delay_s * 1e9))
    return info


def _sentence(text: str) -> str:
    text = _cut(text, MAX_TEXT_LENGTH)
    # An id or a field that begins the sentence would be another in capitals.
    if _WORD.match(text):
        text = f"{text[:1].upper()}{text[1:]}"
    return text if text.endswith(".") else f"{text}."


def _cut(text: str, length: int) -> str:
    # A caller's config may hold half a surrogate pair, which no message can.
    text = text.encode(errors="replace").decode()
    return text if len(text) <= length else f"{text[: length - 1]}…"
