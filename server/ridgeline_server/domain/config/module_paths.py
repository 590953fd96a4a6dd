"""Names of modules in checkpoints: which of a model's tensors a pattern of a quantisation scheme means."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from ridgeline_server.domain.config.expressions import ACCEPTED, END, Expression

_ATTENTION = ("self_attn", "attn", "self_attention", "attention", "mixer")
_MLP = ("mlp", "feed_forward", "ffn", "mixer")
_EXPERTS = ("mlp", "block_sparse_moe", "ffn", "feed_forward", "mixer", "moe")
_STATE_SPACE = ("mixer", "mamba", "mamba_decoder.mamba")
_LINEAR = ("linear_attn", "self_attn", "attention")
_MIXER = ("mixer", "mamba", "linear_attn", "self_attn", "temporal_block", "conv")


def _in(parents: Iterable[str], *names: str) -> tuple[str, ...]:
    return tuple(f"{parent}.{name}" for parent in parents for name in names)


PATHS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "q_proj": _in(_ATTENTION, "q_proj", "qkv_proj"),
        "k_proj": _in(_ATTENTION, "k_proj", "qkv_proj"),
        "v_proj": _in(_ATTENTION, "v_proj", "qkv_proj"),
        "o_proj": _in(_ATTENTION, "o_proj", "out_proj"),
        "attn_gate_proj": _in(_ATTENTION, "q_proj", "g_proj", "gate_proj"),
        "q_a_proj": _in(_ATTENTION, "q_a_proj", "wq_a", "fused_qkv_a_proj"),
        "q_b_proj": _in(_ATTENTION, "q_b_proj", "wq_b"),
        "kv_a_proj": _in(_ATTENTION, "kv_a_proj_with_mqa", "wkv", "fused_qkv_a_proj"),
        "kv_b_proj": _in(_ATTENTION, "kv_b_proj"),
        "o_a_proj": _in(_ATTENTION, "o_a_proj", "wo_a"),
        "o_b_proj": _in(_ATTENTION, "o_b_proj", "wo_b"),
        "indexer_q_proj": _in(_ATTENTION, "indexer.wq_b", "index_q_proj"),
        "indexer_k_proj": _in(_ATTENTION, "indexer.wk", "index_k_proj"),
        "indexer_weights_proj": _in(_ATTENTION, "indexer.weights_proj", "indexers_proj"),
        "gate_proj": _in(_MLP, "gate_proj", "gate_up_proj", "w1"),
        "up_proj": _in(_MLP, "up_proj", "gate_up_proj", "w3"),
        "down_proj": _in(_MLP, "down_proj", "w2"),
        "moe_router": (*_in(_EXPERTS, "gate", "router"), "router.proj"),
        "moe_experts_gate": _in(_EXPERTS, "experts.0.gate_proj", "experts.0.w1"),
        "moe_experts_up": _in(_EXPERTS, "experts.0.up_proj", "experts.0.w3"),
        "moe_experts_down": _in(_EXPERTS, "experts.0.down_proj", "experts.0.w2"),
        "moe_latent_in_proj": _in(_EXPERTS, "fc1_latent_proj"),
        "moe_latent_out_proj": _in(_EXPERTS, "fc2_latent_proj"),
        "shared_expert_gate_proj": _in(_EXPERTS, "shared_experts.gate_proj", "shared_expert.gate_proj"),
        "shared_expert_up_proj": _in(_EXPERTS, "shared_experts.up_proj", "shared_expert.up_proj"),
        "shared_expert_down_proj": _in(_EXPERTS, "shared_experts.down_proj", "shared_expert.down_proj"),
        "shared_expert_gate": _in(_EXPERTS, "shared_expert_gate"),
        "lm_head": ("lm_head", "output_layer", "head"),
        "ssm_in_proj": _in(_STATE_SPACE, "in_proj"),
        "ssm_x_proj": _in(_STATE_SPACE, "x_proj"),
        "ssm_dt_proj": _in(_STATE_SPACE, "dt_proj"),
        "ssm_out_proj": _in(_STATE_SPACE, "out_proj"),
        "linear_in_proj": (
            *_in(("linear_attn",), "in_proj_qkvz", "in_proj_qkv", "in_proj_z", "g_proj"),
            *_in(_LINEAR, "qkv_proj", "query_key_value", "q_proj", "k_proj", "v_proj"),
        ),
        "linear_decay_proj": _in(
            _LINEAR, "in_proj_ba", "in_proj_b", "in_proj_a", "a_proj", "b_proj", "f_proj"
        ),
        "linear_decay_a_proj": _in(_LINEAR, "f_a_proj"),
        "linear_decay_b_proj": _in(_LINEAR, "f_b_proj"),
        "linear_beta_proj": _in(_LINEAR, "b_proj"),
        "linear_gate_proj": _in(_LINEAR, "g_proj", "output_gate"),
        "linear_gate_a_proj": _in(_LINEAR, "g_a_proj"),
        "linear_gate_b_proj": _in(_LINEAR, "g_b_proj"),
        "linear_out_proj": _in(_LINEAR, "out_proj", "o_proj", "dense"),
        "conv_in_proj": ("conv.in_proj",),
        "conv_out_proj": ("conv.out_proj",),
        "recurrent_in_proj": _in(("temporal_block",), "linear_x", "linear_y"),
        "recurrent_out_proj": ("temporal_block.linear_out",),
    }
)
"""Where checkpoints have the matrices of each operator, below the layer; others are named as here."""

_PREFIXES = (
    "model.",
    "model.language_model.",
    "language_model.",
    "language_model.model.",
    "backbone.",
    "transformer.",
)
"""What stands before the layers of the decoder in names of modules."""

_EXPERT_NUMBER = re.compile(r"experts\.[0-9]+\b")
_LAYER = re.compile(r"^.*?\b(?:layers|h|blocks|block)\.([0-9]+|\*)(?=([^0-9]|$))")
_PREDICTION = re.compile(r"(model\.)?mtp\b")
_PREFIX = re.compile(r"^(model\.|language_model\.|backbone\.)+")
_WITHOUT_WEIGHTS_OF_MATRICES = re.compile(
    r"norm|embed|wte|wpe|vision|visual|projector|patch_merge|rotary|e_score_correction_bias|\bmtp|audio|talker|vae"
    r"|code2wav|\bbias$|conv1d"
)
"""Modules outside of the decoder, or in it without a matrix that is quantised."""


def paths_of(operator: str, *, experts_apart: bool) -> tuple[str, ...]:
    """Where the matrices of an operator may lie below their layer.

    `experts_apart`: experts and router stand beside the module `mlp`, not in it.
    """
    paths = PATHS.get(operator) or _in(_MIXER, operator)
    if experts_apart and operator.startswith("moe_"):
        paths = tuple(path.partition(".")[2] if path.startswith("mlp.") else path for path in paths)
    return paths


def outside_of_layers(pattern: str) -> bool:
    """Whether it names only what has no matrix in the decoder's layers."""
    return bool(_WITHOUT_WEIGHTS_OF_MATRICES.search(pattern.lower()))


