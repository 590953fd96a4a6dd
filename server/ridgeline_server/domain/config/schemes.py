"""What a quantization_config says: the format of linear layers, and the modules that have another one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from ridgeline_server.domain.config.fields import shown, whole
from ridgeline_server.domain.dtypes import GROUP_SCALE_BITS, Dtype, product_dtype
from ridgeline_server.domain.errors import UnsupportedConfigError

KNOWN_METHODS = (
    "fp8, fbgemm_fp8, compressed-tensors, modelopt, quark, mxfp4, awq, gptq, auto-round, bitsandbytes"
)

WAY_OUT = (
    "Give the config of the unquantised checkpoint and state the format of the weights in the deployment"
)

NF4_BLOCK = 64
"""Weights per scale in bitsandbytes' 4-bit formats (arXiv:2305.14314, section 3)."""
NF4_DOUBLE_QUANT_SCALE_BITS = 8 + 32 / 256
"""Bits of such a scale once the scales are quantised too, with one scale for 256 of them (same place)."""
NVFP4_BLOCK, MXFP4_BLOCK, MXFP8_BLOCK = 16, 32, 32
MXFP8_SCALE_BITS = 8
"""An E8M0 scale for each block (OCP Microscaling Formats specification 1.0)."""
USUAL_GROUP = 128
"""The default of AutoGPTQ's, AutoAWQ's and AutoRound's own settings, for schemes that leave the group out."""

_SIDE = re.compile("[0-9]{1,5}")
_EXCEPTIONS = (
    "modules_to_not_convert",
    "llm_int8_skip_modules",
    "ignore",
    "exclude_modules",
    "exclude",
    "ignored_layers",
)


@dataclass(frozen=True)
class Format:
    """How matrices are stored, and in which format the checkpoint wants their inputs (None: wide).

    Each group has a scale of `scale_bits`, zero point included.
    """

    dtype: Dtype
    group_size: int = 0
    activation_dtype: Dtype | None = None
    scale_bits: float = GROUP_SCALE_BITS


@dataclass(frozen=True)
class Scheme:
    """The format of all linear layers of the decoder (None: wide) and of the modules named by patterns.

    The first pattern that matches a module holds; None says that it stays wide. `experts_only`: `base` is
    that of experts alone. `covers_lm_head`: lm_head is one of the linear layers.
    """

    base: Format | None
    modules: tuple[tuple[str, Format | None], ...] = ()
    experts_only: bool = False
    covers_lm_head: bool = False
    notes: tuple[str, ...] = ()


def read_scheme(config: Mapping[str, object]) -> Scheme | None:
    """The scheme of a config; None for a checkpoint that is not quantised.

    Raises UnsupportedConfigError for a scheme that is not known.
    """
    found = config.get("quantization_config") or config.get("compression_config")
    if not found:
        return None
    if not isinstance(found, Mapping):
        raise _refused("quantization_config", f"is {shown(found)}, not an object")
    inner = found.get("quantization")
    scheme: Mapping[str, object] = {**found, **inner} if isinstance(inner, Mapping) else found
    method = _method(scheme)
    _check_known_parts(scheme, method)
    if scheme.get("quantized_layers") or _named_targets(scheme):
        return _mixed(scheme, method)
    modules = tuple((pattern, None) for pattern in _exceptions(scheme, method))
    if method in ("fp8", "fbgemm_fp8"):
        return Scheme(_fp8(scheme), modules)
    if method == "mxfp4":
        return Scheme(Format(Dtype.MXFP4, MXFP4_BLOCK), modules, experts_only=True)
    if method in ("awq", "gptq", "auto-round"):
        base, notes = _grouped_integers(scheme, method)
        own = {"auto-round": _extra_config, "gptq": _dynamic}.get(method, lambda *_: ())(scheme, method)
        return Scheme(base, (*own, *modules), notes=notes)
    if method == "bitsandbytes":
        base, notes = _bitsandbytes(scheme)
        return Scheme(base, modules, notes=notes)
    if method in ("compressed-tensors", "modelopt") and "config_groups" in scheme:
        base = _config_groups(scheme, method)
        return Scheme(base, modules, covers_lm_head=True, notes=_kv_notes(scheme))
    if method == "modelopt":
        return Scheme(_algorithm(scheme, method), modules, notes=_kv_notes(scheme))
    if method == "quark":
        return Scheme(_quark(scheme), modules, covers_lm_head=True, notes=_kv_notes(scheme))
    raise _refused(method, f"is not known; known are {KNOWN_METHODS}")


