"""Efficiency profiles as documents of the catalog."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ridgeline_server.domain.efficiency import EfficiencyProfile, Estimate


def file_of(profiles: Iterable[EfficiencyProfile]) -> str:
    """The text of a file of efficiency/ that holds profiles."""
    return json.dumps({"profiles": [_document(profile) for profile in profiles]}, indent=1) + "\n"


def _document(profile: EfficiencyProfile) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": profile.id,
        "operator_class": profile.operator_class,
        "hardware_id": profile.hardware_id,
        "dtype": profile.dtype,
        "weight_dtype": profile.weight_dtype,
        "engine": profile.engine,
        "launch_time_us": _figure(profile.launch_time_us),
        "compute_efficiency": _figure(profile.compute_efficiency),
        "memory_efficiency": _figure(profile.memory_efficiency),
        "overlap_exponent": profile.overlap_exponent,
        "evidence_count": profile.evidence_count,
        "source": profile.source,
    }
    for name in ("model_id", "since_version", "since_date"):
        if getattr(profile, name):
            document[name] = getattr(profile, name)
    if profile.relatives:
        document["relatives"] = list(profile.relatives)
    if profile.further:
        document["further"] = {name: _figure(constant) for name, constant in profile.further.items()}
    return document


def _figure(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
