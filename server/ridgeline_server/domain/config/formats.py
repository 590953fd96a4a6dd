"""The number formats of a checkpoint, from torch_dtype and quantization_config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from ridgeline_server.domain.config.fields import ConfigFields, shown, whole
from ridgeline_server.domain.dtypes import GROUP_SCALE_BITS, Dtype
from ridgeline_server.domain.errors import UnsupportedConfigError
from ridgeline_server.domain.model import LayerKind, WeightFormat
from ridgeline_server.domain.tensors import TensorKind

TORCH_DTYPES = {"bfloat16": Dtype.BF16, "float16": Dtype.FP16, "half": Dtype.FP16, "float32": Dtype.FP32}

KNOWN_METHODS = "fp8, compressed-tensors, modelopt (FP8), awq, gptq, bitsandbytes"

NF4_BLOCK = 64
"""Weights per scale in bitsandbytes' 4-bit formats (arXiv:2305.14314, section 3)."""
NF4_DOUBLE_QUANT_BITS = 8 / 64 + 32 / (64 * 256)
"""Scale bits per weight once the scales are quantised too: 0.127 (same place)."""

_OUTSIDE_LAYERS = re.compile(r"norm|lm_head|embed|output_layer|^head$|wte|wpe|vision|projector|rotary")

_SIDE = re.compile("[0-9]{1,5}")
_EXCEPTIONS = (
    "modules_to_not_convert",
    "llm_int8_skip_modules",
    "ignore",
    "exclude_modules",
    "ignored_layers",
)


@dataclass(frozen=True)
class CheckpointFormat:
    """How a checkpoint stores its layers' matrices; `weight_dtype` None means as wide as everything else."""

    weight_dtype: Dtype | None = None
    group_size: int = 0
    activation_dtype: Dtype | None = None
    notes: tuple[str, ...] = ()


def read_dtype(fields: ConfigFields, assumptions: list[str]) -> Dtype:
    """The wide format: torch_dtype, in newer configs dtype."""
    name = fields.text(("torch_dtype", "dtype"))
    if name is None:
        for key, dtype in (("bf16", Dtype.BF16), ("fp16", Dtype.FP16), ("fp32", Dtype.FP32)):
            if fields.value(key) is True:
                return dtype
        assumptions.append("torch_dtype is absent: bf16 assumed")
        return Dtype.BF16
    found = TORCH_DTYPES.get(name.removeprefix("torch."))
    if found is None:
        key = "torch_dtype" if fields.value("torch_dtype") is not None else "dtype"
        fields.refuse(key, f"is {shown(name)}; give bfloat16, float16 or float32")
        return Dtype.BF16
    return found


def read_formats(
    config: Mapping[str, object], dtype: Dtype, kinds: tuple[LayerKind, ...], assumptions: list[str]
) -> tuple[WeightFormat, ...]:
    """The format of each module class that the layers have. Raises UnsupportedConfigError for a scheme that
    is not known.
    """
    found = _read_format(config)
    assumptions.extend(found.notes)
    if found.weight_dtype is None:
        return ()
    has = dict.fromkeys(t.module for kind in kinds for t in kind.tensors if t.kind is TensorKind.MATRIX)
    return tuple(
        WeightFormat(module, found.weight_dtype, found.group_size, found.activation_dtype) for module in has
    )


def _read_format(config: Mapping[str, object]) -> CheckpointFormat:
    """The format of the layers' matrices. Raises UnsupportedConfigError for a scheme that is not known."""
    found = config.get("quantization_config") or config.get("compression_config")
    if not found:
        return CheckpointFormat()
    if not isinstance(found, Mapping):
        raise _refused("quantization_config", f"is {shown(found)}, not an object")
    scheme: Mapping[str, object] = found
    method = _method(scheme)
    _check_whole_layers(scheme, method)
    if method == "fp8":
        return _fp8(scheme)
    if method in ("awq", "gptq"):
        return _grouped_integers(scheme, method)
    if method == "bitsandbytes":
        return _bitsandbytes(scheme)
    if method == "modelopt" and "config_groups" not in scheme and scheme.get("quant_algo") == "FP8":
        return CheckpointFormat(Dtype.FP8, 0, Dtype.FP8, _kv_notes(scheme))
    if method in ("compressed-tensors", "modelopt") and "config_groups" in scheme:
        return _config_groups(scheme, method)
    raise _refused(method, f"is not known; known are {KNOWN_METHODS}")


def _method(scheme: Mapping[str, object]) -> str:
    method = scheme.get("quant_method")
    if isinstance(method, str):
        return method.lower()
    producer = scheme.get("producer")
    if isinstance(producer, Mapping) and producer.get("name") == "modelopt":
        return "modelopt"
    return shown(method)


def _check_whole_layers(scheme: Mapping[str, object], method: str) -> None:
    """A scheme that leaves some of the layers' matrices wide has no single weight format."""
    if scheme.get("lm_head") is True:
        raise _refused(method, "quantises lm_head too")
    sparsity = scheme.get("sparsity_config")
    if isinstance(sparsity, Mapping) and sparsity.get("format") not in (None, "dense"):
        raise _refused(method, f"stores sparse weights ({shown(sparsity.get('format'))})")
    for key in _EXCEPTIONS:
        modules = scheme.get(key) or ()
        if not isinstance(modules, list | tuple):
            raise _refused(method, f"has {key} {shown(modules)}, not a list")
        for module in modules:
            parts = module.lower().split(".") if isinstance(module, str) else []
            if not any(_OUTSIDE_LAYERS.search(part) for part in parts):
                raise _refused(method, f"leaves {shown(module)} of the layers unquantised ({key})")


