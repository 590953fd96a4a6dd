"""Facts about a model_type that its config does not say, as data.

A fact is what the model's own class in transformers does with a config that does not say otherwise; `when`
lists the keys with which a config says otherwise. Sizes never stand here: they are read from the config.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from ridgeline_server.domain.mixers import Linear, Mixer
from ridgeline_server.domain.mlps import Experts, Mlp
from ridgeline_server.domain.tensors import Norm, WeightTensor

if TYPE_CHECKING:
    from ridgeline_server.domain.parts.reading import Reading

HEADS = ("num_attention_heads", "n_head", "n_heads")
KV_HEADS = (
    "num_key_value_heads",
    "num_kv_heads",
    "n_head_kv",
    "multi_query_group_num",
    "attn_config.kv_n_heads",
)
HEAD_DIM = ("head_dim", "kv_channels", "attention_head_dim")
MLP_WIDTH = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
ACTIVATION = (
    "hidden_activation",
    "hidden_act",
    "activation_function",
    "activation",
    "activation_fn_name",
)

FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"
NO_ROPE, NOTHING = "no-rope", "nothing"
"""Names of mixers that every family knows: the first three as in transformers' layer_types; NO_ROPE is full
attention that knows no positions, among layers that do.
"""
DENSE, SPARSE, BOTH = "mlp", "experts", "mlp-and-experts"
"""Names of what every family knows to follow the mixer; NOTHING too."""


class QkNorm(StrEnum):
    """Over what queries and keys are normalised."""

    NONE = "not"
    PER_HEAD = "each head, one gain of head_dim for all heads"
    FULL_WIDTH = "a gain for every element of all heads"
    NON_PARAMETRIC = "each head, without a gain"


class Position(StrEnum):
    """How attention knows positions."""

    ROTARY = "rotary"
    LEARNED = "learned"
    ALIBI = "alibi"
    NONE = "not"


class KvHeads(StrEnum):
    """Where the number of key-value heads comes from."""

    KEY_OR_ALL = "the key, else as many as query heads"
    KEY = "the key; transformers' default is a constant of one size of model, so nothing is assumed"
    ALL = "as many as query heads"
    ONE = "one for all query heads"


class Gate(StrEnum):
    """What multiplies attention's output."""

    NONE = "nothing"
    PER_ELEMENT = "a gate for every element of all heads"
    PER_HEAD = "a gate for each head"


@dataclass(frozen=True)
class Part:
    """A mixer or an MLP of one layer, with its tensors."""

    shape: Mixer | Mlp | Experts | Linear
    tensors: tuple[WeightTensor, ...]


class PartFacts(Protocol):
    """Facts from which a part is read. `name` is the one under which its layer has it."""

    def read(self, reading: Reading, name: str) -> Part:
        """The part in this config."""


class Schedule(Protocol):
    """A rule by which a config says what each layer has."""

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that the rule looks at."""

    def names(self, reading: Reading) -> Sequence[str] | None:
        """A name for each layer; None when the config does not have the keys of this rule."""


@dataclass(frozen=True)
class When:
    """`facts` replace the family's own in a config whose `key` has `value`. A dot looks into an object."""

    key: str
    value: bool | int | str
    facts: Mapping[str, Any]


def when(key: str, *, equals: bool | int | str, **facts: Any) -> When:
    """A `When` in one line."""
    return When(key, equals, MappingProxyType(facts))


def varied(**facts: Any) -> Mapping[str, Any]:
    """Facts that hold in the layers of one name."""
    return MappingProxyType(facts)


