"""The families of models that Ridgeline knows, by model_type. To add one, add a row to a module here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ridgeline_server.domain.families.deci import DECI
from ridgeline_server.domain.families.dense import DENSE
from ridgeline_server.domain.families.experts import EXPERTS
from ridgeline_server.domain.families.gemma import GEMMA_3N_AND_4
from ridgeline_server.domain.families.latent import LATENT
from ridgeline_server.domain.families.linear_attention import LINEAR_ATTENTION
from ridgeline_server.domain.families.openelm import OPENELM
from ridgeline_server.domain.families.plain import PLAIN_LINE
from ridgeline_server.domain.families.sparse import SPARSE_ATTENTION
from ridgeline_server.domain.families.state_space import STATE_SPACES
from ridgeline_server.domain.parts.facts import Family

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        **DENSE,
        **PLAIN_LINE,
        **EXPERTS,
        **LATENT,
        **SPARSE_ATTENTION,
        **GEMMA_3N_AND_4,
        **DECI,
        **OPENELM,
        **STATE_SPACES,
        **LINEAR_ATTENTION,
    }
)
"""Families by model_type."""

ARCHITECTURES: Mapping[str, str] = MappingProxyType(
    {
        "Grok1ModelForCausalLM": "grok-1",
        "MiniCPM3ForCausalLM": "minicpm3",
        "DeciLMForCausalLM": "nemotron-nas",
        "MiniMaxM3SparseForCausalLM": "minimax_m3_vl_text",
        "DeepseekV2ForCausalLM": "deepseek_v2",
        "LlavaQwenForCausalLM": "llava_qwen",
        "LlavaMistralForCausalLM": "llava_mistral",
    }
)
"""The model_type of a class under `architectures`, where configs lack a model_type or give that of another
family."""

CONTRADICTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"grok-1": ("mixtral",), "llava_qwen": ("llava",), "llava_mistral": ("llava",)}
)
"""model_types that a class under `architectures` overrules: copies of grok-1 say mixtral, and those of
LLaVA say llava whatever their language model.
"""

SAME_CLASS: Mapping[str, tuple[str, ...]] = MappingProxyType({"olmo": ("hf_olmo",), "phi": ("phi-msft",)})
"""model_types whose configs name the class of another one, and which are read with other keys."""

BY_VERSION: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "minicpmv": {"2.5": "llama", "2.6": "qwen2", "4.0": "llama", "4.5": "qwen3"},
        "minicpmo": {"2.6": "qwen2"},
    }
)
"""The language model's model_type by the config's `version`, of families that keep its keys beside theirs."""
