"""Names of modules in checkpoints: which of a model's tensors a pattern of a quantisation scheme means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from types import MappingProxyType

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

_EXPERT_NUMBER = re.compile(r"experts\.[0-9]+\b")
_LAYER = re.compile(r"^.*?\b(?:layers|h|blocks|block)\.([0-9]+|\*)(?=([^0-9]|$))")
_PREDICTION = re.compile(r"(model\.)?mtp\b")
_PREFIX = re.compile(r"^(model\.|language_model\.|backbone\.)+")
_WITHOUT_WEIGHTS_OF_MATRICES = re.compile(
    r"norm|embed|wte|wpe|vision|visual|projector|patch_merge|rotary|e_score_correction_bias|\bmtp|audio|talker|vae"
    r"|code2wav|\bbias$|conv1d"
)
"""Modules outside of the decoder, or in it without a matrix that is quantised."""


@dataclass(frozen=True)
class Pattern:
    """A pattern with its layer number taken out. `layer` None: all layers."""

    text: str
    layer: str | None

    def layers(self, count: int) -> frozenset[int] | None:
        """The layers that it means; None means all of them."""
        if self.layer is None:
            return None
        if self.layer.endswith("*"):
            start = self.layer[:-1]
            return frozenset(n for n in range(count) if str(n).startswith(start))
        number = int(self.layer[:6])
        return frozenset([number] if number < count else [])


def of_any_expert(pattern: str) -> str:
    """A pattern with the number of an expert taken out."""
    return pattern if pattern.startswith("re:") else _EXPERT_NUMBER.sub("experts.0", pattern)


@lru_cache(maxsize=4096)
def parse(pattern: str) -> Pattern:
    """A pattern of a quantisation scheme: a name, a glob, or a regular expression after `re:`."""
    if pattern.startswith("re:") or _PREDICTION.match(pattern):
        return Pattern(pattern, None)  # layers for multi-token prediction have numbers of their own
    found = _LAYER.match(pattern)
    if found is None:
        return Pattern(_PREFIX.sub("", pattern), None)
    rest = pattern[found.end() :]
    number = found.group(1)
    if number == "*":
        return Pattern(f"layers.{rest.lstrip('.')}", None)
    if rest.startswith("*"):
        return Pattern("layers.*", f"{number}*" if len(rest) == 1 else number)
    return Pattern(f"layers.{rest.lstrip('.')}".rstrip("."), number)


def outside_of_layers(pattern: str) -> bool:
    """Whether it names only what has no matrix in the decoder's layers."""
    return bool(_WITHOUT_WEIGHTS_OF_MATRICES.search(pattern.lower()))


@lru_cache(maxsize=4096)
def matches(text: str, operator: str, experts_apart: bool) -> bool:
    """Whether the text of a pattern means the matrices of an operator.

    `experts_apart`: experts and router stand beside the module `mlp`, not in it.
    """
    paths = PATHS.get(operator) or _in(_MIXER, operator)
    if experts_apart and operator.startswith("moe_"):
        paths = tuple(path.partition(".")[2] if path.startswith("mlp.") else path for path in paths)
    found = _compiled(text)
    if operator == "lm_head":
        return any(found.search(f"language_model.{name}.weight") for name in paths)
    return any(found.search(f"layers.{path}.weight") for path in paths)


@lru_cache(maxsize=4096)
def _compiled(text: str) -> re.Pattern[str]:
    if text.startswith("re:"):
        return re.compile(rf"\A(?:{text[3:]})")
    if "*" in text or "?" in text:
        return re.compile(translate(text).replace(r"\Z", ""))
    # A plain name means a module and all within, wherever it stands.
    return re.compile(rf"(?:\A|\.){re.escape(text)}(?:\.|\Z)")


_REPETITION = re.compile(r"(?<!\\)[*+{]")
_REPEATED_GROUP = re.compile(r"\)[*+{]")
MAX_EXPRESSION_LENGTH, MAX_REPETITIONS = 500, 3


def is_safe(pattern: str) -> bool:
    """Whether matching takes a time that is bounded: a regular expression of a stranger's config may not
    repeat groups, nor repeat often, since matching backtracks.
    """
    if not pattern.startswith("re:"):
        return len(pattern) <= MAX_EXPRESSION_LENGTH
    expression = pattern[3:]
    if len(expression) > MAX_EXPRESSION_LENGTH or _REPEATED_GROUP.search(expression):
        return False
    if len(_REPETITION.findall(expression)) > MAX_REPETITIONS:
        return False
    try:
        re.compile(expression)
    except re.error:
        return False
    return True
