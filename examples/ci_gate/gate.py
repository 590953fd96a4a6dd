r"""A gate before a rollout: fails when the deployment that is about to start would miss its SLO.

    pip install "ridgeline[server]"
    python examples/ci_gate/gate.py llama-3.1-8b l40s --launch examples/ci_gate/launch.sh \
        --concurrency 16 --input-len 2000 --output-len 300 --slo-tpot-ms 30

The file of `--launch` holds the command line that the rollout starts, so that what is judged is what will
run. Without RIDGELINE_SERVER the service in this process answers, which needs no network.

Exit codes are those of `ridgeline`: 0 the SLO is met by the means, 1 it is missed or the model does not fit,
2 the question is wrong, 3 a name is unknown, 4 nothing answers, 5 anything else.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import ridgeline
from ridgeline.errors import (
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    RidgelineError,
    UnavailableError,
)
from ridgeline.v1.analysis_service_pb2 import Metric
from ridgeline.v1.common_pb2 import NoticeCode
from ridgeline.v1.recommendation_service_pb2 import Plan, RecommendResponse

FAILS = {
    NoticeCode.NOTICE_CODE_DOES_NOT_FIT,
    NoticeCode.NOTICE_CODE_CONTEXT_EXCEEDED,
    NoticeCode.NOTICE_CODE_SLO_MISSED,
}
"""What is said of a deployment that must not go out."""


def command_in(path: Path) -> str:
    """The command of a shell script that does nothing else: its lines without comments and without `exec`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    command = "\n".join(line for line in lines if not line.lstrip().startswith("#")).strip()
    return command.removeprefix("exec ")


def told(metric: Metric) -> str:
    """A figure with its interval."""
    return f"{metric.expected:.3g} ms ({metric.low:.3g}-{metric.high:.3g})"


def remedy(plan: Plan) -> list[str]:
    """What a plan changes, and how the same engine is started after it."""
    effects = {effect.metric: effect for effect in plan.effects}
    lines = [f"Change: {', '.join(step.title for step in plan.steps)}."]
    lines += [
        f"  {metric}: {effects[metric].before:.3g} -> {effects[metric].after:.3g}"
        for metric in ("ttft_ms", "tpot_ms")
        if metric in effects
    ]
    engine = plan.deployment.engine.partition("@")[0]
    for launch in plan.launches:
        if launch.engine == engine:
            lines += [f"  first, {step}" for step in launch.steps]
            lines.append(f"  {launch.command}")
    return lines


def way_out(advice: RecommendResponse) -> list[str]:
    """The best plan that meets the SLO, or what comes closest to it."""
    for plan in advice.plans:
        if plan.meets_slo:
            return remedy(plan)
    if advice.HasField("closest"):
        return [advice.closest.summary]
    return ["No change that Ridgeline knows makes it meet the SLO."]


def judge(question: argparse.Namespace) -> int:
    """Print the verdict and return the exit code."""
    with ridgeline.connect() as client:
        advice = client.recommend(
            question.model,
            question.hardware,
            launch_command=command_in(question.launch),
            concurrency=question.concurrency,
            input_len=question.input_len,
            output_len=question.output_len,
            slo_ttft_ms=question.slo_ttft_ms,
            slo_tpot_ms=question.slo_tpot_ms,
        )
    metrics = advice.baseline.metrics
    figures = f"TTFT {told(metrics.ttft_ms)}, TPOT {told(metrics.tpot_ms)}"
    reasons = [notice.message for notice in advice.baseline.notices if notice.code in FAILS]
    if not reasons:
        print(f"PASS: {figures}")
        return 0
    print(f"FAIL: {figures}", *(f"  {reason}" for reason in reasons), *way_out(advice), sep="\n")
    return 1


def exit_code(error: RidgelineError) -> int:
    """What a question without an answer ends with, so that a pipeline can tell a "no" from an outage."""
    if isinstance(error, InvalidArgumentError):
        return 2
    if isinstance(error, NotFoundError):
        return 3
    return 4 if isinstance(error, UnavailableError | DeadlineExceededError) else 5


def main() -> None:
    """Read the arguments, judge, and exit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="name in the catalog, or a config.json")
    parser.add_argument("hardware", help="name in the catalog")
    parser.add_argument("--launch", type=Path, required=True, help="file with the command that serves")
    parser.add_argument("--concurrency", type=int, required=True, help="requests in flight")
    parser.add_argument("--input-len", type=int, required=True, help="prompt tokens of a request")
    parser.add_argument("--output-len", type=int, required=True, help="generated tokens of a request")
    parser.add_argument("--slo-ttft-ms", type=float, help="limit of the mean time to first token")
    parser.add_argument("--slo-tpot-ms", type=float, help="limit of the mean time per output token")
    question = parser.parse_args()
    if question.slo_ttft_ms is None and question.slo_tpot_ms is None:
        parser.error("there is nothing to hold it against: give --slo-ttft-ms, --slo-tpot-ms or both")
    try:
        sys.exit(judge(question))
    except OSError as error:
        parser.error(f"--launch is '{question.launch}', which cannot be read: {error.strerror}")
    except RidgelineError as error:
        print(error, file=sys.stderr)
        sys.exit(exit_code(error))


if __name__ == "__main__":
    main()