def _method(scheme: Mapping[str, object]) -> str:
    method = scheme.get("quant_method")
    if isinstance(method, str):
        name = method.lower().removeprefix("intel/")
        return "modelopt" if name.startswith("modelopt") else name
    producer = scheme.get("producer")
    if isinstance(producer, Mapping) and producer.get("name") == "modelopt":
        return "modelopt"
    # NVIDIA's schemes name their algorithm, whatever else they leave out.
    return "modelopt" if isinstance(scheme.get("quant_algo"), str) else shown(method)


def _check_known_parts(scheme: Mapping[str, object], method: str) -> None:
    if scheme.get("lm_head") is True:
        raise _refused(method, "quantises lm_head too")
    sparsity = scheme.get("sparsity_config")
    if isinstance(sparsity, Mapping) and sparsity.get("format") not in (None, "dense"):
        raise _refused(method, f"stores sparse weights ({shown(sparsity.get('format'))})")
    for key in ("modules_in_block_to_quantize", "layer_quant_config"):
        if scheme.get(key) and method in ("gptq", "quark"):
            raise _refused(method, f"gives modules formats of their own ({key})")


def _exceptions(scheme: Mapping[str, object], method: str) -> Iterator[str]:
    for key in _EXCEPTIONS:
        modules = scheme.get(key) or ()
        if not isinstance(modules, list | tuple):
            raise _refused(method, f"has {key} {shown(modules)}, not a list")
        for module in modules:
            if not isinstance(module, str):
                raise _refused(method, f"leaves {shown(module)} of the layers unquantised ({key})")
            yield module


def _mixed(scheme: Mapping[str, object], method: str) -> Scheme:
    """A scheme that names the modules of each format; what it does not name is wide, or FP8 under fp8."""
    layers = scheme.get("quantized_layers")
    modules: list[tuple[str, Format | None]] = []
    if layers:
        if not isinstance(layers, Mapping):
            raise _refused(method, f"has quantized_layers {shown(layers)}, not an object")
        for name, said in layers.items():
            modules.append((str(name), _algorithm(said if isinstance(said, Mapping) else {}, method)))
    else:
        modules.extend((pattern, None) for pattern in _exceptions(scheme, method))
        for group in _groups(scheme, method):
            targets = group.get("targets")
            named = targets if isinstance(targets, list | tuple) else []
            modules.extend((str(target), _config_group(group, method)) for target in named)
    base = _fp8(scheme) if method == "fp8" else None
    return Scheme(base, tuple(modules), notes=_kv_notes(scheme))


def _named_targets(scheme: Mapping[str, object]) -> bool:
    groups = scheme.get("config_groups")
    entries = groups.values() if isinstance(groups, Mapping) else ()
    return any(isinstance(group, Mapping) and not _all_linear(group) for group in entries)


def _all_linear(group: Mapping[str, object]) -> bool:
    return group.get("targets") in (None, ["Linear"])


_ALGORITHMS: Mapping[str, Format] = {
    "FP8": Format(Dtype.FP8, 0, Dtype.FP8),
    "FP8_PER_CHANNEL_PER_TOKEN": Format(Dtype.FP8, 0, Dtype.FP8),
    "FP8_PB_WO": Format(Dtype.FP8, 128 * 128, Dtype.FP8),
    "MXFP8": Format(Dtype.FP8, MXFP8_BLOCK, Dtype.FP8, MXFP8_SCALE_BITS),
    "NVFP4": Format(Dtype.NVFP4, NVFP4_BLOCK, Dtype.NVFP4),
    "NVFP4_AWQ": Format(Dtype.NVFP4, NVFP4_BLOCK, Dtype.NVFP4),
    "W4A16_NVFP4": Format(Dtype.NVFP4, NVFP4_BLOCK),
    "W4A8_MXFP4_FP8": Format(Dtype.MXFP4, MXFP4_BLOCK, Dtype.FP8),
    "W4A16_MXFP4": Format(Dtype.MXFP4, MXFP4_BLOCK),
    "INT8_SQ": Format(Dtype.INT8, 0, Dtype.INT8),
    "W8A8_SQ_PER_CHANNEL": Format(Dtype.INT8, 0, Dtype.INT8),
    "W8A16": Format(Dtype.INT8),
    "W4A16_AWQ": Format(Dtype.INT4, USUAL_GROUP),
    "W4A8_AWQ": Format(Dtype.INT4, USUAL_GROUP, Dtype.FP8),
    "INT4_AWQ": Format(Dtype.INT4, USUAL_GROUP),
}
"""Formats by the names of TensorRT Model Optimizer."""


