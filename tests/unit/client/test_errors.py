"""The client's exceptions."""

from __future__ import annotations

import pickle

import pytest
from google.rpc import error_details_pb2, status_pb2

from ridgeline import errors


def every_error() -> list[type[errors.RidgelineError]]:
    kinds: list[type[errors.RidgelineError]] = [errors.RidgelineError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return kinds


def test_a_status_becomes_the_exception_of_its_code_with_all_details() -> None:
    status = status_pb2.Status(code=3, message="Wrong.")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="INVALID_FIELD", metadata={"a": "b"}))
    status.details.add().Pack(
        error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field="workload.batch", description="is 0"),
                error_details_pb2.BadRequest.FieldViolation(field="basis", description="is 9"),
            ]
        )
    )
    status.details.add().Pack(error_details_pb2.Help())
    error = errors.from_status(status)
    assert isinstance(error, errors.InvalidArgumentError)
    assert (error.code, error.reason, error.message, error.metadata) == (
        "INVALID_ARGUMENT",
        "INVALID_FIELD",
        "Wrong.",
        {"a": "b"},
    )
    assert error.violations == (
        errors.FieldViolation("workload.batch", "is 0"),
        errors.FieldViolation("basis", "is 9"),
    )
    assert str(error) == "Wrong.\n  workload.batch: is 0\n  basis: is 9"


@pytest.mark.parametrize("code", ["UNAVAILABLE", "UNKNOWN", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"])
def test_where_the_log_tells_more_the_text_has_the_id_to_ask_for(code: str) -> None:
    error = errors.of_code(code, "No.", metadata={"request_id": "abc"})
    assert error.request_id == "abc"
    assert str(error) == "No.\n  request id: abc"


def test_a_callers_own_mistake_needs_no_id() -> None:
    error = errors.of_code("NOT_FOUND", "No model is named 'x'.", metadata={"request_id": "abc"})
    assert error.request_id == "abc"
    assert str(error) == "No model is named 'x'."


def test_an_id_is_told_once() -> None:
    error = errors.of_code("INTERNAL", "See the log under abc.", metadata={"request_id": "abc"})
    assert str(error) == "See the log under abc."


def test_in_this_process_there_is_no_id() -> None:
    error = errors.of_code("UNAVAILABLE", "No.")
    assert error.request_id == ""
    assert str(error) == "No."


@pytest.mark.parametrize(("code", "name"), [(12, "UNIMPLEMENTED"), (15, "DATA_LOSS"), (99, "UNKNOWN")])
def test_a_code_without_an_exception_of_its_own_is_still_told(code: int, name: str) -> None:
    error = errors.from_status(status_pb2.Status(code=code, message="m"))
    assert type(error) is errors.RidgelineError
    assert error.code == name


@pytest.mark.parametrize("kind", every_error())
def test_an_exception_survives_the_way_to_another_process(kind: type[errors.RidgelineError]) -> None:
    error = kind("m", "R", [errors.FieldViolation("f", "d")], {"k": "v"})
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.message, copy.reason, copy.violations, copy.metadata, copy.code) == (
        error.message,
        error.reason,
        error.violations,
        error.metadata,
        error.code,
    )


def test_nearest_names_come_as_a_tuple() -> None:
    assert errors.NotFoundError("m", metadata={"nearest": "a, b"}).nearest == ("a", "b")
    assert errors.NotFoundError("m").nearest == ()
