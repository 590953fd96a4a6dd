"""Exit codes tell an answer from a no, a wrong question, an unknown name and an absent server."""

from __future__ import annotations

import pytest

from ridgeline import errors
from ridgeline.errors import FieldViolation, RidgelineError
from ridgeline.v1 import common_pb2
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeClient, recommendation
from tests.unit.plots.answers import analysis

QUESTION = ("llama-2-7b", "rtx-a6000", "--input-len", "2048")
MISSED = (common_pb2.NOTICE_CODE_SLO_MISSED, "mean TPOT is 25 ms, over the limit of 20 ms")
EXCEEDED = (common_pb2.NOTICE_CODE_CONTEXT_EXCEEDED, "10,000 tokens, over the context of 4,096")

ERRORS: list[tuple[RidgelineError, int]] = [
    (errors.InvalidArgumentError("The request is wrong."), 2),
    (errors.AlreadyExistsError("The name is taken."), 2),
    (errors.AbortedError("The entry changed."), 2),
    (errors.FailedPreconditionError("No FP8 unit.", "UNSUPPORTED_DTYPE"), 2),
    (errors.MissingServerError("Install ridgeline[server]."), 2),
    (errors.NotFoundError("No model is named so."), 3),
    (errors.UnavailableError("No server can be reached."), 4),
    (errors.DeadlineExceededError("No answer in 30 s."), 4),
    (errors.FailedPreconditionError("Read-only.", "DATABASE_READ_ONLY"), 4),
    (errors.FailedPreconditionError("Newer schema.", "DATABASE_SCHEMA_MISMATCH"), 4),
    (errors.UnavailableError("Locked.", "DATABASE_LOCKED"), 4),
    (errors.UnauthenticatedError("No token.", "MISSING_TOKEN"), 2),
    (errors.PermissionDeniedError("Readers may not.", "ROLE_TOO_LOW"), 2),
    (errors.ResourceExhaustedError("Too large a request."), 2),
    (errors.ResourceExhaustedError("Too many calls.", "RATE_LIMITED"), 4),
    (errors.InternalError("A fault."), 5),
    (RidgelineError("Something else.", code="DATA_LOSS"), 5),
]


@pytest.mark.parametrize("command", ["analyze", "recommend"])
@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: getattr(value, "message", ""))
def test_each_error_has_its_code_and_one_sentence(
    run: Run, fake: FakeClient, command: str, error: RidgelineError, code: int
) -> None:
    fake.error = error
    result = run(command, *QUESTION, "-o", "json")
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: {error.message}")
    assert "Traceback" not in result.stderr


def test_all_violations_are_told_in_the_words_of_the_command_line(run: Run, fake: FakeClient) -> None:
    fake.error = errors.InvalidArgumentError(
        "The request has wrong fields.",
        violations=[
            FieldViolation("workload.batch", "is 0; give 1 to 1,000,000"),
            FieldViolation("hardware.overrides.foo", "is no figure"),
            FieldViolation("deployment.kv_dtype", "is tf32"),
            FieldViolation("hardware.inline.kind", "is empty"),
            FieldViolation("something.else", "is odd"),
        ],
    )
    assert run("analyze", *QUESTION).stderr == (
        "Error: 5 things are wrong:\n"
        "  --batch: is 0; give 1 to 1,000,000\n"
        "  --set foo: is no figure\n"
        "  --kv: is tf32\n"
        "  HARDWARE kind: is empty\n"
        "  something.else: is odd\n"
    )


def test_one_violation_is_one_line(run: Run, fake: FakeClient) -> None:
    violation = FieldViolation("workload.input_len", "is 0; give 1 to 100,000,000")
    fake.error = errors.InvalidArgumentError("The request has one wrong field.", violations=[violation])
    assert run("analyze", *QUESTION).stderr == "Error: --input-len: is 0; give 1 to 100,000,000\n"


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_analyze_says_no_when_it_does_not_fit(run: Run, fake: FakeClient, form: str) -> None:
    fake.analysis = analysis(fits=False)
    result = run("analyze", *QUESTION, "-o", form)
    assert result.exit_code == 1
    assert result.stdout


def test_analyze_says_no_when_it_misses_the_slo(run: Run, fake: FakeClient) -> None:
    fake.analysis = analysis(notices=[MISSED])
    assert run("analyze", *QUESTION, "--slo-tpot-ms", "20").exit_code == 1


def test_a_context_that_is_exceeded_is_told_yet_answered(run: Run, fake: FakeClient) -> None:
    fake.analysis = analysis(notices=[EXCEEDED])
    result = run("analyze", *QUESTION)
    assert result.exit_code == 0
    assert "over the context" in result.stdout


@pytest.mark.parametrize(
    ("baseline_fits", "plans", "plan_fits", "meets_slo", "code"),
    [
        (True, False, True, True, 0),
        (False, True, True, True, 0),
        (False, True, True, False, 1),
        (False, True, False, True, 1),
        (False, False, True, True, 1),
    ],
)
def test_recommend_says_no_when_nothing_makes_it_possible(
    run: Run, fake: FakeClient, baseline_fits: bool, plans: bool, plan_fits: bool, meets_slo: bool, code: int
) -> None:
    fake.advice = recommendation(
        baseline=analysis(fits=baseline_fits), plans=plans, plan_fits=plan_fits, meets_slo=meets_slo
    )
    assert run("recommend", *QUESTION).exit_code == code


def test_a_missed_slo_that_a_plan_meets_is_no_no(run: Run, fake: FakeClient) -> None:
    fake.advice = recommendation(baseline=analysis(notices=[MISSED]))
    assert run("recommend", *QUESTION).exit_code == 0