def _algorithm(scheme: Mapping[str, object], method: str) -> Format:
    name = scheme.get("quant_algo")
    found = _ALGORITHMS.get(name) if isinstance(name, str) else None
    if found is None:
        raise _refused(method, f"has quant_algo {shown(name)}; known are {', '.join(_ALGORITHMS)}")
    group = whole(scheme.get("group_size"))
    if found.dtype is Dtype.INT4 and group:
        return Format(found.dtype, _group(group, method), found.activation_dtype)
    return found


_QUARK = {
    "fp8_e4m3": Dtype.FP8,
    "fp8_e5m2": Dtype.FP8,
    "fp4": Dtype.MXFP4,
    "int8": Dtype.INT8,
    "int4": Dtype.INT4,
    "uint4": Dtype.INT4,
}


def _quark(scheme: Mapping[str, object]) -> Format:
    found = scheme.get("global_quant_config")
    group = found if isinstance(found, Mapping) else {}

    def operand(key: str) -> tuple[Dtype | None, int]:
        said = group.get(key)
        if said is None:
            return None, 0
        name = said.get("dtype") if isinstance(said, Mapping) else None
        dtype = _QUARK.get(name) if isinstance(name, str) else None
        if dtype is None or not isinstance(said, Mapping):
            raise _refused("quark", f"has {key} {shown(said)}; known are {', '.join(_QUARK)}")
        size = said.get("group_size")
        return dtype, 0 if size is None else _group(size, "quark")

    weight, group_size = operand("weight")
    activation, _ = operand("input_tensors")
    if weight is None:
        raise _refused("quark", "has no global_quant_config.weight")
    return Format(weight, group_size, activation)


def _fp8(scheme: Mapping[str, object]) -> Format:
    activations = scheme.get("activation_scheme", "dynamic")
    if activations not in ("dynamic", "static"):
        raise _refused("fp8", f"has activation_scheme {shown(activations)}; known are dynamic and static")
    return Format(Dtype.FP8, _block(scheme.get("weight_block_size"), "fp8"), Dtype.FP8)


def _grouped_integers(scheme: Mapping[str, object], method: str) -> tuple[Format, tuple[str, ...]]:
    bits = scheme.get("bits", scheme.get("w_bit"))
    dtype = {4: Dtype.INT4, 8: Dtype.INT8}.get(whole(bits) or 0)
    if dtype is None:
        raise _refused(method, f"has bits {shown(bits)}; known are 4 and 8")
    group = scheme.get("group_size", scheme.get("q_group_size"))
    if group is None:
        note = f"quantization_config has no group_size: {USUAL_GROUP}, the usual one of {method}"
        return Format(dtype, USUAL_GROUP), (note,)
    return Format(dtype, _group(group, method)), ()


_EXPRESSION_SIGNS = frozenset("*+?^$()[]{}|\\")


def _extra_config(scheme: Mapping[str, object], method: str) -> Iterator[tuple[str, Format | None]]:
    """AutoRound's formats of single modules, by name or by an expression to be found in the name."""
    _check_integers(scheme, method)
    extra = scheme.get("extra_config") or {}
    if not isinstance(extra, Mapping):
        raise _refused(method, f"has extra_config {shown(extra)}, not an object")
    for name, said in extra.items():
        own = {**scheme, **said} if isinstance(said, Mapping) else {"bits": said}
        pattern = f"re:.*(?:{name.removeprefix('^')})" if _EXPRESSION_SIGNS & {*name} else name
        if whole(own.get("bits")) in (16, 32):
            yield pattern, None
        else:
            _check_integers(own, method)
            yield pattern, _grouped_integers(own, method)[0]


