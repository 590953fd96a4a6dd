"""Model: one decoder-only LLM architecture, as the weight tensors that its operators read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from ridgeline_server.domain.dtypes import ELEMENT_BITS, GROUP_SCALE_BITS, Dtype
from ridgeline_server.domain.mixers import Attention, CompressedAttention, LatentAttention, Linear, Mixer
from ridgeline_server.domain.mlps import Experts, Mlp
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor


@dataclass(frozen=True)
class WeightFormat:
    """How a checkpoint stores the matrices of a module class.

    `group_size` weights share a scale (0: one scale per channel, or none) of `scale_bits`, zero point
    included. `activation_dtype` is the format in which the checkpoint wants their inputs (None: wide).
    """

    module: ModuleClass
    dtype: Dtype
    group_size: int = 0
    activation_dtype: Dtype | None = None
    scale_bits: float = GROUP_SCALE_BITS

    @property
    def stored(self) -> tuple[object, ...]:
        """What is alike in module classes that are stored alike."""
        return (self.dtype, self.group_size, self.activation_dtype, self.scale_bits)


@dataclass(frozen=True)
class LayerKind:
    """`count` identical decoder layers: mixers that run side by side, then MLPs that do.

    Either may be missing: a layer of Nemotron-H has only one of the two. `norms` names the norm operators on
    the residual stream, out of attn_norm, attn_post_norm, mlp_norm, mlp_post_norm. `parallel` layers feed
    mixers and MLPs from one input. `tensors` holds those of one layer, in the order in which they are read.
    """

    name: str
    count: int
    mixers: tuple[Mixer, ...]
    mlps: tuple[Mlp | Experts | Linear, ...]
    norms: tuple[str, ...]
    tensors: tuple[WeightTensor, ...]
    parallel: bool = False

    @property
    def kv_elements_per_token(self) -> float:
        """Elements that one token adds to the KV cache of one layer, windows not yet full."""
        return sum(mixer.kv_elements_per_token for mixer in self.mixers)

    @property
    def parameters(self) -> int:
        """Weights of one layer."""
        return sum(tensor.parameters for tensor in self.tensors)


@dataclass(frozen=True)
class Model:
    """One architecture. `tensors` are those outside of the layers: embedding, position_embedding,
    embedding_norm, final_norm, lm_head. `layer_sequence` has for each layer the index of its kind.

    `dtype` is the wide format of the checkpoint, `formats` how it stores the matrices of each module class
    that the model has. `weight_dtype`, `weight_group_size` and `activation_dtype` are those of most of the
    layers' matrix weights. `residual_streams` hidden states run side by side through the layers (Gemma 3n's
    AltUp, DeepSeek-V4's hyper-connections). Beside its `layer_sequence` the checkpoint holds so many
    `prediction_layers` for multi-token prediction, which plain decoding does not run.
    """

    id: str
    family: str
    hidden_size: int
    vocab_size: int
    layer_kinds: tuple[LayerKind, ...]
    layer_sequence: tuple[int, ...]
    tensors: tuple[WeightTensor, ...]
    max_context_len: int | None
    dtype: Dtype
    formats: tuple[WeightFormat, ...] = ()
    residual_streams: int = 1
    assumptions: tuple[str, ...] = ()
    not_modelled: tuple[str, ...] = ()
    prediction_layers: int = 0
    display_name: str = field(default="", compare=False)

    def __hash__(self) -> int:
        # Models key caches that every question asks; equality still compares everything.
        return hash((self.id, self.family, self.hidden_size, self.vocab_size, self.layer_count))

    @property
    def name(self) -> str:
        """Name for messages."""
        return self.display_name or self.id or f"a {self.family} model"

    def format_of(self, module: ModuleClass) -> WeightFormat:
        """How the matrices of a module class are stored."""
        return next((f for f in self.formats if f.module is module), WeightFormat(module, self.dtype))

    @property
    def module_formats(self) -> tuple[WeightFormat, ...]:
        """The format of each module class that the model has, in the order in which its weights are read."""
        outer = {tensor.operator: tensor.module for tensor in self.tensors}
        layers = [tensor.module for _, tensor in self.layer_tensors()]
        modules = dict.fromkeys([outer["embedding"], *layers, *outer.values()])
        return tuple(self.format_of(module) for module in modules)

    @cached_property
    def main_format(self) -> WeightFormat:
        """The format of most of the layers' matrix weights."""
        weights: dict[ModuleClass, int] = {}
        for count, tensor in self.layer_tensors():
            if tensor.kind is TensorKind.MATRIX:
                weights[tensor.module] = weights.get(tensor.module, 0) + count * tensor.parameters
        by_format: dict[tuple[object, ...], int] = {}
        chosen: dict[tuple[object, ...], WeightFormat] = {}
        for module, number in weights.items():
            found = self.format_of(module)
            by_format[found.stored] = by_format.get(found.stored, 0) + number
            chosen.setdefault(found.stored, found)
        return chosen[max(by_format, key=by_format.__getitem__)]

    @property
    def weight_dtype(self) -> Dtype:
        """The storage format of most of the layers' matrix weights."""
        return self.main_format.dtype

    @property
    def weight_group_size(self) -> int:
        """The weights that share a scale in that format."""
        return self.main_format.group_size

    @property
    def weight_scale_bits(self) -> float:
        """The bits of such a scale."""
        return self.main_format.scale_bits

    @property
    def activation_dtype(self) -> Dtype | None:
        """The format of the inputs that the checkpoint asks for with it; None: wide."""
        return self.main_format.activation_dtype

    @property
    def quantized(self) -> bool:
        """Whether the checkpoint stores its layers in fewer bits than it computes in."""
        return self.weight_dtype is not self.dtype

    @property
    def layer_count(self) -> int:
        """Decoder layers."""
        return len(self.layer_sequence)

    def layer_tensors(self) -> Iterator[tuple[int, WeightTensor]]:
        """The tensors of the layers, each with the number of layers that have it."""
        for kind in self.layer_kinds:
            for tensor in kind.tensors:
                yield kind.count, tensor

    def all_tensors(self) -> Iterator[tuple[int, WeightTensor]]:
        """All tensors, each with how often the model has it."""
        yield from self.layer_tensors()
        for tensor in self.tensors:
            yield 1, tensor

    @cached_property
    def parameter_count(self) -> int:
        """Weights in all: the sum over the tensors that the operators read."""
        return sum(count * tensor.parameters for count, tensor in self.all_tensors())

    @cached_property
    def active_parameter_count(self) -> int:
        """Weights that one token uses; the input embedding counts whole."""
        return sum(count * tensor.active_parameters for count, tensor in self.all_tensors())

    @cached_property
    def active_parameter_count_without_embedding(self) -> int:
        """The same without the input embedding, unless lm_head reads it too."""
        if any(tensor.operator == "lm_head" and tensor.shared for tensor in self.tensors):
            return self.active_parameter_count
        embedding = sum(tensor.parameters for tensor in self.tensors if tensor.operator == "embedding")
        return self.active_parameter_count - embedding

    @cached_property
    def kv_elements_per_token(self) -> float:
        """Elements that one token adds to the KV cache over all layers, windows not yet full."""
        return sum(kind.count * kind.kv_elements_per_token for kind in self.layer_kinds)

    @cached_property
    def state_bytes_per_sequence(self) -> float:
        """Bytes of recurrent state of one sequence, whatever its length."""
        return sum(
            kind.count * state.elements * ELEMENT_BITS[state.dtype or self.dtype] / 8
            for kind in self.layer_kinds
            for mixer in kind.mixers
            for state in mixer.states
        )

    @cached_property
    def attention(self) -> Attention | LatentAttention | CompressedAttention | None:
        """The attention of the layers that see the whole context, or the first there is; None without any."""
        found = [
            mixer
            for kind in self.layer_kinds
            for mixer in kind.mixers
            if isinstance(mixer, Attention | LatentAttention | CompressedAttention)
        ]
        return next((a for a in found if a.window is None), found[0] if found else None)

    @cached_property
    def experts(self) -> Experts | None:
        """The first mixture of experts; None without any."""
        return next((m for kind in self.layer_kinds for m in kind.mlps if isinstance(m, Experts)), None)


def _sum(tensors: Iterator[tuple[int, WeightTensor]], chosen: Callable[[WeightTensor], bool]) -> int:
    return sum(count * tensor.parameters for count, tensor in tensors if chosen(tensor))
