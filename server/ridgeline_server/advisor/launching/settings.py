"""What a deployment asks of an engine: the ids of its settings, and what no engine has a setting for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ridgeline_server.domain.deployment import AttentionKernel, Deployment
from ridgeline_server.domain.dtypes import DEFAULT_GROUP_SIZE, SIXTEEN_BIT, Dtype
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.speculation import Draft
from ridgeline_server.domain.tensors import ModuleClass

LOAD = "increase-batch"
"""The setting that every launch has: how many requests run at once."""
REPLICAS = "data-parallel"
"""The technique that a launch tells by how many servers it starts, on any number of hosts, and by no flag."""
LISTEN = "listen"
"""The setting of a server that is to be reached from outside of its container."""
CONVERT = "convert"
"""The setting of an engine that reads no checkpoint in the Hugging Face form."""

WEIGHT_ONLY: Mapping[Dtype, str] = MappingProxyType(
    {Dtype.INT8: "weight-only-int8", Dtype.FP8: "weight-only-fp8", Dtype.INT4: "weight-only-int4"}
)
COMPUTE: Mapping[Dtype, str] = MappingProxyType(
    {Dtype.INT8: "int8-compute", Dtype.FP8: "fp8-compute", Dtype.NVFP4: "nvfp4-compute"}
)
WIDENED: Mapping[Dtype, str] = MappingProxyType(
    {Dtype.INT4: "w4a8-compute", Dtype.MXFP4: "w4a8-mxfp4-compute"}
)
KV_CACHE: Mapping[Dtype, str] = MappingProxyType(
    {
        Dtype.FP8: "kv-cache-fp8",
        Dtype.INT8: "kv-cache-int8",
        Dtype.INT4: "kv-cache-int4",
        Dtype.INT2: "kv-cache-int2",
    }
)
SPECULATION: Mapping[Draft, str] = MappingProxyType(
    {
        Draft.NGRAM: "speculation-ngram",
        Draft.HEADS: "speculation-heads",
        Draft.MODEL: "speculation-draft-model",
    }
)
OWN_HEADS = "speculation-mtp"
"""Drafting by the heads that a model is published with."""


def settings_of(model: Model, deployment: Deployment, *, reads_gguf: bool) -> Iterator[str]:
    """The ids of all settings that a deployment needs, what is made before what is stated."""
    weights = _weights(model, deployment, reads_gguf=reads_gguf)
    if weights:
        yield weights
    if deployment.sparse_weights:
        yield "sparsity-2-4"
    if deployment.compute_dtype is not model.dtype:
        yield "compute-dtype"
    if deployment.kv_dtype in KV_CACHE:
        yield KV_CACHE[deployment.kv_dtype]
    yield from _devices(deployment)
    yield LOAD
    yield from _steps(model, deployment)


def _devices(deployment: Deployment) -> Iterator[str]:
    parallel = deployment.parallel
    if parallel.tp > 1:
        yield "tensor-parallel"
    if parallel.attention_dp > 1:
        yield "attention-data-parallel"
    if parallel.ep > 1:
        yield "expert-parallel" if parallel.ep == parallel.stage_devices else "partial-expert-parallel"
    if parallel.pp > 1:
        yield "pipeline-parallel"
    if deployment.memory_utilization is not None:
        yield "memory-utilization"
    if deployment.offload.weight_share > 0:
        yield "weight-offload"
    if deployment.offload.kv_share > 0:
        yield "kv-offload"


def _steps(model: Model, deployment: Deployment) -> Iterator[str]:
    if deployment.chunk_tokens is not None:
        yield "chunked-prefill"
    if deployment.prefix_hit_rate > 0:
        yield "prefix-caching"
    if deployment.kv_keep_ratio < 1:
        yield "kv-eviction"
    if deployment.kv_window is not None:
        yield "kv-window"
    if deployment.attention is AttentionKernel.UNFUSED:
        yield "unfused-attention"
    if deployment.eager:
        yield "eager-execution"
    if deployment.speculation is not None:
        draft = deployment.speculation.draft
        yield OWN_HEADS if draft is Draft.HEADS and model.prediction_layers else SPECULATION[draft]


def _weights(model: Model, deployment: Deployment, *, reads_gguf: bool) -> str:
    """The setting that makes the weights what they are; empty where the checkpoint has them so, or where
    there is none.
    """
    if _is_own_format(model, deployment) and not reads_gguf:
        return ""
    return setting_of_operands(deployment)


def unsettled(model: Model, deployment: Deployment) -> Iterator[str]:
    """What the deployment states and no engine has a setting for, in sentences."""
    stored = deployment.weight_dtype
    if not _is_own_format(model, deployment):
        made = _made(deployment)
        if stored not in made and stored is not deployment.compute_dtype:
            yield f"No checked tool makes {stored} weights with {deployment.activation_dtype} operands."
        elif model.quantized and stored is not model.weight_dtype:
            yield f"The checkpoint's weights are {model.weight_dtype}: start from one in 16 bits."
        group, usual = deployment.weight_group_size, DEFAULT_GROUP_SIZE.get(stored, 0)
        kept = (stored, group) == (model.weight_dtype, model.weight_group_size)
        if stored in made and group != usual and not kept:
            yield f"The checked schemes give {stored} weights groups of {usual or 'a channel'}, not {group}."
    own = {(stated.module, stated.dtype) for stated in model.module_formats}
    for stated in deployment.formats:
        if (stated.module, stated.dtype) not in own:
            yield f"No checked tool stores {stated.module} in {stated.dtype} by itself."
    outer = {stated.module for stated in deployment.formats}
    if deployment.lm_head_dtype is not model.dtype and ModuleClass.LM_HEAD not in outer:
        yield f"No checked tool stores lm_head in {deployment.lm_head_dtype}."
    if deployment.kv_dtype not in (*KV_CACHE, *SIXTEEN_BIT):
        yield f"No engine was found with a switch for a KV cache in {deployment.kv_dtype}."
    if deployment.skipped_layer_share > 0:
        yield "No engine was found with a switch for layers that tokens skip."


def setting_of_operands(deployment: Deployment) -> str:
    """The id of the setting for products of a deployment's operands; empty where there is none."""
    return _made(deployment).get(deployment.weight_dtype, "")


def _made(deployment: Deployment) -> Mapping[Dtype, str]:
    """The settings that make weights for the operands of a deployment, by the weights' format."""
    if deployment.gemm_dtype is deployment.weight_dtype:
        return COMPUTE if deployment.weight_dtype is not deployment.compute_dtype else WEIGHT_ONLY
    return WEIGHT_ONLY if deployment.gemm_dtype is deployment.compute_dtype else WIDENED


def _is_own_format(model: Model, deployment: Deployment) -> bool:
    """Whether the checkpoint itself has the weights in this format, for these operands."""
    stated = (deployment.weight_dtype, deployment.weight_group_size)
    operands = model.activation_dtype or deployment.compute_dtype
    usable = deployment.activation_dtype in (operands, deployment.compute_dtype)
    return stated == (model.weight_dtype, model.weight_group_size) and usable
