"""Number formats: what a stored element costs in bits, scales included, and which formats compute."""

from __future__ import annotations

from enum import StrEnum


class Dtype(StrEnum):
    """A number format, for storage or for computing."""

    FP32 = "fp32"
    TF32 = "tf32"
    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    FP6 = "fp6"
    FP4 = "fp4"
    INT8 = "int8"
    INT4 = "int4"
    NVFP4 = "nvfp4"
    MXFP4 = "mxfp4"


ELEMENT_BITS: dict[Dtype, int] = {
    Dtype.FP32: 32,
    Dtype.BF16: 16,
    Dtype.FP16: 16,
    Dtype.FP8: 8,
    Dtype.INT8: 8,
    Dtype.INT4: 4,
    Dtype.NVFP4: 4,
    Dtype.MXFP4: 4,
}
"""Bits of one stored element without its share of scales. Formats that are missing are compute rates only."""

SIXTEEN_BIT = (Dtype.BF16, Dtype.FP16)
WEIGHT_DTYPES = tuple(ELEMENT_BITS)
ACTIVATION_DTYPES = (
    Dtype.FP32,
    Dtype.BF16,
    Dtype.FP16,
    Dtype.FP8,
    Dtype.INT8,
    Dtype.NVFP4,
    Dtype.MXFP4,
)
KV_DTYPES = (Dtype.FP32, Dtype.BF16, Dtype.FP16, Dtype.FP8, Dtype.INT8, Dtype.INT4)

DEFAULT_GROUP_SIZE: dict[Dtype, int] = {Dtype.INT4: 128}
"""Weights per scale when a deployment does not say; 128 is the default of AWQ and GPTQ checkpoints."""

GROUP_SCALE_BITS = 32
"""An fp16 scale and an fp16 zero point for each group of integer weights: +0.25 bit per weight at 128."""

BLOCK_SCALE_BITS: dict[Dtype, float] = {Dtype.NVFP4: 8 / 16, Dtype.MXFP4: 8 / 32}
"""Scale bits per element of the block formats: NVFP4 has one FP8 scale for 16 elements; MXFP4 one E8M0 scale
for 32 (OCP Microscaling Formats specification 1.0).
"""

KV_SCALE_BITS = 32
"""An fp16 scale and zero point for each token and KV head of an integer KV cache, the scheme of LMDeploy's
TurboMind (docs/en/quantization/kv_quant.md: per-head, per-token asymmetric quantization).
"""


def activation_bits(dtype: Dtype) -> float:
    """Bits of one element that enters a GEMM, the scales of block formats included."""
    return ELEMENT_BITS[dtype] + BLOCK_SCALE_BITS.get(dtype, 0.0)


def weight_bits(dtype: Dtype, group_size: int, scale_bits: float = GROUP_SCALE_BITS) -> float:
    """Bits per stored weight, scales included; `scale_bits` belong to each group. `group_size` 0 means one
    scale per output channel, which is under 0.01 bit per weight and left out.
    """
    bits = ELEMENT_BITS[dtype] + BLOCK_SCALE_BITS.get(dtype, 0.0)
    if dtype in (Dtype.INT4, Dtype.INT8, Dtype.FP8) and group_size > 0:
        bits += scale_bits / group_size
    return bits


def kv_bits(dtype: Dtype, head_dim: int) -> float:
    """Bits per stored key or value element, scales included; floats are stored with one scale per tensor."""
    scale = KV_SCALE_BITS / head_dim if dtype in (Dtype.INT8, Dtype.INT4) else 0.0
    return ELEMENT_BITS[dtype] + scale
