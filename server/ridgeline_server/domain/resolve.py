"""Fills what a request leaves open of a deployment, and checks it against the model and the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

from ridgeline_server.domain.deployment import (
    OUTER_MODULES,
    QUANTIZED_MODULES,
    Deployment,
    DeploymentRequest,
    Serving,
)
from ridgeline_server.domain.dtypes import (
    ACTIVATION_DTYPES,
    DEFAULT_GROUP_SIZE,
    GROUP_SCALE_BITS,
    KV_DTYPES,
    SIXTEEN_BIT,
    WEIGHT_DTYPES,
    WIDENED_TO,
    Dtype,
)
from ridgeline_server.domain.errors import FieldViolation, InvalidFieldsError, UnsupportedDtypeError
from ridgeline_server.domain.gates import check_parallelism, check_techniques, multiplies
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model, WeightFormat
from ridgeline_server.domain.tensors import ModuleClass


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

    Raises InvalidFieldsError for formats that cannot be stored or combined and for what cannot be divided
    over devices, UnsupportedDtypeError for a compute format without a unit on the device.
    """
    compute = _compute_dtype(request, model, hardware)
    weight = request.weight_dtype or model.weight_dtype
    group = request.weight_group_size
    if group is None:
        from_checkpoint = weight == model.weight_dtype
        group = model.weight_group_size if from_checkpoint else DEFAULT_GROUP_SIZE.get(weight, 0)
    own = (weight, group) == (model.weight_dtype, model.weight_group_size)
    scale_bits = model.weight_scale_bits if own else GROUP_SCALE_BITS
    activation = request.activation_dtype
    if activation is None:
        wanted = model.activation_dtype if weight == model.weight_dtype else None
        activation = _usable(weight, wanted, hardware) or compute
    deployment = Deployment(
        weight_dtype=weight,
        weight_group_size=group,
        lm_head_dtype=request.lm_head_dtype or model.dtype,
        activation_dtype=activation,
        kv_dtype=request.kv_dtype or compute,
        compute_dtype=compute,
        weight_scale_bits=scale_bits,
        **{stated.name: getattr(request, stated.name) for stated in fields(Serving)},
    )
    if own:
        deployment = replace(deployment, formats=tuple(_of_checkpoint(request, deployment, model, hardware)))
    stated = {stated.module: _with_own_scales(stated, model) for stated in request.formats}
    kept = tuple(f for f in deployment.formats if f.module not in stated)
    deployment = replace(deployment, formats=(*kept, *stated.values()))
    violations = [
        *_formats(deployment, request, hardware),
        *_modules(request, model),
        *check_parallelism(model, deployment.parallel),
        *check_techniques(deployment, model, hardware),
    ]
    if violations:
        raise InvalidFieldsError(violations)
    for used in (activation, *(f.activation_dtype for f in deployment.formats)):
        if used in LOW_BIT and hardware.unit_for(used) is None:
            raise _no_unit(used, hardware)
    return deployment


LOW_BIT = (Dtype.INT8, Dtype.FP8, Dtype.NVFP4, Dtype.MXFP4)
"""Activation formats that need a unit of their own, and weights of the same format or widened to it."""


def _usable(weight: Dtype, dtype: Dtype | None, hardware: Hardware) -> Dtype | None:
    """An activation format that a checkpoint asks for, where the device multiplies its weights in it."""
    if dtype is None or dtype not in ACTIVATION_DTYPES or hardware.unit_for(dtype) is None:
        return None
    return dtype if multiplies(weight, dtype, hardware) else None


def _of_checkpoint(
    request: DeploymentRequest, deployment: Deployment, model: Model, hardware: Hardware
) -> Iterator[WeightFormat]:
    """Module classes that the checkpoint stores otherwise than most of its weights."""
    for stored in model.module_formats:
        if stored.module in OUTER_MODULES and request.lm_head_dtype is not None:
            continue
        quantized = stored.dtype is not model.dtype
        if stored.module not in QUANTIZED_MODULES and not quantized:
            continue
        wanted = _usable(stored.dtype, stored.activation_dtype, hardware)
        if request.activation_dtype is not None:
            wanted = _usable(stored.dtype, request.activation_dtype, hardware) if quantized else None
        found = replace(stored, activation_dtype=wanted)
        if found != deployment.format_of(stored.module):
            yield found


