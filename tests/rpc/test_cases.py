"""Measured cases over the service: each is answered or told why not, and all are summarised."""

from __future__ import annotations

from typing import Any

import pytest

import ridgeline
from ridgeline.errors import InvalidArgumentError
from ridgeline.v1 import measured_case_pb2 as pb
from ridgeline.v1.recommendation_service_pb2 import VERDICT_APPLY, VERDICT_UNSPECIFIED
from ridgeline_server.rpc.cases import MAX_CASES
from tests.rpc.test_validation import row


def case(name: str = "c1", **changes: Any) -> pb.MeasuredCase:
    """Weights in four bits for a request alone, as measured 1.8 times faster."""
    one: dict[str, Any] = {
        "phase": 2,
        "concurrency": None,
        "batch": 1,
        "weight_dtype": "bf16",
        "act_dtype": "bf16",
        "tp": 1,
    }
    before = row(**one)
    after = row(**{**one, "weight_dtype": "int4", **changes})
    return pb.MeasuredCase(
        case_id=name,
        technique="weight-only-int4",
        case_class=pb.CASE_CLASS_MECHANISM,
        before=before,
        after=after,
        speedup=1.8,
    )


def test_a_case_is_answered_with_an_interval_and_a_verdict(client: ridgeline.Client) -> None:
    answer = client.validate_cases([case()])
    (found,) = answer.predictions
    assert found.low < found.predicted_speedup < found.high
    assert (found.case_id, found.verdict, found.unanswered_reason) == ("c1", VERDICT_APPLY, "")
    assert (answer.overall.cases, answer.overall.answered, answer.overall.right_sign_share) == (1, 1, 1.0)
    assert [summary.group for summary in answer.techniques] == ["weight-only-int4"]
    (count,) = answer.overall.counts
    assert (count.measured, count.predicted, count.cases) == ("helps", "helps", 1)


def test_what_is_wrong_with_one_stops_no_other(client: ridgeline.Client) -> None:
    wrong = case("c2", batch=0)
    unknown = case("c3", model_id="org/none")
    answer = client.validate_cases([wrong, unknown, case()])
    assert [found.HasField("predicted_speedup") for found in answer.predictions] == [False, False, True]
    assert "after.batch: is 0" in answer.predictions[0].unanswered_reason
    assert answer.predictions[1].unanswered_reason.startswith("model_id: no model")
    assert answer.predictions[1].verdict == VERDICT_UNSPECIFIED
    assert (answer.overall.cases, answer.overall.answered) == (3, 1)


def test_a_model_that_is_not_told_has_no_answer(client: ridgeline.Client) -> None:
    asked = case()
    asked.before.ClearField("model_id")
    (found,) = client.validate_cases([asked]).predictions
    assert found.unanswered_reason.startswith("model_id: is empty")


@pytest.mark.parametrize("number", [0, MAX_CASES + 1])
def test_none_and_too_many_are_refused(client: ridgeline.Client, number: int) -> None:
    with pytest.raises(InvalidArgumentError, match="cases"):
        client.validate_cases([pb.MeasuredCase()] * number)
