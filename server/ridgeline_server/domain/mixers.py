"""What mixes tokens in a layer: kinds of attention, state spaces, linear attention, short convolutions.

A mixer tells what grows with the context (`kv_elements_per_token`, at most `window` tokens of it) and what
stays as it is (`states`, per sequence).
"""

from __future__ import annotations

from dataclasses import dataclass

from ridgeline_server.domain.dtypes import Dtype


@dataclass(frozen=True)
class State:
    """A recurrent state of one sequence. `dtype` None: the model's wide format."""

    name: str
    elements: int
    dtype: Dtype | None = None


@dataclass(frozen=True)
class Indexer:
    """Chooses which keys attention reads (DeepSeek sparse attention and its kin).

    Scores every key with `head_count` heads of `head_dim`, and keeps `top_k` keys. It caches one key of
    `head_dim` per token. A `shared` one takes what the layer before it chose: it has no weights and no cache.
    """

    head_count: int
    head_dim: int
    top_k: int
    shared: bool = False

    @property
    def kv_elements_per_token(self) -> int:
        """Elements of its own key cache."""
        return 0 if self.shared else self.head_dim


@dataclass(frozen=True)
class Attention:
    """Softmax attention with a cache of keys and values.

    `window` is the number of keys that a query sees at most, itself included (None: all); with `chunk` it
    sees those of its own chunk of that many tokens alone. `sinks`: each head has a logit of its own in the
    softmax. `output_gate`: elements of the gate on the output, 0 without one. `keys_are_values`: one
    projection gives both. `shares_kv`: reads the cache of an earlier layer, and has none of its own.
    `is_cross`: keys and values come from an image, and text adds none. `expert_count`: queries and outputs
    are projected by the chosen of so many experts (0: by one matrix each).
    """

    head_count: int
    kv_head_count: int
    head_dim: int
    value_head_dim: int
    rotary_dim: int
    window: int | None = None
    chunk: int | None = None
    qk_norm: bool = False
    sinks: bool = False
    output_gate: int = 0
    keys_are_values: bool = False
    shares_kv: bool = False
    is_cross: bool = False
    expert_count: int = 0
    indexer: Indexer | None = None

    @property
    def q_width(self) -> int:
        """Elements of the queries of one token."""
        return self.head_count * self.head_dim

    @property
    def kv_elements_per_token(self) -> int:
        """Elements that one token adds to the layer's cache."""
        indexed = self.indexer.kv_elements_per_token if self.indexer else 0
        own = (
            0
            if self.shares_kv or self.is_cross
            else self.kv_head_count * (self.head_dim + self.value_head_dim)
        )
        return own + indexed

    @property
    def states(self) -> tuple[State, ...]:
        """Attention keeps no state but its cache."""
        return ()


@dataclass(frozen=True)
class LatentAttention:
    """Multi-head latent attention (arXiv:2405.04434, section 2.1): keys and values are projections of one
    cached latent of `kv_lora_rank`, beside which lies one rotated key of `qk_rope_head_dim` for all heads.

    `q_lora_rank` None: queries are projected without a latent of their own.
    """

    head_count: int
    q_lora_rank: int | None
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    window: int | None = None
    output_gate: int = 0
    indexer: Indexer | None = None

    @property
    def kv_head_count(self) -> int:
        """Heads of the cache: all heads share its one latent."""
        return 1

    @property
    def head_dim(self) -> int:
        """Elements of a query's head."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    @property
    def rotary_dim(self) -> int:
        """Rotated elements of a head."""
        return self.qk_rope_head_dim

    @property
    def kv_elements_per_token(self) -> int:
        """Elements that one token adds to the layer's cache; they are the same on every device."""
        indexed = self.indexer.kv_elements_per_token if self.indexer else 0
        return self.kv_lora_rank + self.qk_rope_head_dim + indexed

    @property
    def states(self) -> tuple[State, ...]:
        """Attention keeps no state but its cache."""
        return ()


@dataclass(frozen=True)
class CompressedAttention:
    """DeepSeek-V4's attention: one head of keys, which are also the values, for all queries.

    Queries see the last `window` tokens, and of those before one entry for each `compress_ratio` tokens (0:
    none), which `indexer`, if there is one, picks from. Queries are projected from a latent of
    `q_lora_rank`, and the output of each of `o_group_count` groups of heads to a latent of `o_lora_rank`.
    """

    head_count: int
    head_dim: int
    rotary_dim: int
    q_lora_rank: int
    o_lora_rank: int
    o_group_count: int
    window: int
    compress_ratio: int
    indexer: Indexer | None = None

    @property
    def kv_head_count(self) -> int:
        """Heads of the cache."""
        return 1

    @property
    def kv_elements_per_token(self) -> float:
        """Elements that one token adds to the layer's cache while its window is not full; beyond it only
        those of the compressed entries last.
        """
        return self.head_dim + self.compressed_elements_per_token

    @property
    def compressed_elements_per_token(self) -> float:
        """Elements of compressed entries, the indexer's keys among them, that one token stands for."""
        if not self.compress_ratio:
            return 0
        indexed = self.indexer.kv_elements_per_token if self.indexer else 0
        return (self.head_dim + indexed) / self.compress_ratio

    @property
    def states(self) -> tuple[State, ...]:
        """Attention keeps no state but its cache."""
        return ()


@dataclass(frozen=True)
class _Recurrent:
    """A mixer whose memory does not grow with the context."""

    states: tuple[State, ...]

    @property
    def kv_elements_per_token(self) -> int:
        """Nothing is cached per token."""
        return 0

    @property
    def window(self) -> None:
        """It has no keys."""
        return


@dataclass(frozen=True)
class StateSpace(_Recurrent):
    """A selective state space: Mamba (arXiv:2312.00752; `head_dim` 1, `group_count` 1) or Mamba-2
    (arXiv:2405.21060). `inner_size` channels in heads of `head_dim`, each with `state_size` state elements.
    """

    inner_size: int
    state_size: int
    conv_kernel: int
    head_count: int
    head_dim: int
    group_count: int
    time_step_rank: int = 0
    version: int = 2


@dataclass(frozen=True)
class LinearAttention(_Recurrent):
    """Attention whose memory is one matrix per head: gated delta net, KDA, lightning attention...

    `rule` names the update. The state of a value head is key_head_dim x value_head_dim.
    """

    rule: str
    key_head_count: int
    value_head_count: int
    key_head_dim: int
    value_head_dim: int
    conv_kernel: int = 0
    output_gate: int = 0


@dataclass(frozen=True)
class ShortConvolution(_Recurrent):
    """A gated causal convolution over a few tokens (LFM2)."""

    channels: int
    conv_kernel: int


@dataclass(frozen=True)
class Recurrence(_Recurrent):
    """A gated linear recurrence over channels (RG-LRU, arXiv:2402.19427)."""

    width: int
    head_count: int
    conv_kernel: int


@dataclass(frozen=True)
class Linear:
    """One square matrix in place of a mixer, or of an MLP (Nemotron-NAS): it mixes no tokens."""

    width: int

    @property
    def kv_elements_per_token(self) -> int:
        """Nothing is cached."""
        return 0

    @property
    def window(self) -> None:
        """It has no keys."""
        return

    @property
    def states(self) -> tuple[State, ...]:
        """It keeps nothing."""
        return ()


Mixer = (
    Attention
    | LatentAttention
    | CompressedAttention
    | StateSpace
    | LinearAttention
    | ShortConvolution
    | Recurrence
    | Linear
)