def _dynamic(scheme: Mapping[str, object], method: str) -> Iterator[tuple[str, Format | None]]:
    """GPTQModel's formats of single modules, by expressions; those that begin with `-:` stay wide."""
    dynamic = scheme.get("dynamic") or {}
    if not isinstance(dynamic, Mapping):
        raise _refused(method, f"has dynamic {shown(dynamic)}, not an object")
    for name, said in dynamic.items():
        if name.startswith("-:"):
            yield f"re:{name[2:]}", None
        elif isinstance(said, Mapping):
            own = _grouped_integers({**scheme, **said}, method)[0]
            yield f"re:{name.removeprefix('+:')}", own
        else:
            raise _refused(method, f"has dynamic {shown(said)}, not an object")


def _check_integers(scheme: Mapping[str, object], method: str) -> None:
    for key, known in (("data_type", ("int", None)), ("act_bits", (16, 32, None))):
        if scheme.get(key) not in known:
            raise _refused(method, f"has {key} {shown(scheme[key])}; known is {shown(known[0])}")


def _bitsandbytes(scheme: Mapping[str, object]) -> tuple[Format, tuple[str, ...]]:
    if scheme.get("load_in_8bit") is True:
        note = "bitsandbytes 8-bit: the outlier columns that it keeps in 16 bits are left out"
        return Format(Dtype.INT8, 0, Dtype.INT8), (note,)
    if scheme.get("load_in_4bit") is True:
        if scheme.get("bnb_4bit_use_double_quant") is True:
            return Format(Dtype.INT4, NF4_BLOCK, scale_bits=NF4_DOUBLE_QUANT_SCALE_BITS), ()
        return Format(Dtype.INT4, NF4_BLOCK), ()
    raise _refused("bitsandbytes", "has neither load_in_8bit nor load_in_4bit")


def _groups(scheme: Mapping[str, object], method: str) -> list[Mapping[str, object]]:
    groups = scheme["config_groups"]
    if not isinstance(groups, Mapping) or not groups:
        raise _refused(method, f"has config_groups {shown(groups)}, not an object")
    found = []
    for group in groups.values():
        if not isinstance(group, Mapping):
            raise _refused(method, f"has a config group {shown(group)}, not an object")
        found.append(group)
    return found


def _config_groups(scheme: Mapping[str, object], method: str) -> Format:
    found = {_config_group(group, method) for group in _groups(scheme, method)}
    if len(found) > 1:
        raise _refused(method, "mixes formats (config_groups)")
    return found.pop()


def _config_group(group: Mapping[str, object], method: str) -> Format:
    weights, inputs = group.get("weights"), group.get("input_activations")
    weight = _operand(weights, method, (Dtype.FP8, Dtype.INT8, Dtype.INT4, Dtype.NVFP4, Dtype.MXFP4))
    activation = None if inputs is None else _operand(inputs, method, (Dtype.FP8, Dtype.INT8, Dtype.NVFP4))
    if activation is not None and product_dtype(weight, activation, Dtype.FP32) is not activation:
        raise _refused(method, f"has {weight} weights with {activation} activations")
    block = weights.get("block_structure") if isinstance(weights, Mapping) else None
    size = weights.get("group_size") if isinstance(weights, Mapping) else None
    return Format(weight, _block(block, method) or _group(0 if size is None else size, method), activation)


_OPERANDS = {("float", 8): Dtype.FP8, ("int", 8): Dtype.INT8, ("int", 4): Dtype.INT4}


def _operand(operand: object, method: str, known: tuple[Dtype, ...]) -> Dtype:
    if not isinstance(operand, Mapping):
        raise _refused(method, f"has an operand {shown(operand)}, not an object")
    kind, bits = operand.get("type"), operand.get("num_bits")
    dtype = _OPERANDS.get((str(kind), whole(bits) or 0))
    if (kind, whole(bits)) == ("float", 4):
        block = whole(operand.get("group_size"))
        dtype = {NVFP4_BLOCK: Dtype.NVFP4, MXFP4_BLOCK: Dtype.MXFP4}.get(block or 0)
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
        f"quantization_config: quant_method {method} {what}. {WAY_OUT}",
        ("quantization_config",),
    )
