"""What families with experts share: rules for which layers have them, and their usual facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ridgeline_server.domain.parts.experts import SHARED_COUNT, ExpertsFacts
from ridgeline_server.domain.parts.facts import DENSE, MLP_WIDTH, SPARSE
from ridgeline_server.domain.parts.schedules import EachNth, FirstThen, Listed, Stated, Unless

MLP_TYPES = Stated("mlp_layer_types", MappingProxyType({"dense": DENSE, "sparse": SPARSE}))
"""transformers' mlp_layer_types."""
MOE_FREQ_LIST = Stated("moe_layer_freq", MappingProxyType({0: DENSE, 1: SPARSE}))
MOE_FREQ = EachNth(("moe_layer_freq",), SPARSE, DENSE, offset=0)
"""DeepSeek's rule: the layers whose number is a multiple of moe_layer_freq have experts."""
FIRST_DENSE = FirstThen(("first_k_dense_replace",), DENSE, SPARSE)
FIRST_DENSE_NEEDED = replace(FIRST_DENSE, needed=True)
"""The same, of families whose default is that of one size of model."""
AFTER_FIRST_DENSE = (MLP_TYPES, Unless(SPARSE, (FIRST_DENSE_NEEDED, MOE_FREQ)))
"""DeepSeek's two keys together."""
MAYBE_FIRST_DENSE = (MLP_TYPES, Unless(SPARSE, (FIRST_DENSE, MOE_FREQ)))
"""The same, where a config without them has experts in all layers."""
QWEN_SPARSE = (
    MLP_TYPES,
    Unless(
        SPARSE,
        (Listed("mlp_only_layers", DENSE, SPARSE), EachNth(("decoder_sparse_step",), SPARSE, DENSE)),
    ),
)
"""Qwen's rule: each decoder_sparse_step-th layer has experts but for those under mlp_only_layers."""

QWEN_DEFAULTS: Mapping[str, object] = MappingProxyType({"decoder_sparse_step": 1})

IN_MLP_WIDTH = ExpertsFacts(width_keys=MLP_WIDTH)
"""As Mixtral: intermediate_size is the width of one expert."""
DEEPSEEK = ExpertsFacts(shared_count_keys=SHARED_COUNT, routing_bias=True)
"""As DeepSeek-V3: shared experts of the routed ones' width, and a routing bias."""
