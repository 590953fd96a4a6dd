"""Questions about entries of the shipped catalog, and strategies that draw such questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from hypothesis import strategies as st

import ridgeline_catalog
from ridgeline_server.advisor.advice import recommend
from ridgeline_server.advisor.assumed import Assumed
from ridgeline_server.advisor.registry import all_techniques
from ridgeline_server.advisor.results import (
    NO_FREEDOM,
    Advice,
    Effect,
    Freedom,
    Goal,
    Recommendation,
)
from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.deployment import (
    AttentionKernel,
    CostBasis,
    Deployment,
    DeploymentRequest,
)
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import ProfileSet
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.parallelism import ONE_DEVICE, Parallelism
from ridgeline_server.domain.resolve import resolve_deployment
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.analysis import analyze
from ridgeline_server.roofline.memory.device import memory_of
from ridgeline_server.roofline.operators.layer import Placement, Stage
from ridgeline_server.roofline.results import Analysis, OperatorAnalysis, StageAnalysis
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.store.builtin import hardware_entry, profile_entry
from ridgeline_server.store.engines import builtin_engines

CONFIGS: Mapping[str, Mapping[str, Any]] = {
    document["id"]: document["config"] for _, document in ridgeline_catalog.model_documents()
}
MODEL_IDS = tuple(CONFIGS)
DEVICES: Mapping[str, Hardware] = {
    document["id"]: hardware_entry(document).hardware
    for _, document in ridgeline_catalog.hardware_documents()
}
PROFILES = ProfileSet(
    profile_entry(document).profile for _, document in ridgeline_catalog.efficiency_documents()
)

LLAMA_2_7B = "meta-llama/Llama-2-7b-hf"
LLAMA_2_13B = "meta-llama/Llama-2-13b-hf"
LLAMA_3_8B = "meta-llama/Meta-Llama-3-8B"
LLAMA_3_1_8B = "meta-llama/Llama-3.1-8B"

GIB = 2**30
ANY_ACCURACY = Freedom(max_accuracy_loss=10.0, unknown_accuracy=True)
IDEAL, EXPECTED = CostBasis.IDEAL, CostBasis.EXPECTED
Stated = dict[str, Any]
"""Fields of a DeploymentRequest."""

W4: Stated = {"weight_dtype": Dtype.INT4}
W8: Stated = {"weight_dtype": Dtype.INT8}
W8A8: Stated = {"weight_dtype": Dtype.INT8, "activation_dtype": Dtype.INT8}
KV4: Stated = {"kv_dtype": Dtype.INT4}
KV8: Stated = {"kv_dtype": Dtype.INT8}
UNFUSED: Stated = {"attention": AttentionKernel.UNFUSED}
SGLANG: Stated = {"engine": builtin_engines().find("sglang", "0.5.6")}


@cache
def model(model_id: str) -> Model:
    """A model of the catalog."""
    return read_config(CONFIGS[model_id], model_id)


def device(device_id: str, **changes: Any) -> Hardware:
    """A device of the catalog, with some figures changed."""
    return replace(DEVICES[device_id], **changes)


@dataclass(frozen=True)
class Question:
    """A model on a device under a load, served as stated."""

    model: Model
    hardware: Hardware
    workload: Workload
    deployment: Deployment
    basis: CostBasis = IDEAL

    def analysis(self, *, with_flips: bool = False) -> Analysis:
        return analyze(
            self.model,
            self.hardware,
            self.workload,
            self.deployment,
            PROFILES,
            self.basis,
            with_flips=with_flips,
        )

    @property
    def fits(self) -> bool:
        """Whether the memory holds it: that of `analysis()`, without the rest of the analysis."""
        profiles = PROFILES if self.basis is EXPECTED else None
        return memory_of(self.model, Scenario(self.hardware, self.deployment, profiles), self.workload).fits

    def advice(
        self,
        goal: Goal = Goal.LATENCY,
        *,
        allow_load_change: bool = False,
        freedom: Freedom | None = None,
        **assumed: Any,
    ) -> Advice:
        """Advice whose plans may cost any accuracy, unless `freedom` says otherwise; `assumed` are the fields
        of Assumed.
        """
        return recommend(
            self.model,
            self.hardware,
            self.workload,
            self.deployment,
            PROFILES,
            self.basis,
            goal,
            freedom or replace(ANY_ACCURACY, load=allow_load_change),
            assumed=Assumed(**assumed),
        )

    def recommendation(
        self,
        technique: str,
        goal: Goal = Goal.LATENCY,
        *,
        freedom: Freedom = NO_FREEDOM,
        **assumed: Any,
    ) -> Recommendation:
        """How one technique is judged, the others left aside; `assumed` are the fields of Assumed."""
        (found,) = recommend(
            self.model,
            self.hardware,
            self.workload,
            self.deployment,
            PROFILES,
            self.basis,
            goal,
            freedom,
            assumed=Assumed(**assumed),
            techniques=[t for t in all_techniques() if t.id == technique],
        ).recommendations
        return found

    def at(self, **changes: Any) -> Question:
        """The same question under another load."""
        return replace(self, workload=replace(self.workload, **changes))

    def served(self, **stated: Any) -> Question:
        """The same question with another deployment."""
        return replace(
            self, deployment=resolve_deployment(DeploymentRequest(**stated), self.model, self.hardware)
        )


def ask(
    which: str | Model,
    where: str | Hardware,
    workload: Workload,
    basis: CostBasis = IDEAL,
    **stated: Any,
) -> Question:
    """A question; `stated` are the fields of a DeploymentRequest."""
    asked = model(which) if isinstance(which, str) else which
    hardware = device(where) if isinstance(where, str) else where
    deployment = resolve_deployment(DeploymentRequest(**stated), asked, hardware)
    return Question(asked, hardware, workload, deployment, basis)


def placement(stage: Stage, parallel: Parallelism = ONE_DEVICE) -> Placement:
    """Fused attention on one device, or on several."""
    return Placement(parallel, AttentionKernel.FUSED, stage)


def operator(stage: StageAnalysis, name: str, layer_kind: str | None = None) -> OperatorAnalysis:
    """The one operator of a stage with a name."""
    (found,) = [o for o in stage.operators if o.name == name and layer_kind in (None, o.layer_kind)]
    return found


def effect(effects: tuple[Effect, ...], metric: str) -> Effect:
    """The one effect on a metric."""
    (found,) = [e for e in effects if e.metric == metric]
    return found


def decode_step(keys: int, batch: int = 1) -> Workload:
    """A load whose shown decode step reads so many keys per sequence."""
    return Workload(batch, keys, 2, keys)


FEW_MODELS = (
    LLAMA_2_7B,
    LLAMA_3_8B,
    "meta-llama/Llama-3.1-70B-Instruct",
    "tiiuae/falcon-7b",
    "mistralai/Mistral-7B-v0.1",
    "google/gemma-2-2b-it",
    "google/gemma-3-1b-it",
    "facebook/opt-6.7b",
    "microsoft/phi-2",
    "openai-community/gpt2",
    "allenai/OLMo-2-1124-7B",
    "Qwen/Qwen3-32B-FP8",
)
"""One of each kind: MHA, GQA, MQA, windows, learned positions, parallel layers, fp32, an FP8 checkpoint."""

FEW_DEVICES = (
    "rtx-a6000",
    "h100-sxm",
    "b300-sxm",
    "t4",
    "rtx-3060-12gb",
    "mi300x",
    "tpu-v5e",
    "apple-m2-ultra",
    "epyc-9654",
)
"""One of each kind: little memory, no bf16, no fp16, no INT8, hardly any INT8, CPU, TPU, Apple."""

lengths = st.one_of(st.integers(1, 300), st.sampled_from((512, 2048, 4096, 5000, 8192, 20_000, 131_072)))
batches = st.one_of(st.integers(1, 300), st.sampled_from((512, 1000, 4096)))
workloads = st.builds(
    Workload,
    batch=batches,
    input_len=lengths,
    output_len=st.one_of(st.integers(1, 4), st.sampled_from((16, 128, 1000))),
    decode_keys=st.none(),
)
models = st.sampled_from(FEW_MODELS).map(model)
devices = st.sampled_from(FEW_DEVICES).map(device)
bases = st.sampled_from(CostBasis)
stated_deployments = st.fixed_dictionaries(
    {},
    optional={
        "weight_dtype": st.sampled_from((Dtype.FP16, Dtype.FP8, Dtype.INT8, Dtype.INT4, Dtype.NVFP4)),
        "weight_group_size": st.sampled_from((0, 32, 128)),
        "lm_head_dtype": st.sampled_from((Dtype.BF16, Dtype.INT8)),
        "kv_dtype": st.sampled_from((Dtype.FP8, Dtype.INT8, Dtype.INT4)),
        "attention": st.sampled_from(AttentionKernel),
    },
)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """Any load on any of the few models and devices, served in any way."""
    return ask(draw(models), draw(devices), draw(workloads), draw(bases), **draw(stated_deployments))