def _with_own_scales(stated: WeightFormat, model: Model) -> WeightFormat:
    """The format that a request states of a module class, with scales of the checkpoint's size where it is
    the checkpoint's own.
    """
    own = model.format_of(stated.module)
    alike = (stated.dtype, stated.group_size) == (own.dtype, own.group_size)
    return replace(stated, scale_bits=own.scale_bits) if alike else stated


STATED_MODULES = (*QUANTIZED_MODULES, ModuleClass.ROUTER, *OUTER_MODULES)
"""Module classes whose format a request may state."""


def _modules(request: DeploymentRequest, model: Model) -> Iterator[FieldViolation]:
    """Module classes that a request states a format of, and the model does not have, or twice."""
    present = {stored.module for stored in model.module_formats}
    known = ", ".join(module for module in STATED_MODULES if module in present)
    seen: set[ModuleClass] = set()
    for index, stated in enumerate(request.formats):
        field = f"deployment.module_formats[{index}].module_class"
        if stated.module not in present or stated.module not in STATED_MODULES:
            yield FieldViolation(field, f"is {stated.module}; {model.name} has {known}: give one of them")
        elif stated.module in seen:
            yield FieldViolation(field, f"is {stated.module} a second time; give each module class once")
        seen.add(stated.module)


def _formats(
    deployment: Deployment, request: DeploymentRequest, hardware: Hardware
) -> Iterator[FieldViolation]:
    """What is wrong with the formats."""
    weight, activation, group = (
        deployment.weight_dtype,
        deployment.activation_dtype,
        deployment.weight_group_size,
    )
    yield from _storable("deployment.weight_dtype", weight, WEIGHT_DTYPES)
    yield from _storable("deployment.lm_head_dtype", deployment.lm_head_dtype, WEIGHT_DTYPES)
    yield from _storable("deployment.activation_dtype", activation, ACTIVATION_DTYPES)
    yield from _storable("deployment.kv_dtype", deployment.kv_dtype, KV_DTYPES)
    yield from _group("deployment.weight_group_size", group)
    yield from _multiplied("deployment.activation_dtype", activation, weight, deployment, hardware)
    for index, stated in enumerate(request.formats):
        field = f"deployment.module_formats[{index}]"
        yield from _storable(f"{field}.dtype", stated.dtype, WEIGHT_DTYPES)
        yield from _group(f"{field}.group_size", stated.group_size)
        if stated.activation_dtype is not None:
            yield from _storable(f"{field}.activation_dtype", stated.activation_dtype, ACTIVATION_DTYPES)
            inputs = f"{field}.activation_dtype", stated.activation_dtype
            yield from _multiplied(*inputs, stated.dtype, deployment, hardware)


def _group(field: str, group: int) -> list[FieldViolation]:
    if 0 <= group <= 65536:
        return []
    return [FieldViolation(field, f"is {group}; give 0 (per channel) to 65536, 128 is usual")]


def _multiplied(
    field: str, activation: Dtype, weight: Dtype, deployment: Deployment, hardware: Hardware
) -> Iterator[FieldViolation]:
    """Why low-bit inputs are not multiplied by weights of another format."""
    if activation not in LOW_BIT or multiplies(weight, activation, hardware):
        return
    ways = f"set weight_dtype to {activation}, or activation_dtype to {deployment.compute_dtype}"
    if activation in WIDENED_TO.get(weight, ()):
        reason = f"{hardware.lack_of(Dtype.FP4, (weight,))}, and others do not multiply these operands"
    else:
        widened = " or ".join(narrow for narrow, wider in WIDENED_TO.items() if activation in wider)
        reason = f"a GEMM computes in {activation} only when its weights are {activation} too"
        if widened:
            reason += f", or {widened} and widened to it"
    yield FieldViolation(field, f"is {activation} with {weight} weights; {reason}: {ways}")


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
