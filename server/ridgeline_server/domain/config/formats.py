"""The number formats of a checkpoint: the wide one, and the one of each module class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ridgeline_server.domain.config.expressions import UnsupportedExpressionError
from ridgeline_server.domain.config.fields import ConfigFields, shown
from ridgeline_server.domain.config.module_paths import (
    LayerNumbers,
    MatchedModule,
    NamedModule,
    named,
    outside_of_layers,
    paths_of,
)
from ridgeline_server.domain.config.schemes import MXFP4_BLOCK, WAY_OUT, Format, Scheme, read_scheme
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.errors import UnsupportedConfigError
from ridgeline_server.domain.model import LayerKind, WeightFormat
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor

TORCH_DTYPES = {"bfloat16": Dtype.BF16, "float16": Dtype.FP16, "half": Dtype.FP16, "float32": Dtype.FP32}

MAX_PATTERNS, MAX_EXPRESSIONS, MAX_NAME_LENGTH = 256, 32, 500
"""Bounds on what names modules in a scheme; published ones have dozens of patterns at most, and six
expressions.
"""


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
    try:
        weights = _weights(scheme, kinds, sequence, outer, experts_apart)
    except UnsupportedExpressionError as error:
        raise _refused(f"names modules by {error}") from None
    if scheme.experts_only and ModuleClass.EXPERTS not in weights:
        raise _refused("quantises experts, and the model has none")
    if config.get("expert_dtype") == "fp4" and ModuleClass.EXPERTS in weights:
        # DeepSeek-V4's experts are MXFP4 in a checkpoint that is otherwise FP8.
        found = weights[ModuleClass.EXPERTS]
        if set(found) == {scheme.base}:
            weights[ModuleClass.EXPERTS] = Counter({Format(Dtype.MXFP4, MXFP4_BLOCK): found.total()})
    _say_exceptions(weights, dtype, assumptions)
    return tuple(
        WeightFormat(module, form.dtype, form.group_size, form.activation_dtype, form.scale_bits)
        for module, found in weights.items()
        if (form := _main(found)) is not None
    )


def _weights(
    scheme: Scheme,
    kinds: Sequence[LayerKind],
    sequence: Sequence[int],
    outer: Sequence[WeightTensor],
    experts_apart: bool,
) -> dict[ModuleClass, Counter[Format | None]]:
    """The matrix weights of each module class in each format; None is the wide one."""
    stored = _Stored(scheme, len(sequence), experts_apart)
    weights: dict[ModuleClass, Counter[Format | None]] = {}
    layers_of_kinds: list[list[int]] = [[] for _ in kinds]
    for layer, number in enumerate(sequence):
        layers_of_kinds[number].append(layer)
    for kind, layers in zip(kinds, layers_of_kinds, strict=True):
        for tensor in kind.tensors:
            if tensor.kind is TensorKind.MATRIX:
                found = weights.setdefault(tensor.module, Counter())
                for form, count in stored.formats(tensor, layers).items():
                    found[form] += count * tensor.parameters
    for tensor in outer:
        if tensor.operator == "lm_head" and tensor.kind is TensorKind.MATRIX and not tensor.shared:
            weights[tensor.module] = Counter({stored.of_lm_head(): tensor.parameters})
    stored.refuse_unmatched()
    return weights


class _Stored:
    """A scheme over the layers of a model. Remembers which of its patterns meant something."""

    def __init__(self, scheme: Scheme, layer_count: int, experts_apart: bool) -> None:
        self._scheme = scheme
        self._layer_count = layer_count
        self._experts_apart = experts_apart
        self._patterns = _patterns(scheme, LayerNumbers(layer_count))
        self._used: set[int] = set()
        self._by_operator: dict[tuple[str, ModuleClass], list[Format | None]] = {}

    def formats(self, tensor: WeightTensor, layers: Sequence[int]) -> Counter[Format | None]:
        """How many of the layers that have this tensor store it in each format."""
        key = (tensor.operator, tensor.module)
        found = self._by_operator.get(key)
        if found is None:
            found = self._by_operator[key] = self._of_operator(tensor)
        return Counter(found[layer] for layer in layers)

    def of_lm_head(self) -> Format | None:
        """The format of lm_head."""
        for number, pattern in enumerate(self._patterns):
            if pattern.module.is_lm_head():
                self._used.add(number)
                return pattern.format
        return self._scheme.base if self._scheme.covers_lm_head else None

    def refuse_unmatched(self) -> None:
        """Raises for a pattern that means no tensor of the model though it names a part of the layers."""
        for number, pattern in enumerate(self._patterns):
            named = pattern.named
            if number not in self._used and not outside_of_layers(named) and not pattern.module.is_lm_head():
                raise _refused(f"names {shown(named)}, which is no module of this model that Ridgeline knows")

    def _of_operator(self, tensor: WeightTensor) -> list[Format | None]:
        """The format of an operator's matrices in each layer: that of the first pattern that means them."""
        paths = paths_of(tensor.operator, experts_apart=self._experts_apart)
        found = [self._base(tensor.module)] * self._layer_count
        left = set(range(self._layer_count))
        for number, pattern in enumerate(self._patterns):
            meant = pattern.module.layers_of(paths)
            if meant is None or meant:
                self._used.add(number)
                here = left if meant is None else left.intersection(meant)
                for layer in here:
                    found[layer] = pattern.format
                left = left - here if left else left
        return found

    def _base(self, module: ModuleClass) -> Format | None:
        # Routers are modules of their own or left out by every scheme that does not name them.
        if module in (ModuleClass.ROUTER, ModuleClass.NORM) or (
            self._scheme.experts_only and module is not ModuleClass.EXPERTS
        ):
            return None
        return self._scheme.base


class _Pattern(NamedTuple):
    """A pattern as the scheme gives it, what it means, and the format of that."""

    named: str
    module: NamedModule | MatchedModule
    format: Format | None


def _patterns(scheme: Scheme, layers: LayerNumbers) -> list[_Pattern]:
    """The scheme's patterns; those that differ by the number of their layer alone are one."""
    found: dict[tuple[str, Format | None], _Pattern] = {}
    expressions = 0
    for pattern, form in scheme.modules:
        if pattern.startswith("re:"):
            expressions += (pattern, form) not in found
            if expressions <= MAX_EXPRESSIONS:
                found.setdefault(
                    (pattern, form),
                    _Pattern(pattern, MatchedModule(pattern.removeprefix("re:"), layers), form),
                )
            continue
        if len(pattern) > MAX_NAME_LENGTH:
            raise _refused(
                f"names {shown(pattern)}, of {len(pattern)} characters; {MAX_NAME_LENGTH} are read at most"
            )
        text, layer = named(pattern)
        meant = None if layer is None else layers.meant(layer)
        if meant is not None and not meant:
            continue  # of a layer beyond the decoder's, for multi-token prediction
        module = found.setdefault((text, form), _Pattern(pattern, NamedModule(text), form)).module
        assert isinstance(module, NamedModule)
        if meant is None or module.layers is None:
            module.layers = None
        else:
            module.layers.update(meant)
    for count, bound, what in (
        (expressions, MAX_EXPRESSIONS, "regular expressions"),
        (len(found), MAX_PATTERNS, "patterns, numbers of layers and experts left out"),
    ):
        if count > bound:
            raise _refused(f"names modules by {count} {what}; {bound} are read at most")
    return list(found.values())


def _refused(what: str) -> UnsupportedConfigError:
    return UnsupportedConfigError(
        f"quantization_config: it {what}. {WAY_OUT}",
        ("quantization_config",),
    )


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
