"""Deployment: how a model is served on one device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from ridgeline_server.domain.dtypes import (
    ACTIVATION_DTYPES,
    DEFAULT_GROUP_SIZE,
    GROUP_SCALE_BITS,
    KV_DTYPES,
    SIXTEEN_BIT,
    WEIGHT_DTYPES,
    Dtype,
    weight_bits,
)
from ridgeline_server.domain.errors import FieldViolation, InvalidFieldsError, UnsupportedDtypeError
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model


class AttentionKernel(StrEnum):
    """How attention is computed."""

    FUSED = "fused"
    UNFUSED = "unfused"


class CostBasis(StrEnum):
    """Which cost leads an answer: the datasheet roofline or the calibrated prediction."""

    IDEAL = "ideal"
    EXPECTED = "expected"


@dataclass(frozen=True)
class Deployment:
    """A complete statement of the number formats and kernels of a deployment.

    `weight_dtype` is the storage of the layers' matrices, in groups of `weight_group_size` with
    `weight_scale_bits` each, `lm_head_dtype` that of lm_head and the input
    embedding, `activation_dtype` the operands that enter the layers' weight GEMMs; all other activations stay
    in `compute_dtype`, the 16-bit (or fp32) format of the model.
    """

    weight_dtype: Dtype
    weight_group_size: int
    lm_head_dtype: Dtype
    activation_dtype: Dtype
    kv_dtype: Dtype
    compute_dtype: Dtype
    attention: AttentionKernel = AttentionKernel.FUSED
    weight_scale_bits: float = GROUP_SCALE_BITS

    def storing(self, dtype: Dtype, group_size: int, activation_dtype: Dtype) -> Deployment:
        """The same with the layers' matrices in another format, made anew: with scales of the usual bits."""
        return replace(
            self,
            weight_dtype=dtype,
            weight_group_size=group_size,
            weight_scale_bits=GROUP_SCALE_BITS,
            activation_dtype=activation_dtype,
        )

    @property
    def weight_bits(self) -> float:
        """Bits of one weight of the layers' matrices, scales included."""
        return weight_bits(self.weight_dtype, self.weight_group_size, self.weight_scale_bits)

    @property
    def lm_head_bits(self) -> float:
        """Bits of one weight of lm_head and of the input embedding, scales included."""
        return weight_bits(self.lm_head_dtype, self.weight_group_size, self.weight_scale_bits)

    @property
    def gemm_dtype(self) -> Dtype:
        """The format in which the layers' weight GEMMs multiply: low-bit only when both operands are."""
        return self.activation_dtype if self.activation_dtype == self.weight_dtype else self.compute_dtype


@dataclass(frozen=True)
class DeploymentRequest:
    """What a user states of a deployment; None takes the checkpoint's own format."""

    weight_dtype: Dtype | None = None
    weight_group_size: int | None = None
    lm_head_dtype: Dtype | None = None
    activation_dtype: Dtype | None = None
    kv_dtype: Dtype | None = None
    attention: AttentionKernel = AttentionKernel.FUSED


def compute_dtype_on(model: Model, hardware: Hardware) -> Dtype:
    """The wide format a model computes in on a device: its own when the device has the unit, else the other
    16-bit format, else fp32 - as engines choose it (a T4 runs bf16 checkpoints in fp16).
    """
    for dtype in (model.dtype, Dtype.BF16, Dtype.FP16, Dtype.FP32):
        if dtype in hardware.peak_flops_per_s:
            return dtype
    raise UnsupportedDtypeError(
        f"{hardware.name} has no peak rate for {model.dtype}, bf16, fp16 or fp32, so nothing can be "
        "computed on it; add one of them to its peaks",
        "hardware.peaks",
    )


def resolve_deployment(request: DeploymentRequest, model: Model, hardware: Hardware) -> Deployment:
    """Fills the unset fields and checks the combination against the model and the device.

    Raises InvalidFieldsError for formats that cannot be stored or combined, UnsupportedDtypeError for a
    compute format without a unit on the device.
    """
    compute = _compute_dtype(request, model, hardware)
    weight = request.weight_dtype or model.weight_dtype
    group = request.weight_group_size
    if group is None:
        from_checkpoint = weight == model.weight_dtype
        group = model.weight_group_size if from_checkpoint else DEFAULT_GROUP_SIZE.get(weight, 0)
    own_groups = (weight, group) == (model.weight_dtype, model.weight_group_size)
    scale_bits = model.weight_scale_bits if own_groups else GROUP_SCALE_BITS
    activation = request.activation_dtype
    if activation is None:
        own = model.activation_dtype if weight == model.weight_dtype else None
        usable = own in ACTIVATION_DTYPES and own in hardware.peak_flops_per_s
        activation = own if own is not None and usable else compute
    lm_head = request.lm_head_dtype or model.dtype
    kv = request.kv_dtype or compute

    violations = [
        *_storable("deployment.weight_dtype", weight, WEIGHT_DTYPES),
        *_storable("deployment.lm_head_dtype", lm_head, WEIGHT_DTYPES),
        *_storable("deployment.activation_dtype", activation, ACTIVATION_DTYPES),
        *_storable("deployment.kv_dtype", kv, KV_DTYPES),
    ]
    if not 0 <= group <= 65536:
        violations.append(
            FieldViolation(
                "deployment.weight_group_size", f"is {group}; give 0 (per channel) to 65536, 128 is usual"
            )
        )
    low_bit = activation in (Dtype.INT8, Dtype.FP8)
    if low_bit and weight != activation:
        violations.append(
            FieldViolation(
                "deployment.activation_dtype",
                f"is {activation} with {weight} weights; a GEMM computes in {activation} only when its "
                f"weights are {activation} too: set weight_dtype to {activation}, or activation_dtype to "
                f"{compute}",
            )
        )
    if violations:
        raise InvalidFieldsError(violations)
    if low_bit and activation not in hardware.peak_flops_per_s:
        raise _no_unit(activation, hardware)
    return Deployment(weight, group, lm_head, activation, kv, compute, request.attention, scale_bits)


def _compute_dtype(request: DeploymentRequest, model: Model, hardware: Hardware) -> Dtype:
    """The wide format: the one that was asked for as activation format, else the model's or the device's."""
    stated = request.activation_dtype
    if stated not in (Dtype.FP32, *SIXTEEN_BIT):
        return compute_dtype_on(model, hardware)
    if stated not in hardware.peak_flops_per_s:
        raise _no_unit(stated, hardware)
    return stated


def _no_unit(dtype: Dtype, hardware: Hardware) -> UnsupportedDtypeError:
    units = ", ".join(sorted(hardware.peak_flops_per_s))
    if dtype in hardware.unsupported_dtypes:
        problem = f"{hardware.lack_of(dtype)}, so it cannot compute with {dtype} activations"
    else:
        problem = f"{hardware.lack_of(dtype)}; if it has the unit, give one with --set peaks.{dtype}=..."
    return UnsupportedDtypeError(f"{problem}; it computes in {units}", "deployment.activation_dtype")


def _storable(field: str, dtype: Dtype, allowed: tuple[Dtype, ...]) -> list[FieldViolation]:
    if dtype in allowed:
        return []
    return [FieldViolation(field, f"is {dtype}; give one of {', '.join(allowed)}")]
