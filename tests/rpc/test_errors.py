"""Every reason of the contract: which failure has it, its code, and what its caller is told."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2

from ridgeline import errors
from ridgeline.v1 import errors_pb2
from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest, AnalyzeResponse
from ridgeline.wire import WireTransport
from ridgeline_server.domain.errors import (
    FieldViolation,
    InvalidFieldsError,
    MissingProfileError,
    UnsupportedArchitectureError,
    UnsupportedConfigError,
    UnsupportedDtypeError,
)
from ridgeline_server.domain.patience import NoLongerWantedError, OutOfTimeError
from ridgeline_server.rpc.dispatch import Method
from ridgeline_server.rpc.errors import (
    ConcurrentWritesError,
    InvalidPageTokenError,
    StaleEtagError,
    TooManyCallsError,
    UnsupportedConfigFieldError,
    status_of,
)
from ridgeline_server.security.errors import Doubt, RateLimitedError, RoleTooLowError, UnauthenticatedError
from ridgeline_server.store import errors as store
from ridgeline_server.store.roles import Role
from tests.rpc.conftest import running
from tests.store.samples import model

HARDWARE, MODEL, PROFILE = store.Resource
PROTO = Path(__file__).resolve().parents[2] / "proto" / "ridgeline" / "v1" / "errors.proto"
WHERE = "/srv/private/ridgeline.sqlite3"

CASES: dict[str, tuple[Exception, type[errors.RidgelineError]]] = {
    "INVALID_FIELD": (
        InvalidFieldsError([FieldViolation("workload.batch", "is 0; give 1 or more")]),
        errors.InvalidArgumentError,
    ),
    "UNSUPPORTED_CONFIG": (
        UnsupportedConfigFieldError([FieldViolation("model.config_json", "describes experts")]),
        errors.InvalidArgumentError,
    ),
    "HARDWARE_NOT_FOUND": (store.NotFoundError(HARDWARE, "h10", ["h100"]), errors.NotFoundError),
    "MODEL_NOT_FOUND": (store.NotFoundError(MODEL, "x", []), errors.NotFoundError),
    "EFFICIENCY_PROFILE_NOT_FOUND": (store.NotFoundError(PROFILE, "x", []), errors.NotFoundError),
    "MEASUREMENT_NOT_FOUND": (store.MeasurementsNotFoundError(["m1", "m2"]), errors.NotFoundError),
    "NAME_TAKEN": (store.NameTakenError(MODEL, "a", "b/c"), errors.AlreadyExistsError),
    "ETAG_MISMATCH": (
        StaleEtagError(store.EtagMismatchError(MODEL, model(), model()), [("notes", "[]", '["n"]')]),
        errors.AbortedError,
    ),
    "CONCURRENT_WRITES": (ConcurrentWritesError("rows were stored meanwhile; repeat"), errors.AbortedError),
    "CATALOG_REVISION_OUT_OF_RANGE": (store.RevisionOutOfRangeError(9, 2, 7), errors.OutOfRangeError),
    "UNSUPPORTED_DTYPE": (
        UnsupportedDtypeError("A100 has no fp8 unit", "deployment.activation_dtype"),
        errors.FailedPreconditionError,
    ),
    "UNSUPPORTED_ARCHITECTURE": (
        UnsupportedArchitectureError("deepseek-v3 has latent attention, which is not costed"),
        errors.FailedPreconditionError,
    ),
    "DATABASE_READ_ONLY": (
        store.DatabaseReadOnlyError("it cannot be written", "ask for the right", WHERE),
        errors.FailedPreconditionError,
    ),
    "DATABASE_LOCKED": (store.DatabaseLockedError("it is locked", "repeat", WHERE), errors.UnavailableError),
    "DATABASE_SCHEMA_MISMATCH": (
        store.SchemaMismatchError.between("0099", "0001", ["0001"], WHERE),
        errors.FailedPreconditionError,
    ),
    "DATABASE_POOL_EXHAUSTED": (
        store.PoolExhaustedError("all are in use", "repeat", WHERE),
        errors.UnavailableError,
    ),
    "DATABASE_UNAVAILABLE": (
        store.DatabaseUnavailableError("it does not answer", "start it", WHERE),
        errors.UnavailableError,
    ),
    "INTERNAL": (KeyError("secret"), errors.InternalError),
    "TOO_MANY_CALLS": (TooManyCallsError("writes", 4, 32, 0.25), errors.ResourceExhaustedError),
    "MISSING_TOKEN": (UnauthenticatedError(Doubt.NO_CREDENTIALS), errors.UnauthenticatedError),
    "INVALID_TOKEN": (UnauthenticatedError(Doubt.INVALID), errors.UnauthenticatedError),
    "TOKEN_EXPIRED": (UnauthenticatedError(Doubt.EXPIRED), errors.UnauthenticatedError),
    "TOKEN_REVOKED": (UnauthenticatedError(Doubt.REVOKED), errors.UnauthenticatedError),
    "ROLE_TOO_LOW": (
        RoleTooLowError("ci", Role.READ, Role.WRITE, "CatalogService/CreateModel"),
        errors.PermissionDeniedError,
    ),
    "RATE_LIMITED": (RateLimitedError("ci", 5.0, 10, 0.5), errors.ResourceExhaustedError),
    "DEADLINE_EXCEEDED": (OutOfTimeError("its deadline passed"), errors.DeadlineExceededError),
    "CANCELLED": (NoLongerWantedError("its caller left"), errors.RidgelineError),
    "INVALID_PAGE_TOKEN": (InvalidPageTokenError("does not belong here"), errors.InvalidArgumentError),
}


def test_every_reason_has_a_case() -> None:
    reasons = {
        name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.DESCRIPTOR.values_by_name
    }
    assert set(CASES) == reasons - {"UNSPECIFIED"}


@pytest.mark.parametrize("reason", CASES)
def test_each_reason_comes_with_the_code_that_the_contract_promises(reason: str) -> None:
    comment = re.search(
        rf"// ([A-Z_]+):(?:(?!ERROR_REASON_).)*?ERROR_REASON_{reason} = ",
        PROTO.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert comment is not None
    status = status_of(CASES[reason][0], "a.Service/Method")
    assert code_pb2.Code.Name(status.code) == comment[1]


@pytest.mark.parametrize("reason", CASES)
def test_each_reason_reaches_a_client_whole(reason: str) -> None:
    error, expected = CASES[reason]

    def failing(_: Message) -> Message:
        raise error

    name = "ridgeline.v1.AnalysisService/Analyze"
    with running({name: Method(name, AnalyzeRequest, AnalyzeResponse, failing)}) as server:
        transport = WireTransport(server.address, 20.0)
        with pytest.raises(expected) as raised:
            transport.call(name, AnalyzeRequest(), AnalyzeResponse)
        transport.close()
    sent = errors.from_status(status_of(error, name))
    assert raised.value.reason == reason
    assert (type(raised.value), raised.value.code, raised.value.violations) == (
        type(sent),
        sent.code,
        sent.violations,
    )
    if reason != "INTERNAL":
        assert (raised.value.message, raised.value.metadata) == (sent.message, sent.metadata)
    assert "secret" not in str(raised.value)
    assert WHERE not in str(raised.value)


def test_a_stored_config_that_this_release_cannot_read_is_told_as_such() -> None:
    error = errors.from_status(status_of(UnsupportedConfigError("describes experts", ["num_experts"]), "m"))
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "UNSUPPORTED_CONFIG")


def test_a_rule_of_the_database_itself_is_the_callers_to_keep() -> None:
    error = errors.from_status(status_of(store.InvalidEntryError("it breaks the rule 'positive'"), "m"))
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert "positive" in error.message


def test_a_missing_profile_of_the_estimator_is_no_fault_but_a_wrong_key_is() -> None:
    missing = errors.from_status(status_of(MissingProfileError("the catalog has no profile for gemm"), "m"))
    assert missing.reason == "EFFICIENCY_PROFILE_NOT_FOUND"
    assert errors.from_status(status_of(KeyError("gemm"), "m")).reason == "INTERNAL"
    assert errors.from_status(status_of(IndexError("gemm"), "m")).reason == "INTERNAL"


def test_a_caller_is_not_told_where_the_database_is() -> None:
    for error, _ in CASES.values():
        assert WHERE not in status_of(error, "m").SerializeToString().decode(errors="replace")


@pytest.mark.parametrize("length", [1, 100, 5000])
def test_a_status_fits_into_trailers_however_much_is_wrong(length: int) -> None:
    """Peers of gRPC accept 8 KiB of trailers; the status is sent in base64 beside its message."""
    violations = [FieldViolation(f"aliases[{n}]", "é" * length) for n in range(100)]
    status = status_of(InvalidFieldsError(violations), "m")
    assert len(status.SerializeToString()) * 4 / 3 + 3 * len(status.message) < 7500
    told = errors.from_status(status).violations
    assert told
    assert "100 wrong fields" in status.message
    if len(told) < 100:
        assert f"the first {len(told)} are told" in status.message


def test_violations_without_end_still_reach_a_client_over_the_wire() -> None:
    violations = [FieldViolation(f"hardware.aliases[{n}]", "ü" * 5000) for n in range(100)]

    def failing(_: Message) -> Message:
        raise InvalidFieldsError(violations)

    name = "ridgeline.v1.AnalysisService/Analyze"
    with (
        running({name: Method(name, AnalyzeRequest, AnalyzeResponse, failing)}) as server,
        grpc.insecure_channel(server.address) as plain_channel,
    ):
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = plain_channel.unary_unary(f"/{name}")
        with pytest.raises(grpc.RpcError) as raised:
            call(b"", timeout=20)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_messages_are_sentences() -> None:
    for reason, (error, _) in CASES.items():
        message = status_of(error, "m").message
        assert message[0] == message[0].upper() or message.startswith("deepseek-v3 "), reason
        assert message.endswith("."), reason
        assert not message.endswith(".."), reason


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("it cannot be written", "It cannot be written."),
        ("x-mllama-11B has attention to images", "x-mllama-11B has attention to images."),
        ("org/model is odd", "org/model is odd."),
        ("num_experts is 0", "num_experts is 0."),
        ("'h100' is taken", "'h100' is taken."),
    ],
)
def test_a_name_at_the_start_of_a_sentence_keeps_its_letters(text: str, sentence: str) -> None:
    assert status_of(UnsupportedArchitectureError(text), "m").message == sentence


def test_error_info_has_the_contracts_domain() -> None:
    for error, _ in CASES.values():
        info = error_details_pb2.ErrorInfo()
        assert any(detail.Unpack(info) for detail in status_of(error, "m").details)
        assert info.domain == errors.DOMAIN
