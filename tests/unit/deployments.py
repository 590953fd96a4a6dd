"""Strategies that draw questions about every architecture and every way to serve it on several devices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from ridgeline_server.domain.deployment import Offload
from ridgeline_server.domain.errors import InvalidFieldsError
from ridgeline_server.domain.gates import check_parallelism
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.parallelism import ONE_DEVICE, Parallelism
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.workload import Load, Workload
from tests.unit.questions import (
    LLAMA_3_8B,
    Question,
    Stated,
    ask,
    bases,
    batches,
    device,
    lengths,
    model,
    stated_deployments,
)

MIXTRAL = "mistralai/Mixtral-8x7B-v0.1"
DEEPSEEK_LITE = "deepseek-ai/DeepSeek-V2-Lite"
DEEPSEEK_V3 = "deepseek-ai/DeepSeek-V3"
GPT_OSS = "openai/gpt-oss-20b"
SMALL_DRAFT = "meta-llama/Llama-3.2-1B-Instruct"

EVERY_KIND = (
    LLAMA_3_8B,
    MIXTRAL,
    DEEPSEEK_LITE,
    DEEPSEEK_V3,
    "deepseek-ai/DeepSeek-V3.2",
    "deepseek-ai/DeepSeek-V4-Flash",
    GPT_OSS,
    "google/gemma-3-1b-it",
    "google/gemma-4-26B-A4B",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "ai21labs/AI21-Jamba-1.5-Mini",
    "nvidia/NVIDIA-Nemotron-Nano-9B-v2",
    "tiiuae/Falcon-H1-7B-Base",
    "tiiuae/falcon-mamba-7b",
    "LiquidAI/LFM2-1.2B",
)
"""Dense, mixtures of experts, MLA with and without an indexer, compressed, windowed and chunked attention,
formats by module, and hybrids of attention with state spaces, linear attention and convolutions.
"""

SEVERAL_DEVICES = ("h100-sxm", "b300-sxm", "gb200", "rtx-a6000", "l40s", "mi300x", "tpu-v5e", "t4")
"""Links of 8 and of 72 devices, a bridge of two, PCIe alone."""

DEGREES = (
    ONE_DEVICE,
    Parallelism(tp=2),
    Parallelism(tp=8),
    Parallelism(tp=16),
    Parallelism(pp=2),
    Parallelism(tp=4, pp=3),
    Parallelism(dp=3),
    Parallelism(tp=4, ep=4),
    Parallelism(tp=8, ep=2, dp=2),
    Parallelism(attention_dp=8, ep=8),
    Parallelism(attention_dp=2),
    Parallelism(tp=2, attention_dp=2, ep=4, pp=2),
)

shares = st.sampled_from((0.0, 0.1, 0.5, 0.9, 1.0))
knobs = st.fixed_dictionaries(
    {},
    optional={
        "chunk_tokens": st.sampled_from((1, 100, 512, 2048, 100_000)),
        "prefix_hit_rate": shares,
        "kv_keep_ratio": st.sampled_from((1.0, 0.5, 0.01)),
        "kv_window": st.sampled_from((None, 1, 300, 4096)),
        "offload": st.builds(
            Offload, shares, shares, host_bandwidth_bytes_per_s=st.sampled_from((1e9, 25e9, 450e9))
        ),
        "skipped_layer_share": st.sampled_from((0.0, 0.25, 0.99)),
        "expert_popularity_spread": st.sampled_from((0.0, 0.5, 2.0)),
        "node_bandwidth_bytes_per_s": st.sampled_from((1e9, 50e9, 400e9)),
    },
)
every_model = st.sampled_from(EVERY_KIND).map(model)
every_device = st.sampled_from(SEVERAL_DEVICES).map(device)
loads = st.builds(
    Workload,
    batch=batches,
    input_len=lengths,
    output_len=st.one_of(st.integers(1, 4), st.sampled_from((16, 128, 1000))),
    load=st.sampled_from((Load.STATIC_BATCH, Load.CLOSED_LOOP)),
)
SELDOM = 1e-9
"""Requests a second that every deployment serves."""
any_loads = st.one_of(loads, loads.map(lambda load: replace(load, load=Load.OPEN_LOOP, request_rate=SELDOM)))


@st.composite
def speculations(draw: st.DrawFn, asked: Model) -> Speculation | None:
    """Any draft, or none; a model drafts for one that shares its vocabulary."""
    shared = asked.vocab_size == model(SMALL_DRAFT).vocab_size
    drafts = [draft for draft in Draft if shared or draft is not Draft.MODEL]
    draft = draw(st.sampled_from((None, *drafts)))
    if draft is None:
        return None
    drafter = model(SMALL_DRAFT) if draft is Draft.MODEL else None
    tokens, rate = draw(st.sampled_from((1, 3, 7))), draw(st.sampled_from((0.0, 0.5, 0.8, 1.0)))
    return Speculation(draft, tokens, rate, drafter)


def degrees_of(asked: Model) -> list[Parallelism]:
    """Degrees that divide a model."""
    return [degree for degree in DEGREES if not list(check_parallelism(asked, degree))]


@st.composite
def ways_to_serve(draw: st.DrawFn, asked: Model) -> Stated:
    """Any deployment of a model, as fields of a DeploymentRequest."""
    stated: dict[str, Any] = draw(stated_deployments) | draw(knobs)
    stated["parallel"] = draw(st.sampled_from(degrees_of(asked)))
    stated["speculation"] = draw(speculations(asked))
    stated["sparse_weights"] = draw(st.booleans())
    stated["eager"] = draw(st.booleans())
    return stated


@st.composite
def served(draw: st.DrawFn) -> Question:
    """Any load on any kind of model and device, served in any way."""
    asked, hardware = draw(every_model), draw(every_device)
    stated, load, basis = draw(ways_to_serve(asked)), draw(loads), draw(bases)
    return asked_of(asked, hardware, load, basis, stated)


def asked_of(*question: Any) -> Question:
    """The question, with dense weights where the device or the format knows no sparse ones, and without a
    word on graphs where no engine captures them.
    """
    asked, hardware, load, basis, stated = question
    try:
        return ask(asked, hardware, load, basis, **stated)
    except InvalidFieldsError as refused:
        fields = {violation.field.removeprefix("deployment.") for violation in refused.violations}
        if fields - {"sparse_weights", "eager"}:
            raise
        return ask(asked, hardware, load, basis, **{**stated, **dict.fromkeys(fields, False)})


def with_deployment(question: Question, **changes: Any) -> Question:
    """The same question with some fields of its deployment changed."""
    return replace(question, deployment=replace(question.deployment, **changes))