def _fp8(scheme: Mapping[str, object]) -> CheckpointFormat:
    activations = scheme.get("activation_scheme", "dynamic")
    if activations not in ("dynamic", "static"):
        raise _refused("fp8", f"has activation_scheme {shown(activations)}; known are dynamic and static")
    return CheckpointFormat(Dtype.FP8, _block(scheme.get("weight_block_size"), "fp8"), Dtype.FP8)


def _grouped_integers(scheme: Mapping[str, object], method: str) -> CheckpointFormat:
    bits = scheme.get("bits", scheme.get("w_bit"))
    dtype = {4: Dtype.INT4, 8: Dtype.INT8}.get(whole(bits) or 0)
    if dtype is None:
        raise _refused(method, f"has bits {shown(bits)}; known are 4 and 8")
    group = scheme.get("group_size", scheme.get("q_group_size", 128))
    return CheckpointFormat(dtype, _group(group, method))


def _bitsandbytes(scheme: Mapping[str, object]) -> CheckpointFormat:
    if scheme.get("load_in_8bit") is True:
        note = "bitsandbytes 8-bit: the outlier columns that it keeps in 16 bits are left out"
        return CheckpointFormat(Dtype.INT8, 0, Dtype.INT8, (note,))
    if scheme.get("load_in_4bit") is True:
        if scheme.get("bnb_4bit_use_double_quant") is True:
            return CheckpointFormat(Dtype.INT4, int(GROUP_SCALE_BITS / NF4_DOUBLE_QUANT_BITS))
        return CheckpointFormat(Dtype.INT4, NF4_BLOCK)
    raise _refused("bitsandbytes", "has neither load_in_8bit nor load_in_4bit")


def _config_groups(scheme: Mapping[str, object], method: str) -> CheckpointFormat:
    groups = scheme["config_groups"]
    if not isinstance(groups, Mapping) or not groups:
        raise _refused(method, f"has config_groups {shown(groups)}, not an object")
    found = {_config_group(group, method) for group in groups.values()}
    if len(found) > 1:
        raise _refused(method, "mixes formats (config_groups)")
    weight, group_size, activation = found.pop()
    return CheckpointFormat(weight, group_size, activation, _kv_notes(scheme))


def _config_group(group: object, method: str) -> tuple[Dtype, int, Dtype | None]:
    if not isinstance(group, Mapping):
        raise _refused(method, f"has a config group {shown(group)}, not an object")
    targets = group.get("targets")
    if targets not in (None, ["Linear"]):
        raise _refused(method, f"has targets {shown(targets)}; known is all Linear layers")
    weights, inputs = group.get("weights"), group.get("input_activations")
    weight = _operand(weights, method, (Dtype.FP8, Dtype.INT8, Dtype.INT4))
    activation = None if inputs is None else _operand(inputs, method, (Dtype.FP8, Dtype.INT8))
    if activation is not None and activation is not weight:
        raise _refused(method, f"has {weight} weights with {activation} activations")
    block = weights.get("block_structure") if isinstance(weights, Mapping) else None
    size = weights.get("group_size") if isinstance(weights, Mapping) else None
    return weight, _block(block, method) or _group(0 if size is None else size, method), activation


_OPERANDS = {("float", 8): Dtype.FP8, ("int", 8): Dtype.INT8, ("int", 4): Dtype.INT4}


def _operand(operand: object, method: str, known: tuple[Dtype, ...]) -> Dtype:
    if not isinstance(operand, Mapping):
        raise _refused(method, f"has an operand {shown(operand)}, not an object")
    kind, bits = operand.get("type"), operand.get("num_bits")
    dtype = _OPERANDS.get((str(kind), whole(bits) or 0))
    if dtype not in known:
        raise _refused(
            method, f"has operands of {shown(bits)} bits, {shown(kind)}; known are {', '.join(known)}"
        )
    return dtype


def _block(block: object, method: str) -> int:
    """Weights that share one scale in a block scheme such as [128, 128] or "128x128"."""
    if block is None:
        return 0
    sides = block.split("x") if isinstance(block, str) else block
    if isinstance(sides, list | tuple) and len(sides) == 2:
        numbers = [
            int(side) if isinstance(side, str) and _SIDE.fullmatch(side) else whole(side) for side in sides
        ]
        weights = prod(number or 0 for number in numbers)
        if min(number or 0 for number in numbers) > 0 and weights <= 65536:
            return weights
    raise _refused(method, f"has blocks of {shown(block)}; known are two sides such as [128, 128]")


def _group(group: object, method: str) -> int:
    number = whole(group)
    if number is not None and -1 <= number <= 65536:
        return max(number, 0)
    raise _refused(method, f"has group_size {shown(group)}; give -1 (per channel) or 1 to 65536")


def _kv_notes(scheme: Mapping[str, object]) -> tuple[str, ...]:
    if scheme.get("kv_cache_scheme") or scheme.get("kv_cache_quant_algo"):
        return ("the checkpoint has scales for a low-bit KV cache; it is used only when asked for",)
    return ()


def _refused(method: str, what: str) -> UnsupportedConfigError:
    return UnsupportedConfigError(
        f"quantization_config: quant_method {method} {what}. Give the config of the unquantised "
        "checkpoint and state the format of the weights in the deployment",
        ("quantization_config",),
    )
