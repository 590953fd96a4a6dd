"""Small catalog entries for the tests."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from ridgeline_server.domain.confidence import Confidence
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import EfficiencyProfile, Estimate, FurtherConstant, OperatorClass
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.measurement import MeasuredMetric, Measurement, Phase
from ridgeline_server.store.entries import FigureSource, HardwareEntry, ModelEntry, ProfileEntry

LLAMA_CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def device(entry_id: str = "x100", *aliases: str, bandwidth: float = 1e12) -> HardwareEntry:
    """A device with every field set."""
    return HardwareEntry(
        hardware=Hardware(
            id=entry_id,
            memory_bytes=80 * 2.0**30,
            bandwidth_bytes_per_s=bandwidth,
            peak_flops_per_s={Dtype.INT8: 624e12, Dtype.BF16: 312e12},
            usable_memory_bytes=79 * 2.0**30,
            link_bandwidth_bytes_per_s=300e9,
            clock_hz=1.41e9,
            tdp_watts=400.0,
            price_usd_per_hour=1.75,
            display_name=f"Example {entry_id}",
            vendor="Example",
            kind="gpu",
        ),
        release_year=2020,
        link_kind="ExampleLink",
        price_as_of=date(2026, 11, 1),
        sources=(
            FigureSource(
                "bandwidth_bytes_per_s", "data sheet", date(2026, 11, 22), Confidence.HIGH, "as printed"
            ),
            FigureSource("peaks.bf16", "a guess"),
        ),
        notes=("Two sources disagree.", "Größe: 2 × 40 GB"),
        aliases=aliases,
    )


def model(entry_id: str = "example/Tiny-1B", *aliases: str, layers: int = 2) -> ModelEntry:
    """A small model of Llama's family."""
    return ModelEntry(
        id=entry_id,
        config_json=json.dumps({**LLAMA_CONFIG, "num_hidden_layers": layers}, indent=2),
        display_name=f"Example {entry_id}",
        source="made up",
        notes=("Nobody trained it.",),
        aliases=aliases,
    )


def profile(entry_id: str = "x100-gemm", *aliases: str, launch_us: float = 3.0) -> ProfileEntry:
    """A profile with every field set."""
    return ProfileEntry(
        profile=EfficiencyProfile(
            id=entry_id,
            operator_class=OperatorClass.GEMM,
            launch_time_us=Estimate(launch_us, 1.0, 9.0),
            compute_efficiency=Estimate(0.6, 0.5, 0.7),
            memory_efficiency=Estimate(0.8, 0.7, 1.0),
            overlap_exponent=2.0,
            evidence_count=12,
            source="a fit",
            hardware_id="x100",
            dtype=Dtype.BF16,
            weight_dtype=Dtype.INT4,
            engine="vllm",
            model_id="example/Tiny-1B",
            since_version="0.8.0",
            since_date="2025-03",
            relatives=("x200", "x100-pcie"),
            further={
                FurtherConstant.PASSES: Estimate(1.5, 0.0, 4.0),
                FurtherConstant.SERIAL_TIME_US: Estimate(0.25, 0.1, 0.5),
            },
        ),
        aliases=aliases,
    )


def measurement(measurement_id: str, **changes: Any) -> Measurement:
    """What somebody measured: 32 requests in one batch on one device."""
    stated: dict[str, Any] = {
        "source": "a table",
        "engine": "vllm",
        "model_id": "o/m",
        "hardware_id": "x100",
        "phase": Phase.STATIC_BATCH,
        "isl": 1024,
        "osl": 128,
        "batch": 32,
        "metric": MeasuredMetric.OUTPUT_TOK_S_TOTAL,
        "value": 1234.5,
    }
    return Measurement(id=measurement_id, **(stated | changes))