@dataclass(frozen=True)
class Family:
    """What the config of one model_type does not say. The defaults are those of Llama."""

    norm: Norm = Norm.RMS
    norms: tuple[str, ...] = ("attn_norm", "mlp_norm")
    embedding_norm: bool = False
    final_norm: bool = True
    parallel: bool = False

    # Attention
    head_keys: tuple[str, ...] = HEADS
    heads_default: int | None = None
    """Query heads where the keys are absent; None: they may not be."""
    kv_head_keys: tuple[str, ...] = KV_HEADS
    kv_heads: KvHeads = KvHeads.KEY_OR_ALL
    head_dim_keys: tuple[str, ...] = HEAD_DIM
    value_head_dim_keys: tuple[str, ...] = ()
    """The keys of the values' head_dim; without one of them it is that of queries and keys."""
    needs_head_dim: bool = False
    """head_dim may not be left out: transformers' default for it is a constant."""
    qk_norm: QkNorm = QkNorm.NONE
    qk_norm_bias: bool = False
    qkv_bias: bool = False
    o_bias: bool = False
    sinks: bool = False
    output_gate: Gate = Gate.NONE
    gate_bias: bool = False
    keys_are_values: bool = False
    position: Position = Position.ROTARY
    position_offset: int = 0
    """Rows of the position table beyond the context length."""
    rotary_fraction: float = 1.0
    """Rotated share of a head, where the config does not say."""
    scaled_context: bool = True
    """Rope scaling of type linear or dynamic extends max_position_embeddings; false where it is included."""
    window_keys: tuple[str, ...] = ("sliding_window",)
    window_default: int | None = None
    """The window where the key is left out; null always means no window."""
    rope_without_window: bool = False
    """Layers of NO_ROPE know positions after all in a config without a window."""

    # MLP
    gated: bool = True
    activation: str = "silu"
    mlp_bias: bool = False
    mlp_keys: tuple[str, ...] = MLP_WIDTH
    mlp_ratio: int | None = None
    """The MLP's width over hidden_size where the config gives neither itself nor expansion_ratio."""
    halved_mlp: bool = False
    """The config's intermediate_size is that of gate and up together."""
    experts: PartFacts | None = None
    optional_experts: PartFacts | None = None
    """The experts of configs that tell how many there are; without that the MLP is dense."""
    experts_apart: bool = False
    """Checkpoints have experts and router beside the module `mlp`, not in it."""

    # Which layers have what
    layer_list_keys: tuple[str, ...] = ()
    """Keys with an entry for each layer, which tell how many layers there are in a config without a count."""
    mixers: Mapping[str, tuple[PartFacts, ...]] = field(default_factory=dict)
    """Mixers besides the family's own attention, by the names that `mixers_by` gives."""
    mlps: Mapping[str, tuple[PartFacts, ...]] = field(default_factory=dict)
    """What may follow a mixer besides the family's own MLP and experts, by the names that `mlps_by` gives."""
    mixers_by: tuple[Schedule, ...] = ()
    """Rules for the mixers, the first that a config has the keys of; without any layer_types, else FULL."""
    mlps_by: tuple[Schedule, ...] = ()
    """Rules for what follows; without one all are SPARSE in a family with experts, else DENSE."""
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Facts of the layers whose mixer or MLP has this name, where they differ from the family's."""
    listed_keys: tuple[str, ...] = ()
    """Keys that may be lists with an entry for each layer, besides those of heads and of the MLP's width."""
    per_layer: Callable[[Reading], Sequence[Mapping[str, int]]] | None = None
    """Keys of each layer that replace those of the config, where no list says them."""

    # Around the layers
    tied: bool = False
    lm_head_bias: bool = False
    vocab_keys: tuple[str, ...] = ("vocab_size", "padded_vocab_size")
    extra_embedding_rows: int = 0
    layer_keys: tuple[str, ...] = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_blocks")
    layers_each: int = 1
    """Layers, as this model has them, that the config counts as one."""
    more_tensors: Callable[[Reading], Sequence[WeightTensor]] | None = None
    """Tensors outside of the layers that other families do not have."""
    more_in_layers: Callable[[Reading], Sequence[WeightTensor]] | None = None
    """Tensors of each layer that belong neither to its mixer nor to its MLP."""
    residual_keys: tuple[str, ...] = ()
    """The number of hidden states that run side by side."""

    # What a config says
    when: tuple[When, ...] = ()
    only: Mapping[str, object] = field(default_factory=dict)
    """Keys that change the architecture in ways that are not modelled, with the value that does not."""
    defaults: Mapping[str, object] = field(default_factory=dict)
    """What keys mean that the config leaves out, as transformers has it; it is said where it is taken."""
    same_as_hidden_size: str = ""
    """A key that is refused when it differs from hidden_size."""
    ignored: frozenset[str] = frozenset()
    """Keys that look structural, and which the model's own code does not use for anything that is counted."""
    not_modelled: tuple[str, ...] = ()
    """What checkpoints of this family hold besides, and is left out."""
    prediction_layers: int | None = None
    """Layers for multi-token prediction that its checkpoints hold, where the config does not tell of them, or
    tells of layers that they do not hold.
    """

    def with_facts(self, facts: Mapping[str, Any]) -> Family:
        """The family with some facts replaced."""
        return replace(self, **facts) if facts else self
