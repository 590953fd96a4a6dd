"""Totals of a checkpoint: the contract's message and the catalog's, and what they say of a config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ridgeline.v1 import model_pb2
from ridgeline_server.domain.model import Model
from ridgeline_server.rpc.checks import MAX_ITEMS, MAX_NAME_LENGTH, Checks, Range
from ridgeline_server.store.entries import CheckpointTotals

COUNT = Range(0.0, 1e18, "a number from 0 to 1e18")

ALIKE = 1e-3
"""Relative difference from which a checkpoint and a config are said to differ: buffers and scales that no
config tells of stay below it.
"""


def read_checkpoint(checks: Checks, message: model_pb2.CheckpointTotals, field: str) -> CheckpointTotals:
    """The totals in a message. Use them when nothing is noted."""
    checks.number(f"{field}.element_count", message.element_count, COUNT)
    checks.number(f"{field}.bytes", message.bytes, COUNT)
    for name in ("element_count_by_dtype", "element_count_by_prefix"):
        counts: Mapping[str, float] = getattr(message, name)
        if len(counts) > MAX_ITEMS:
            checks.add(f"{field}.{name}", f"has {len(counts):,} entries; give {MAX_ITEMS} at most")
            continue
        for key, count in counts.items():
            checks.text(f"{field}.{name}", key, MAX_NAME_LENGTH, required=True)
            checks.number(f"{field}.{name}", count, COUNT)
    return CheckpointTotals(
        message.element_count,
        message.bytes,
        dict(sorted(message.element_count_by_dtype.items())),
        dict(sorted(message.element_count_by_prefix.items())),
    )


def checkpoint_message(totals: CheckpointTotals) -> model_pb2.CheckpointTotals:
    """The totals as the contract's message."""
    return model_pb2.CheckpointTotals(
        element_count=totals.element_count,
        bytes=totals.bytes,
        element_count_by_dtype=totals.element_count_by_dtype,
        element_count_by_prefix=totals.element_count_by_prefix,
    )


def checkpoint_suspicions(model: Model, totals: CheckpointTotals) -> Iterator[str]:
    """Where a checkpoint that stores each weight as one element has another number of them than its config
    describes. Packed formats are not compared.
    """
    if model.quantized or not totals.element_count:
        return
    difference = totals.element_count - model.parameter_count
    if abs(difference) <= ALIKE * model.parameter_count:
        return
    parts = ", ".join(
        f"{prefix} {count:,.0f}"
        for prefix, count in sorted(totals.element_count_by_prefix.items(), key=lambda item: -item[1])[:6]
    )
    left_out = f"; left out of the count: {', '.join(model.not_modelled)}" if model.not_modelled else ""
    yield (
        f"the checkpoint's files hold {totals.element_count:,.0f} elements ({parts}), the config describes "
        f"{model.parameter_count:,} weights: {difference:+,.0f}{left_out}"
    )
