"""The arguments that questions share, and how they become the contract's messages.

Each argument is told once, here: `Client.analyze`, `recommend` and `explain` take all of them as keywords.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, Required, TypedDict

from ridgeline.jsonform import enum_choices
from ridgeline.requests import Checks, HardwareSource, ModelSource, hardware_selector, model_selector
from ridgeline.v1 import common_pb2, types_pb2


class DeploymentOptions(TypedDict, total=False):
    """How a model is served. What is left out, or None, is what the contract's Deployment says of it: mostly
    the checkpoint's own format, one device and no such technique. Formats are names such as `int4`.
    """

    weights: str | None
    """Storage of the layers' weight matrices."""
    weight_group_size: int | None
    """Weights that share a scale; 0 is one scale per channel."""
    lm_head: str | None
    """Storage of lm_head and of the input embedding."""
    activations: str | None
    """Operands of the weight GEMMs."""
    kv: str | None
    """Storage of the KV cache."""
    attention: str | None
    """`fused`, which is the default, or `unfused`."""
    module_formats: Mapping[str, str] | None
    """Module classes that are stored otherwise, as `DTYPE[:gGROUP][:ACTIVATIONS]`: `{"experts": "mxfp4"}`, or
    `{"mlp": "int4:g128", "attention": "fp8:fp8"}`.
    """
    tp: int | None
    """Devices that divide each matrix."""
    pp: int | None
    """Pipeline stages that divide the layers."""
    ep: int | None
    """Ways in which a stage's devices divide the experts."""
    attention_dp: int | None
    """Groups of a stage's devices that divide the sequences."""
    dp: int | None
    """Replicas that divide the load."""
    chunk_tokens: int | None
    """Prompt tokens that one step of a prefill processes at most."""
    prefix_hit_rate: float | None
    """Share of each prompt whose keys and values are cached already."""
    kv_keep_ratio: float | None
    """Share of a sequence's keys that decode still holds and reads."""
    kv_window: int | None
    """The most keys of a sequence that decode holds and reads: the first and the last ones."""
    draft: ModelSource | None
    """Speculative decoding: `ngram`, `heads`, or the model that drafts, as a name, a file or a config."""
    draft_tokens: int | None
    """Tokens that are drafted for one step."""
    draft_weights: str | None
    """Storage format of the weights of a model that drafts."""
    acceptance_rate: float | None
    """Chance that a drafted token is kept when those before it were."""
    offload_weights: float | None
    """Share of the layers' weights that lies in the host's memory."""
    offload_kv: float | None
    """Share of the KV cache that lies in the host's memory."""
    host_bandwidth_bytes_per_s: float | None
    """The link between host and device, in one direction."""
    sparse_weights: bool | None
    """Whether two of each four weights are zero, and skipped."""
    skip_layers: float | None
    """Share of the layers that tokens skip."""
    expert_spread: float | None
    """Coefficient of variation of how often the router picks each expert."""
    node_bandwidth_bytes_per_s: float | None
    """What each device can send to another link domain, in one direction."""
    engine: str | None
    """The serving engine, as `NAME` or `NAME@VERSION`: `vllm@0.19.0`."""
    memory_utilization: float | None
    """Share of a device's memory that the engine may use."""
    eager: bool | None
    """Whether the host launches each kernel of a decode step, instead of replaying captured graphs."""


class QuestionOptions(DeploymentOptions, total=False):
    """A question's load, deployment and circumstances. Lengths are tokens; a load is a static batch, a closed
    loop or an open loop, and a static batch of 1 when none is given.
    """

    batch: int | None
    """Static batch: so many requests start together and run in step."""
    concurrency: int | None
    """Closed loop: so many requests are in flight at any time. Not together with `batch`."""
    request_rate: float | None
    """Open loop: so many requests arrive each second, at random. Not together with the others."""
    input_len: Required[int]
    """Prompt length of each request."""
    output_len: int
    """Generated length of each request, the first token included; 128 when left out."""
    decode_keys: int | None
    """Keys that the shown decode step reads per sequence; the prompt's length when left out."""
    slo_ttft_ms: float | None
    """Limit of the mean time to first token."""
    slo_tpot_ms: float | None
    """Limit of the mean time per output token."""
    launch_command: str | None
    """The command line that serves the model today, of vLLM, TensorRT-LLM, SGLang or llama.cpp: it states the
    deployment, and what is stated beside it wins.
    """
    ideal: bool
    """The datasheet roofline alone."""
    overrides: Mapping[str, object] | None
    """Figures of the device that are replaced for this question, such as `{"bandwidth_bytes_per_s": 1e12,
    "peaks.bf16": 1e14}`.
    """
    catalog_revision: int
    """Answer on the catalog as it was at this revision; 0 takes the current one."""


