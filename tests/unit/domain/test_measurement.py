"""Measurements: the id that a row gets by its content, and the formats that the estimator does not know."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.measurement import LOADS, MeasuredMetric, Measurement, Phase, content_id

ROW = Measurement(
    id="", engine="vllm", phase=Phase.DECODE, batch=8, metric=MeasuredMetric.TPOT_MS, value=12.5, notes="warm"
)


def test_a_row_has_the_same_id_whenever_it_comes() -> None:
    """Another hash would store every row without an id a second time."""
    assert content_id(ROW) == content_id(replace(ROW, id="named")) == "row-9f7d0eb5849b44d34b1f"


@pytest.mark.parametrize(
    "change", [{"value": 12.6}, {"notes": ""}, {"isl": 0}, {"batch": None}, {"source": "warm", "notes": ""}]
)
def test_another_row_has_another_id(change: dict[str, object]) -> None:
    assert content_id(replace(ROW, **change)) != content_id(ROW)  # type: ignore[arg-type]


def test_formats_of_the_estimator_are_known_where_it_takes_them() -> None:
    known = replace(ROW, weight_dtype=Dtype.INT4, act_dtype=Dtype.BF16, kv_dtype=Dtype.FP8)
    assert known.unknown_formats == {}
    assert ROW.unknown_formats == {}
    strange = replace(ROW, weight_dtype="int3", act_dtype="int4", kv_dtype="int3")
    assert strange.unknown_formats == {"weight_dtype": "int3", "act_dtype": "int4", "kv_dtype": "int3"}


def test_every_phase_has_a_load() -> None:
    assert LOADS.keys() == set(Phase)
    assert {load for loads in LOADS.values() for load in loads} == {"batch", "concurrency", "request_rate"}