class LayerNumbers:
    """The numbers of a model's layers, by the digits that they begin with."""

    def __init__(self, count: int) -> None:
        self.all = range(count)
        self._beginning: dict[str, list[int]] = {}
        for number in self.all:
            digits = str(number)
            for length in range(1, len(digits) + 1):
                self._beginning.setdefault(digits[:length], []).append(number)

    def meant(self, digits: str) -> Iterable[int]:
        """The layer of this number, or with a star behind it all whose number begins so."""
        if digits.endswith("*"):
            return self._beginning.get(digits[:-1], ())
        number = int(digits[:6])
        return (number,) if number in self.all else ()


class NamedModule:
    """A name or a glob, with the number of its layer taken out. `layers` None: it holds in all of them."""

    def __init__(self, text: str) -> None:
        self.layers: set[int] | None = set()
        self._text = text
        self._pieces = text.split("*")

    def layers_of(self, paths: Iterable[str]) -> Collection[int] | None:
        """The layers where it means a module at one of the paths, below the layer; None means all of them."""
        return self.layers if any(self._means(f"layers.{path}.weight") for path in paths) else ()

    def is_lm_head(self) -> bool:
        """Whether it means lm_head."""
        return any(self._means(f"language_model.{name}.weight") for name in PATHS["lm_head"])

    def _means(self, name: str) -> bool:
        if len(self._pieces) == 1:  # a plain name means a module and all within, wherever it stands
            return f".{self._text}." in f".{name}."
        at = 0
        for piece in self._pieces:
            at = name.find(piece, at)
            if at < 0:
                return False
            at += len(piece)
        return True


class MatchedModule:
    """A regular expression over whole names, with the layers' numbers in them."""

    def __init__(self, source: str, layers: LayerNumbers) -> None:
        self._expression = Expression(source)
        self._all = layers.all
        states: dict[int, set[int]] = {}
        expression = self._expression
        for before in {expression.after(expression.start, f"{prefix}layers.") for prefix in _PREFIXES}:
            for number in layers.all:
                after = expression.after(before, f"{number}.")
                if after:
                    states.setdefault(after, set()).add(number)
        self._states = states

    def layers_of(self, paths: Iterable[str]) -> Collection[int] | None:
        """The layers where it means a module at one of the paths, below the layer; None means all of them."""
        found: set[int] = set()
        for state, layers in self._states.items():
            if any(self._accepts(state, path) for path in paths):
                found |= layers
        return None if len(found) == len(self._all) else found

    def is_lm_head(self) -> bool:
        """Whether it means lm_head."""
        start = self._expression.start
        return any(self._accepts(start, f"{p}{name}") for p in ("", *_PREFIXES) for name in PATHS["lm_head"])

    def _accepts(self, state: int, name: str) -> bool:
        after = self._expression.after(state, name)
        return ACCEPTED in (
            self._expression.after(after, END),
            self._expression.after(after, f".weight{END}"),
        )


def named(pattern: str) -> tuple[str, str | None]:
    """A name or a glob without the number of its layer, and that number; None means all layers."""
    if _PREDICTION.match(pattern):
        return pattern, None  # layers for multi-token prediction have numbers of their own
    text = _EXPERT_NUMBER.sub("experts.0", pattern)
    found = _LAYER.match(text)
    if found is None:
        return _PREFIX.sub("", text), None
    rest = text[found.end() :]
    number = found.group(1)
    if number == "*":
        return f"layers.{rest.lstrip('.')}", None
    if rest.startswith("*"):
        return f"layers.{rest[1:].lstrip('.') or '*'}", f"{number}*"
    return f"layers.{rest.lstrip('.')}".rstrip("."), number
