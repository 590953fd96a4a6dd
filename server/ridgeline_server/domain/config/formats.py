"""The number formats of a checkpoint: the wide one, and the one of each module class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ridgeline_server.domain.config.fields import ConfigFields, shown
from ridgeline_server.domain.config.module_paths import (
    is_safe,
    matches,
    of_any_expert,
    outside_of_layers,
    parse,
)
from ridgeline_server.domain.config.schemes import MXFP4_BLOCK, Format, Scheme, read_scheme
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.errors import UnsupportedConfigError
from ridgeline_server.domain.model import LayerKind, WeightFormat
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor

TORCH_DTYPES = {"bfloat16": Dtype.BF16, "float16": Dtype.FP16, "half": Dtype.FP16, "float32": Dtype.FP32}


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
        fields.refuse(
            fields.key_of(("torch_dtype", "dtype")), f"is {shown(name)}; give bfloat16, float16 or float32"
        )
        return Dtype.BF16
    return found


def read_formats(
    config: Mapping[str, object],
    dtype: Dtype,
    kinds: Sequence[LayerKind],
    sequence: Sequence[int],
    outer: Sequence[WeightTensor],
    experts_apart: bool,
    assumptions: list[str],
) -> tuple[WeightFormat, ...]:
    """The format of each module class that is not wide throughout.

    A class takes the format of most of its weights; where some of its layers have another one, that is said.
    Raises UnsupportedConfigError for a scheme that is not known.
    """
    scheme = read_scheme(config)
    if scheme is None:
        return ()
    assumptions.extend(scheme.notes)
    stored = _Stored(scheme, len(sequence), experts_apart)
    weights: dict[ModuleClass, Counter[Format | None]] = {}
    for number, kind in enumerate(kinds):
        layers = frozenset(layer for layer, of in enumerate(sequence) if of == number)
        for tensor in kind.tensors:
            if tensor.kind is TensorKind.MATRIX:
                found = weights.setdefault(tensor.module, Counter())
                for form, count in stored.formats(tensor, layers).items():
                    found[form] += count * tensor.parameters
    for tensor in outer:
        if tensor.operator == "lm_head" and tensor.kind is TensorKind.MATRIX and not tensor.shared:
            weights[tensor.module] = Counter({stored.of_lm_head(): tensor.parameters})
    stored.refuse_unmatched()
    if scheme.experts_only and ModuleClass.EXPERTS not in weights:
        raise UnsupportedConfigError(
            "quantization_config: it quantises experts, and the model has none", ("quantization_config",)
        )
    if config.get("expert_dtype") == "fp4" and ModuleClass.EXPERTS in weights:
        # DeepSeek-V4's experts are MXFP4 in a checkpoint that is otherwise FP8.
        found = weights[ModuleClass.EXPERTS]
        if set(found) == {scheme.base}:
            weights[ModuleClass.EXPERTS] = Counter({Format(Dtype.MXFP4, MXFP4_BLOCK): found.total()})
    _say_exceptions(weights, dtype, assumptions)
    return tuple(
        WeightFormat(module, form.dtype, form.group_size, form.activation_dtype)
        for module, found in weights.items()
        if (form := _main(found)) is not None
    )


class _Stored:
    """A scheme over the layers of a model. Remembers which of its patterns meant something."""

    def __init__(self, scheme: Scheme, layer_count: int, experts_apart: bool) -> None:
        self._scheme = scheme
        self._experts_apart = experts_apart
        # Patterns that differ by the layer alone are looked at once, for all of their layers.
        self._layers: dict[tuple[str, Format | None], frozenset[int] | None] = {}
        self._named: dict[str, str] = {}
        # Experts are alike: a list that names each of thousands says the same of all.
        for pattern, form in dict.fromkeys((of_any_expert(name), form) for name, form in scheme.modules):
            if not is_safe(pattern):
                raise UnsupportedConfigError(
                    f"quantization_config: it names modules by {shown(pattern)}, which is no expression of "
                    "the simple kind that is evaluated: no groups that repeat, at most three repetitions",
                    ("quantization_config",),
                )
            parsed = parse(pattern)
            layers, key = parsed.layers(layer_count), (parsed.text, form)
            if layers is not None and not layers:
                continue  # of a layer beyond the decoder's, for multi-token prediction
            before = self._layers.get(key, frozenset())
            self._layers[key] = None if layers is None or before is None else before | layers
            self._named.setdefault(parsed.text, pattern)
        self._used: set[str] = set()

    def formats(self, tensor: WeightTensor, layers: frozenset[int]) -> dict[Format | None, int]:
        """How many of the layers that have this tensor store it in each format."""
        found: Counter[Format | None] = Counter()
        left = layers
        for (text, form), of in self._layers.items():
            if matches(text, tensor.operator, self._experts_apart):
                self._used.add(text)
                here = left if of is None else left & of
                found[form] += len(here)
                left = left - here
        if left:
            found[self._base(tensor.module)] += len(left)
        return {form: count for form, count in found.items() if count}

    def of_lm_head(self) -> Format | None:
        """The format of lm_head."""
        for text, form in self._layers:
            if matches(text, "lm_head", experts_apart=False):
                self._used.add(text)
                return form
        return self._scheme.base if self._scheme.covers_lm_head else None

    def refuse_unmatched(self) -> None:
        """Raises for a pattern that means no tensor of the model though it names a part of the layers."""
        for text, pattern in self._named.items():
            if text not in self._used and not outside_of_layers(pattern) and not _other_parts(pattern):
                raise UnsupportedConfigError(
                    f"quantization_config: it names {shown(pattern)}, which is no module of this model that "
                    "Ridgeline knows. Give the config of the unquantised checkpoint and state the format of "
                    "the weights in the deployment",
                    ("quantization_config",),
                )

    def _base(self, module: ModuleClass) -> Format | None:
        # Routers are modules of their own or left out by every scheme that does not name them.
        if module in (ModuleClass.ROUTER, ModuleClass.NORM) or (
            self._scheme.experts_only and module is not ModuleClass.EXPERTS
        ):
            return None
        return self._scheme.base


def _other_parts(pattern: str) -> bool:
    return matches(parse(pattern).text, "lm_head", experts_apart=False)


def _main(found: Counter[Format | None]) -> Format | None:
    return found.most_common(1)[0][0]


def _say_exceptions(
    weights: Mapping[ModuleClass, Counter[Format | None]], dtype: Dtype, assumptions: list[str]
) -> None:
    total = sum(found.total() for found in weights.values())
    for module, found in weights.items():
        main = _main(found)
        for form, count in found.items():
            if form != main:
                said, taken = (f.dtype if f else dtype for f in (form, main))
                share = f"{100 * count / total:.2g}%"
                assumptions.append(
                    f"{share} of the matrix weights, in {module}, are stored as {said} in some layers and "
                    f"taken as {taken}"
                )