DEPLOYMENT_OPTIONS = tuple(DeploymentOptions.__annotations__)
"""Names of the arguments that state a deployment."""

_DTYPE = types_pb2.Dtype.DESCRIPTOR
_ATTENTION = common_pb2.AttentionKernel.DESCRIPTOR
_FORMAT = re.compile(r"(?P<dtype>[^:]+)(?::g(?P<group>\d{1,10}))?(?::(?P<activations>[^:]+))?")


class QuestionParts(NamedTuple):
    """The fields that AnalyzeRequest, RecommendRequest and ExplainRequest share."""

    model: common_pb2.ModelSelector
    hardware: common_pb2.HardwareSelector
    workload: common_pb2.Workload
    deployment: common_pb2.Deployment
    basis: common_pb2.CostBasis.ValueType
    catalog_revision: int
    launch_command: str


def question(
    model: ModelSource, hardware: HardwareSource, options: QuestionOptions, checks: Checks
) -> QuestionParts:
    """The messages of a question. Raises TypeError for arguments that there are not, as a call would."""
    unknown = options.keys() - QuestionOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"there is no argument {', '.join(sorted(map(repr, unknown)))}")
    if "input_len" not in options:
        raise TypeError("missing the argument 'input_len': the prompt length, tokens")
    return QuestionParts(
        model_selector(model, checks),
        hardware_selector(hardware, options.get("overrides"), checks),
        workload_of(options, checks),
        deployment_of(options, checks),
        common_pb2.COST_BASIS_IDEAL if options.get("ideal") else common_pb2.COST_BASIS_EXPECTED,
        checks.whole("catalog_revision", options.get("catalog_revision", 0)),
        checks.text("launch_command", options.get("launch_command") or ""),
    )


def workload_of(options: QuestionOptions, checks: Checks) -> common_pb2.Workload:
    """The load as a message."""
    batch, concurrency, rate = (options.get(name) for name in ("batch", "concurrency", "request_rate"))
    message = common_pb2.Workload()
    if rate is not None:
        message.request_rate = checks.number("workload.request_rate", rate)
        if batch is not None or concurrency is not None:
            checks.add("workload.request_rate", "is given together with another load; give one of them")
    elif concurrency is None:
        message.batch = checks.whole("workload.batch", 1 if batch is None else batch)
    else:
        message.concurrency = checks.whole("workload.concurrency", concurrency)
        if batch is not None:
            checks.add("workload.concurrency", "is given together with a static batch; give one of both")
    message.input_len = checks.whole("workload.input_len", options["input_len"])
    message.output_len = checks.whole("workload.output_len", options.get("output_len", 128))
    keys, ttft, tpot = (options.get(name) for name in ("decode_keys", "slo_ttft_ms", "slo_tpot_ms"))
    if keys is not None:
        message.decode_keys = checks.whole("workload.decode_keys", keys)
    if ttft is not None:
        message.slo.ttft_ms = checks.number("workload.slo.ttft_ms", ttft)
    if tpot is not None:
        message.slo.tpot_ms = checks.number("workload.slo.tpot_ms", tpot)
    return message


def _dtype(path: str, value: object, checks: Checks) -> types_pb2.Dtype.ValueType:
    return types_pb2.Dtype.ValueType(0 if value is None else checks.choice(path, _DTYPE, value))


def _attention(value: object, checks: Checks) -> common_pb2.AttentionKernel.ValueType:
    number = 0 if value is None else checks.choice("deployment.attention", _ATTENTION, value)
    return common_pb2.AttentionKernel.ValueType(number)


_WHOLE = {
    "weight_group_size": "weight_group_size",
    "tp": "parallel.tp",
    "pp": "parallel.pp",
    "ep": "parallel.ep",
    "attention_dp": "parallel.attention_dp",
    "dp": "parallel.dp",
    "chunk_tokens": "chunk_tokens",
    "kv_window": "kv_window",
}
_NUMBERS = {
    "prefix_hit_rate": "prefix_hit_rate",
    "kv_keep_ratio": "kv_keep_ratio",
    "offload_weights": "offload.weight_share",
    "offload_kv": "offload.kv_share",
    "host_bandwidth_bytes_per_s": "offload.host_bandwidth_bytes_per_s",
    "skip_layers": "skipped_layer_share",
    "expert_spread": "expert_popularity_spread",
    "node_bandwidth_bytes_per_s": "node_bandwidth_bytes_per_s",
    "memory_utilization": "memory_utilization",
}
"""Arguments by the field of Deployment that each fills."""


