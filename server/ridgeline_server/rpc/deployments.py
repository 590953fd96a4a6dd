"""Reads how a model is served: the contract's Deployment as the domain's DeploymentRequest."""

from __future__ import annotations

from ridgeline.v1 import common_pb2
from ridgeline_server.domain.deployment import (
    HOST_BANDWIDTH_BYTES_PER_S,
    NODE_BANDWIDTH_BYTES_PER_S,
    AttentionKernel,
    DeploymentRequest,
    Offload,
)
from ridgeline_server.domain.dtypes import DEFAULT_GROUP_SIZE
from ridgeline_server.domain.engine import EngineMatch
from ridgeline_server.domain.model import WeightFormat
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.resolve import STATED_MODULES
from ridgeline_server.domain.speculation import PUBLISHED_RATES, Draft, Speculation
from ridgeline_server.domain.tensors import ModuleClass
from ridgeline_server.rpc.checks import MAX_ITEMS, MAX_NAME_LENGTH, Checks, shown
from ridgeline_server.rpc.convert.enums import ATTENTION, DRAFT, DTYPE
from ridgeline_server.store.engines import builtin_engines

SPECULATION = "deployment.speculation"
DRAFT_MODEL = f"{SPECULATION}.draft_model"


def read_deployment(message: common_pb2.Deployment, checks: Checks) -> DeploymentRequest:
    """What a message states of a deployment, without the model that drafts: that needs the catalog."""
    return DeploymentRequest(
        weight_dtype=checks.enum("deployment.weight_dtype", message.weight_dtype, DTYPE),
        weight_group_size=message.weight_group_size if message.HasField("weight_group_size") else None,
        lm_head_dtype=checks.enum("deployment.lm_head_dtype", message.lm_head_dtype, DTYPE),
        activation_dtype=checks.enum("deployment.activation_dtype", message.activation_dtype, DTYPE),
        kv_dtype=checks.enum("deployment.kv_dtype", message.kv_dtype, DTYPE),
        attention=checks.enum("deployment.attention", message.attention, ATTENTION) or AttentionKernel.FUSED,
        formats=_module_formats(message, checks),
        parallel=_parallelism(message.parallel),
        chunk_tokens=message.chunk_tokens if message.HasField("chunk_tokens") else None,
        prefix_hit_rate=message.prefix_hit_rate,
        kv_keep_ratio=message.kv_keep_ratio if message.HasField("kv_keep_ratio") else 1.0,
        kv_window=message.kv_window if message.HasField("kv_window") else None,
        speculation=_speculation(message.speculation, checks) if message.HasField("speculation") else None,
        offload=_offload(message.offload),
        sparse_weights=message.sparse_weights,
        skipped_layer_share=message.skipped_layer_share,
        expert_popularity_spread=message.expert_popularity_spread,
        node_bandwidth_bytes_per_s=message.node_bandwidth_bytes_per_s
        if message.HasField("node_bandwidth_bytes_per_s")
        else NODE_BANDWIDTH_BYTES_PER_S,
        engine=_engine(message, checks),
        memory_utilization=message.memory_utilization if message.HasField("memory_utilization") else None,
        eager=message.eager,
    )


def drafts_by_model(message: common_pb2.Deployment) -> bool:
    """Whether a model of its own is to draft, or one is named."""
    speculation = message.speculation
    return speculation.draft == common_pb2.DRAFT_MODEL or speculation.HasField("draft_model")


def _module_formats(message: common_pb2.Deployment, checks: Checks) -> tuple[WeightFormat, ...]:
    """The formats of module classes; none after noting what is wrong with one of them."""
    if len(message.module_formats) > MAX_ITEMS:
        checks.add(
            "deployment.module_formats",
            f"has {len(message.module_formats):,} entries; give each module class once",
        )
        return ()
    noted = len(checks.violations)
    formats = []
    for index, stated in enumerate(message.module_formats):
        field = f"deployment.module_formats[{index}]"
        module = _module(stated.module_class)
        if module is None:
            known = ", ".join(STATED_MODULES)
            checks.add(f"{field}.module_class", f"is {shown(stated.module_class)}; give one of {known}")
        dtype = checks.enum(f"{field}.dtype", stated.dtype, DTYPE)
        if not stated.dtype:
            checks.add(f"{field}.dtype", f"is not set; give one of {DTYPE.choices}")
        activation = checks.enum(f"{field}.activation_dtype", stated.activation_dtype, DTYPE)
        if module is not None and dtype is not None:
            default = DEFAULT_GROUP_SIZE.get(dtype, 0)
            group_size = stated.group_size if stated.HasField("group_size") else default
            formats.append(WeightFormat(module, dtype, group_size, activation))
    return tuple(formats) if len(checks.violations) == noted else ()


def _module(name: str) -> ModuleClass | None:
    return next((module for module in STATED_MODULES if module.value == name), None)


def _parallelism(message: common_pb2.Parallelism) -> Parallelism:
    def degree(name: str) -> int:
        stated: int = getattr(message, name)
        return stated if message.HasField(name) else 1  # type: ignore[arg-type]  # the names of fields

    return Parallelism(
        tp=degree("tp"),
        pp=degree("pp"),
        ep=degree("ep"),
        attention_dp=degree("attention_dp"),
        dp=degree("dp"),
    )


def _offload(message: common_pb2.Offload) -> Offload:
    return Offload(
        message.weight_share,
        message.kv_share,
        message.host_bandwidth_bytes_per_s
        if message.HasField("host_bandwidth_bytes_per_s")
        else HOST_BANDWIDTH_BYTES_PER_S,
    )


def _speculation(message: common_pb2.Speculation, checks: Checks) -> Speculation | None:
    """What drafts, with the published acceptance rate where none is stated; None after noting why not."""
    draft = checks.enum(f"{SPECULATION}.draft", message.draft, DRAFT)
    if not message.draft:
        checks.add(f"{SPECULATION}.draft", f"is not set; give one of {DRAFT.choices}")
    if draft is None:
        return None
    rate = message.acceptance_rate if message.HasField("acceptance_rate") else _usual_rate(draft)
    if rate is None:
        checks.add(
            f"{SPECULATION}.acceptance_rate",
            "is not set; how often a lookup in the text is right depends on how far the output repeats the "
            "prompt, so there is no default: give 0 to 1, as your engine's log tells it",
        )
    stored = checks.enum(f"{SPECULATION}.draft_weight_dtype", message.draft_weight_dtype, DTYPE)
    # A rate that passes, so that what else is wrong is found too.
    return Speculation(draft, message.tokens, 0.0 if rate is None else rate, weight_dtype=stored)


def _usual_rate(draft: Draft) -> float | None:
    published = PUBLISHED_RATES.get(draft)
    return None if published is None else published.acceptance_rate


def _engine(message: common_pb2.Deployment, checks: Checks) -> EngineMatch | None:
    checks.text("deployment.engine", message.engine, MAX_NAME_LENGTH)
    checks.text("deployment.engine_version", message.engine_version, MAX_NAME_LENGTH)
    if message.engine.strip():
        return builtin_engines().find(message.engine, message.engine_version)
    if message.engine_version:
        known = ", ".join(builtin_engines().ids)
        checks.add("deployment.engine", f"is empty, but engine_version is set; give both, such as {known}")
    return None
