"""Small entries of the catalog as the contract's messages."""

from __future__ import annotations

import json

from ridgeline.v1 import efficiency_profile_pb2, hardware_pb2, measurement_pb2, model_pb2, types_pb2

CONFIG = {
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

COMPUTED_OF_MODELS = (
    "family",
    "parameter_count",
    "active_parameter_count",
    "active_parameter_count_without_embedding",
    "layer_count",
    "hidden_size",
    "vocab_size",
    "head_count",
    "kv_head_count",
    "max_context_len",
    "weight_dtype",
    "kv_bytes_per_token",
    "state_bytes_per_sequence",
    "expert_count",
    "experts_per_token",
    "layer_kinds",
    "weight_formats",
    "not_modelled",
    "assumptions",
    "suspicions",
)
"""What the service computes from a model's config."""


def device(entry_id: str = "x100", *aliases: str) -> hardware_pb2.Hardware:
    """A device with every field that a user can set."""
    return hardware_pb2.Hardware(
        id=entry_id,
        display_name=f"Example {entry_id}",
        aliases=aliases,
        vendor="Example",
        kind="gpu",
        release_year=2021,
        memory_bytes=80 * 2.0**30,
        usable_memory_bytes=79 * 2.0**30,
        bandwidth_bytes_per_s=2e12,
        peaks=[
            hardware_pb2.PeakRate(
                dtype=types_pb2.DTYPE_BF16, flops_per_s=312e12, accumulate=types_pb2.DTYPE_FP32
            ),
            hardware_pb2.PeakRate(dtype=types_pb2.DTYPE_INT8, flops_per_s=624e12),
        ],
        unsupported_dtypes=[types_pb2.DTYPE_FP8, types_pb2.DTYPE_FP4],
        link=hardware_pb2.Link(kind="ExampleLink", bandwidth_bytes_per_s=300e9, domain_size=8),
        clock_hz=1.41e9,
        tdp_watts=400,
        price_usd_per_hour=1.75,
        price_as_of="2026-11-22",
        sources=[
            hardware_pb2.FigureSource(
                field="bandwidth_bytes_per_s",
                source="data sheet",
                read_on="2026-11-22",
                confidence=types_pb2.CONFIDENCE_HIGH,
                note="as printed",
            )
        ],
        notes=["Two sources disagree.", "Größe: 2 × 40 GB"],
    )


def model(entry_id: str = "example/Tiny-1B", *aliases: str) -> model_pb2.Model:
    """A small model of Llama's family, with every field that a user can set."""
    return model_pb2.Model(
        id=entry_id,
        display_name=f"Example {entry_id}",
        aliases=aliases,
        config_json=json.dumps(CONFIG, indent=2),
        source="made up",
        notes=["Nobody trained it."],
        checkpoint=model_pb2.CheckpointTotals(
            element_count=202_816,
            bytes=405_632,
            element_count_by_dtype={"BF16": 202_816},
            element_count_by_prefix={"model.layers": 74_752, "model.embed_tokens": 64_000, "lm_head": 64_000},
        ),
    )


def profile(entry_id: str = "x100-gemm") -> efficiency_profile_pb2.EfficiencyProfile:
    """A profile with every field that a user can set."""
    return efficiency_profile_pb2.EfficiencyProfile(
        id=entry_id,
        hardware_id="x100",
        operator_class=efficiency_profile_pb2.OPERATOR_CLASS_GEMM,
        dtype=types_pb2.DTYPE_BF16,
        weight_dtype=types_pb2.DTYPE_INT4,
        engine="vllm",
        model_id="example/Tiny-1B",
        since_version="0.8.0",
        since_date="2025-03",
        relatives=["x100-pcie", "x200"],
        further_constants={
            "passes": efficiency_profile_pb2.Estimate(value=1.5, low=0, high=4),
            "serial_time_us": efficiency_profile_pb2.Estimate(value=0.25, low=0.1, high=0.5),
        },
        launch_time_us=efficiency_profile_pb2.Estimate(value=3, low=1, high=9),
        compute_efficiency=efficiency_profile_pb2.Estimate(value=0.6, low=0.5, high=0.7),
        memory_efficiency=efficiency_profile_pb2.Estimate(value=0.8, low=0.7, high=1.0),
        overlap_exponent=2,
        evidence_count=12,
        source="a fit",
    )


def measurement(measurement_id: str = "m1") -> measurement_pb2.Measurement:
    """A measurement with every field that a user can set, but for the loads of other phases."""
    return measurement_pb2.Measurement(
        id=measurement_id,
        source="example/tables@1234567:README.md",
        source_group="example",
        engine="vllm",
        engine_version="0.19.0",
        model_id="example/Tiny-1B",
        model_published="Tiny 1B",
        hardware_id="x100",
        hardware_published="X100 80 GB",
        n_devices=4,
        tp=2,
        pp=2,
        ep=1,
        attention_dp=1,
        moe_tp=1,
        weight_dtype="int4",
        weight_format="awq-g128",
        act_dtype="bf16",
        kv_dtype="fp8",
        phase=measurement_pb2.MEASUREMENT_PHASE_CLOSED_LOOP,
        isl=1024,
        osl=128,
        past_tokens=0,
        concurrency=16,
        metric=measurement_pb2.MEASUREMENT_METRIC_TPOT_MS,
        value=12.5,
        confidence=types_pb2.CONFIDENCE_MEDIUM,
        tier=measurement_pb2.MEASUREMENT_TIER_A,
        ambiguous="memory-size; lengths",
        notes="Größe: 2 × 40 GB",
    )
