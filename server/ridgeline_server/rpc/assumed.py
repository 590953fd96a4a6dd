"""Reads what RecommendRequest states of figures that techniques have to assume."""

from __future__ import annotations

from ridgeline.v1.recommendation_service_pb2 import AssumedFigures
from ridgeline_server.advisor.assumed import Assumed
from ridgeline_server.domain.workload import MAX_LEN
from ridgeline_server.rpc.checks import Checks, Range

RATE = Range(0.0, 1.0, "0 to 1")
KEEP_RATIO = Range(0.01, 1.0, "0.01 to 1")
SKIPPED_SHARE = Range(0.0, 0.99, "0 to 0.99")
WINDOW = Range(1, MAX_LEN, f"1 to {MAX_LEN:,} keys")
FIGURES = {
    "draft_model_acceptance_rate": RATE,
    "heads_acceptance_rate": RATE,
    "mtp_acceptance_rate": RATE,
    "ngram_acceptance_rate": RATE,
    "prefix_hit_rate": RATE,
    "kv_keep_ratio": KEEP_RATIO,
    "skipped_layer_share": SKIPPED_SHARE,
    "kv_window": WINDOW,
}
"""Fields of AssumedFigures and their bounds."""


def read_assumed(message: AssumedFigures, checks: Checks) -> Assumed:
    """What a message states, without the model that would draft: that needs the catalog."""
    stated = {name: getattr(message, name) for name in FIGURES if message.HasField(name)}  # type: ignore[arg-type]
    for name, value in stated.items():
        checks.number(f"assumed.{name}", value, FIGURES[name])
    return Assumed(**stated)