def deployment_of(options: DeploymentOptions, checks: Checks) -> common_pb2.Deployment:
    """The deployment as a message."""
    stated = {name: value for name, value in options.items() if value is not None}
    message = common_pb2.Deployment(
        weight_dtype=_dtype("deployment.weight_dtype", stated.get("weights"), checks),
        lm_head_dtype=_dtype("deployment.lm_head_dtype", stated.get("lm_head"), checks),
        activation_dtype=_dtype("deployment.activation_dtype", stated.get("activations"), checks),
        kv_dtype=_dtype("deployment.kv_dtype", stated.get("kv"), checks),
        attention=_attention(stated.get("attention"), checks),
        module_formats=_module_formats(stated.get("module_formats", {}), checks),
        sparse_weights=checks.flag("deployment.sparse_weights", stated.get("sparse_weights") or False),
        eager=checks.flag("deployment.eager", stated.get("eager") or False),
    )
    for name, field in _WHOLE.items():
        if name in stated:
            _set(message, field, checks.whole(f"deployment.{field}", stated[name]))
    for name, field in _NUMBERS.items():
        if name in stated:
            _set(message, field, checks.number(f"deployment.{field}", stated[name]))
    if "engine" in stated:
        engine = checks.text("deployment.engine", stated["engine"])
        message.engine, _, message.engine_version = engine.partition("@")
    _speculate(message, stated, checks)
    return message


def _set(message: common_pb2.Deployment, field: str, value: float) -> None:
    """Set a field of the message or, after a dot, of a message in it."""
    outer, _, inner = field.rpartition(".")
    setattr(getattr(message, outer) if outer else message, inner, value)


def _module_formats(stated: object, checks: Checks) -> list[common_pb2.ModuleFormat]:
    path = "deployment.module_formats"
    if not isinstance(stated, Mapping):
        checks.add(path, f'is {stated!r}; give a dictionary such as {{"experts": "mxfp4"}}')
        return []
    messages = []
    for module, text in stated.items():
        where = f"{path}.{module}"
        parsed = _FORMAT.fullmatch(text) if isinstance(text, str) else None
        if parsed is None:
            checks.add(where, f"is {text!r}; give DTYPE[:gGROUP][:ACTIVATIONS], such as int4:g128 or fp8:fp8")
            continue
        message = common_pb2.ModuleFormat(
            module_class=checks.text(where, module),
            dtype=_dtype(where, parsed["dtype"], checks),
            activation_dtype=_dtype(where, parsed["activations"], checks),
        )
        if parsed["group"] is not None:
            message.group_size = checks.whole(where, int(parsed["group"]))
        messages.append(message)
    return messages


def _speculate(message: common_pb2.Deployment, stated: Mapping[str, object], checks: Checks) -> None:
    """Fill what drafts; arguments of a draft without one are told."""
    details = {
        "draft_tokens": "tokens",
        "acceptance_rate": "acceptance_rate",
        "draft_weights": "draft_weight_dtype",
    }
    if "draft" not in stated:
        choices = ", ".join(enum_choices(common_pb2.Draft.DESCRIPTOR)[:-1])
        for name in details.keys() & stated.keys():
            checks.add(
                f"deployment.speculation.{details[name]}",
                f"is given, but nothing drafts; say what does: {choices}, or a model",
            )
        return
    draft = stated["draft"]
    kinds = {"ngram": common_pb2.DRAFT_NGRAM, "heads": common_pb2.DRAFT_HEADS}
    kind = kinds.get(draft.lower()) if isinstance(draft, str) else None
    speculation = message.speculation
    speculation.draft = kind or common_pb2.DRAFT_MODEL
    if kind is None:
        speculation.draft_model.CopyFrom(model_selector(draft, checks, "deployment.speculation.draft_model"))
    if "draft_tokens" in stated:
        speculation.tokens = checks.whole("deployment.speculation.tokens", stated["draft_tokens"])
    if "acceptance_rate" in stated:
        speculation.acceptance_rate = checks.number(
            "deployment.speculation.acceptance_rate", stated["acceptance_rate"]
        )
    speculation.draft_weight_dtype = _dtype(
        "deployment.speculation.draft_weight_dtype", stated.get("draft_weights"), checks
    )
