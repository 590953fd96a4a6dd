"""The published speedup of a technique whose setting is nearest to a question's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from math import log2
from types import MappingProxyType
from typing import Any, NamedTuple

from ridgeline_catalog import evidence_documents
from ridgeline_server.advisor.results import Nearness, PublishedCase
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.measurement import MeasuredMetric, Phase
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.product_lines import PRODUCT_LINES
from ridgeline_server.domain.workload import Workload

EXACT, RELATED = 0.25, 4.0
"""Distances up to which a case counts as exact and as related."""

OTHER_LINE = 1.0
"""A device outside of the asked one's product line, whatever its bandwidth."""
OTHER_MODEL = 0.5
OTHER_KIND = 2.0
"""A mixture of experts instead of a dense model, or the reverse."""
UNKNOWN_BATCH = 2.0
UNKNOWN_LENGTHS = 0.5
LENGTHS = 0.25
"""A doubling of a request's tokens, against one of the batch: few techniques depend much on it."""
OTHER_STAGE = 4.0
MEMORY_ALONE = 4.0
"""A case that tells memory and no time."""

NOT_THE_TECHNIQUE_ALONE = {
    "mechanism": (0.0, ""),
    "kernel_maturity": (2.0, "it shows how good the kernels of its time were"),
    "engine_change": (2.0, "the engine was changed too"),
}


class _Gap(NamedTuple):
    """A distance from the question, in doublings, and what it consists of."""

    distance: float
    difference: str


def nearest_published(
    technique_id: str, model: Model, hardware: Hardware, workload: Workload, metric: str, devices: int
) -> PublishedCase | None:
    """The published case with the smallest distance; None when none is published.

    The distance adds up doublings: of the devices' bandwidth and their number, of the models' parameters, of
    the batch or concurrency, and a quarter of those of a request's tokens; generations between the devices;
    and what the constants of this module say for anything else that differs. `metric` is the one that the
    technique is judged on: a case of the other stage is far. The first of equally near cases is taken.
    """
    nearest: _Nearest | None = None
    for apart, place, system, row in _by_system(technique_id, model, hardware):
        if nearest is not None and apart > nearest.distance:
            break
        gaps = (*system, *_gaps_of_load(row, workload, metric, devices))
        found = _Nearest(_total(gaps), place, gaps, row)
        if nearest is None or found[:2] < nearest[:2]:
            nearest = found
    return None if nearest is None else _case(technique_id, nearest.row, nearest.gaps)


class _Nearest(NamedTuple):
    """A published case and its distance; `place` is its place among the cases of its technique."""

    distance: float
    place: int
    gaps: tuple[_Gap, ...]
    row: Mapping[str, Any]


@lru_cache(maxsize=1024)
def _by_system(technique_id: str, model: Model, hardware: Hardware) -> tuple[_Nearest, ...]:
    """The published cases of a technique, by the gaps between their system and the question's, to which those
    of the load can only add.
    """
    rows = _speedups().get(technique_id, ())
    found = []
    for place, row in enumerate(rows):
        gaps = tuple(_gaps_of_system(row, model, hardware))
        found.append(_Nearest(_total(gaps), place, gaps, row))
    return tuple(sorted(found, key=lambda case: case[:2]))


def _total(gaps: tuple[_Gap, ...]) -> float:
    return sum(gap.distance for gap in gaps)


def _gaps_of_system(row: Mapping[str, Any], model: Model, hardware: Hardware) -> Iterator[_Gap]:
    if row["hardware_id"] != hardware.id:
        bandwidths = _doublings(hardware.bandwidth_bytes_per_s, row["hardware_bandwidth_bytes_per_s"])
        yield _Gap(bandwidths + _generations(hardware.id, row["hardware_id"]), f"on {row['hardware_id']}")
    if row["model_id"] != model.id:
        other_kind = row["experts"] != (model.experts is not None)
        sizes = _doublings(model.parameter_count, row["model_parameters"])
        yield _Gap(OTHER_MODEL + sizes + OTHER_KIND * other_kind, f"with {row['model_id']}")


def _gaps_of_load(row: Mapping[str, Any], workload: Workload, metric: str, devices: int) -> Iterator[_Gap]:
    side = row["before"]
    batch = side.get("batch") or side.get("concurrency")
    if batch is None:
        yield _Gap(UNKNOWN_BATCH, "at a batch that is not told")
    elif batch != workload.batch:
        yield _Gap(_doublings(batch, workload.batch), f"at batch {batch:,}")
    if "isl" not in side or "osl" not in side:
        yield _Gap(UNKNOWN_LENGTHS, "with lengths that are not all told")
    elif (side["isl"], side["osl"]) != (workload.input_len, workload.output_len):
        tokens = max(side["isl"] + side["osl"], 1)
        lengths = f"with {side['isl']:,} input and {side['osl']:,} output tokens"
        yield _Gap(LENGTHS * _doublings(tokens, workload.total_len), lengths)
    if side.get("n_devices", 1) != devices:
        count = side.get("n_devices", 1)
        yield _Gap(_doublings(count, devices), f"from {count:,} device{'s' * (count > 1)} on")
    if row.get("metric") == MeasuredMetric.MEMORY_GIB:
        yield _Gap(MEMORY_ALONE, "it tells memory alone")
    elif side["phase"] in (Phase.PREFILL, Phase.DECODE) and (side["phase"] == Phase.PREFILL) != (
        metric == "ttft_ms"
    ):
        yield _Gap(OTHER_STAGE, f"{side['phase']} alone")
    penalty, why = NOT_THE_TECHNIQUE_ALONE[row["class"]]
    if why:
        yield _Gap(penalty, why)


def _doublings(one: float, other: float) -> float:
    return abs(log2(one / other))


def _generations(one: str, other: str) -> float:
    """Generations between two devices of one product line."""
    for line in PRODUCT_LINES:
        if one in line and other in line:
            return float(abs(line.index(one) - line.index(other)))
    return OTHER_LINE


def _case(technique_id: str, row: Mapping[str, Any], gaps: tuple[_Gap, ...]) -> PublishedCase:
    before, after = row["before"], row["after"]
    distance = _total(gaps)
    nearness = Nearness.RELATED if distance <= RELATED else Nearness.FAR
    return PublishedCase(
        technique=technique_id,
        model_id=row["model_id"],
        hardware_id=row["hardware_id"],
        engine=row["engine"],
        engine_version=row["engine_version"],
        metric=MeasuredMetric(row["metric"]) if "metric" in row else None,
        phase=Phase(before["phase"]),
        batch=before.get("batch"),
        concurrency=before.get("concurrency"),
        input_len=before.get("isl"),
        output_len=before.get("osl"),
        devices=before.get("n_devices", 1),
        change="; ".join(
            f"{column} {before.get(column, 'not stated')} -> {after.get(column, 'not stated')}"
            for column in {**before, **after}
            if before.get(column) != after.get(column)
        ),
        speedup=row["speedup"],
        nearness=Nearness.EXACT if distance <= EXACT else nearness,
        differences=tuple(gap.difference for gap in gaps),
        source=row["source"],
    )


@cache
def _speedups() -> Mapping[str, tuple[Mapping[str, Any], ...]]:
    return MappingProxyType({d["technique"]: tuple(d["speedups"]) for _, d in evidence_documents()})
