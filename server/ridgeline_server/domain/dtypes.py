"""Number formats: what a stored element costs in bits, scales included, and which formats compute."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


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
    INT2 = "int2"
    NVFP4 = "nvfp4"
    MXFP4 = "mxfp4"


ELEMENT_BITS: dict[Dtype, int] = {
    Dtype.FP32: 32,
    Dtype.BF16: 16,
    Dtype.FP16: 16,
    Dtype.FP8: 8,
    Dtype.INT8: 8,
    Dtype.INT4: 4,
    Dtype.INT2: 2,
    Dtype.NVFP4: 4,
    Dtype.MXFP4: 4,
}
"""Bits of one stored element without its share of scales. Formats that are missing are compute rates only."""

SIXTEEN_BIT = (Dtype.BF16, Dtype.FP16)
WEIGHT_DTYPES = tuple(dtype for dtype in ELEMENT_BITS if dtype is not Dtype.INT2)
ACTIVATION_DTYPES = (
    Dtype.FP32,
    Dtype.BF16,
    Dtype.FP16,
    Dtype.FP8,
    Dtype.INT8,
    Dtype.NVFP4,
    Dtype.MXFP4,
)
KV_DTYPES = (Dtype.FP32, Dtype.BF16, Dtype.FP16, Dtype.FP8, Dtype.INT8, Dtype.INT4, Dtype.INT2)

WIDENED_TO: Mapping[Dtype, tuple[Dtype, ...]] = MappingProxyType(
    {Dtype.INT4: (Dtype.FP8, Dtype.INT8), Dtype.MXFP4: (Dtype.FP8,)}
)
"""8-bit formats to which kernels widen 4-bit weights in registers, and in which they multiply them by inputs
of that format: INT4 on INT8 units (QServe, arXiv:2405.04532) and on FP8 ones (vLLM 0.33.0,
CutlassW4A8LinearKernel). Units for FP4 take MXFP4 weights and FP8 inputs as they are.
"""

DEFAULT_GROUP_SIZE: dict[Dtype, int] = {Dtype.INT4: 128}
"""Weights per scale when a deployment does not say; 128 is the default of AWQ and GPTQ checkpoints."""

GROUP_SCALE_BITS = 32
"""An fp16 scale and an fp16 zero point for each group of integer weights: +0.25 bit per weight at 128."""

BLOCK_SCALE_BITS: dict[Dtype, float] = {Dtype.NVFP4: 8 / 16, Dtype.MXFP4: 8 / 32}
"""Scale bits per element of the block formats: NVFP4 has one FP8 scale for 16 elements; MXFP4 one E8M0 scale
for 32 (OCP Microscaling Formats specification 1.0).
"""

KV_SCALE_BITS = 32
"""An fp16 scale and zero point for each token and KV head of an 8 or 4-bit integer KV cache, the scheme of
LMDeploy's TurboMind (docs/en/quantization/kv_quant.md: per-head, per-token asymmetric quantization).
"""

KV_GROUP_SIZE: Mapping[Dtype, int] = MappingProxyType({Dtype.INT2: 32})
"""Elements of a KV cache that share a scale and zero point of KV_SCALE_BITS where that is no whole vector:
2-bit keys of 32 tokens in one channel, 2-bit values of 32 channels of one token (KIVI, arXiv:2402.02750).
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


def product_dtype(weight: Dtype, inputs: Dtype | None, wide: Dtype) -> Dtype:
    """The format in which a GEMM multiplies: that of its inputs where weights have it too or are widened to
    it in registers, else the wide one.
    """
    if inputs is not None and (inputs is weight or inputs in WIDENED_TO.get(weight, ())):
        return inputs
    return wide


def kv_element_bits(dtype: Dtype) -> float:
    """Bits of one stored key or value element with its share of a scale of its own group."""
    group = KV_GROUP_SIZE.get(dtype)
    return ELEMENT_BITS[dtype] + (KV_SCALE_BITS / group if group else 0.0)


def kv_vector_bits(dtype: Dtype) -> float:
    """Bits of the scale and zero point of one key or value vector of a head."""
    return KV_SCALE_BITS if dtype in (Dtype.INT8, Dtype.INT4) else 0.0


def kv_bits(dtype: Dtype, head_dim: int) -> float:
    """Bits per stored key or value element, scales included; floats are stored with one scale per tensor."""
    return kv_element_bits(dtype) + kv_vector_bits(dtype) / head_dim
