"""Launch commands that people have: what they state, what is not read, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.launching.commands import Command, read_command
from ridgeline_server.advisor.launching.launches import launches_of
from ridgeline_server.advisor.launching.places import offloaded_share
from ridgeline_server.advisor.results import Plan
from ridgeline_server.domain.deployment import Offload
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.workload import Workload
from tests.unit.deployments import DEEPSEEK_LITE
from tests.unit.questions import LLAMA_3_8B, ask

LOAD = Workload(16, 1000, 200)
EAGLE = "sglang serve --model-path m --speculative-algorithm EAGLE --speculative-eagle-topk 1"


def fields(text: str) -> dict[str, Any]:
    command = read_command(text)
    assert command.faults == []
    return dict(command.fields)


def fault(text: str) -> str:
    (only,) = read_command(text).faults
    return only


# What is stated without a value ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "vllm serve org/model --enforce-eager",
        "vllm serve org/model --enforce-eager --max-num-seqs 4",
        "python -m sglang.launch_server --model-path m --disable-cuda-graph",
        "sglang serve --model-path m --disable-decode-cuda-graph --disable-cuda-graph",
    ],
)
def test_kernels_that_are_launched_one_by_one(command: str) -> None:
    assert fields(command) == {"eager": True}


# What is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("vllm serve org/model -O3", "has -O3, of which it is not known"),
        ("vllm serve org/model --kv-cache-dtype int3", "known are auto, bfloat16, float16, fp8"),
        ("vllm serve org/model --tensor-parallel-size two", "has --tensor-parallel-size two; give a number"),
        ("vllm serve org/model --tensor-parallel-size", "has --tensor-parallel-size without a value"),
        ("vllm serve org/model --speculative-config ngram", "give a JSON object"),
        (
            """vllm serve org/model --speculative-config '{"disable_by_batch_size": 4}'""",
            "has disable_by_batch_size in --speculative-config",
        ),
        ("vllm serve 'org/model", "cannot be read as a shell would"),
        ("VLLM_USE_V1=0 vllm serve org/model", "sets VLLM_USE_V1"),
        ("sglang serve --model-path m --tp 3 --attn-dp-size 2", "which --attn-dp-size 2 does not divide"),
        ("sglang serve --model-path m --speculative-eagle-topk 4", "which is not known; known are 1"),
        ("llama-server -m x.gguf -ngl -5", "has --n-gpu-layers -5; give 0 or more"),
        ("llama-server -m x.gguf -ngl most", "has --n-gpu-layers most; give a number"),
        ("llama-server -m x.gguf -sm tensor", "has --split-mode tensor and not --tensor-split"),
        ("llama-server -m x.gguf -ts 3,1", "has --tensor-split 3,1; devices are taken to share alike"),
        ("llama-server -m x.gguf -sm row -ts 1,1", "which is not known; known are layer, tensor"),
        ("sglang serve --model-path m --moe-runner-backend deep_gemm", "known are auto, flashinfer_mxfp4"),
        ("llama-server -m x.gguf -ctk q8_0 -ctv q4_0", "which makes kv_dtype INT4, where it is INT8 already"),
        ("trtllm-serve org/model --config extra.yaml", "has --config extra.yaml, a file that is not read"),
        ("docker run vllm/vllm-openai", "give one that starts with llama-server, "),
        ("", "starts with none of the known commands"),
    ],
)
def test_what_may_change_performance_and_is_not_known_is_refused_by_its_name(
    command: str, complaint: str
) -> None:
    assert complaint in fault(command)


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert len(read_command("vllm serve m --enable-eplb --dbo --kv-cache-dtype int3").faults) == 3


# What is read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "stated"),
    [
        ("vllm serve org/model", {}),
        ("vllm serve org/model -tp 2 -pp 4", {"parallel.tp": 2, "parallel.pp": 4}),
        ("vllm serve m --tensor_parallel_size=2", {"parallel.tp": 2}),
        ("python3.12 -m vllm.entrypoints.openai.api_server --model m -dp 2", {"parallel.dp": 2}),
        (
            "vllm serve m -tp 2 -dp 4 --enable-expert-parallel",
            {"parallel.tp": 2, "parallel.attention_dp": 4, "parallel.ep": 8},
        ),
        ("vllm serve m --quantization fp8", {"weight_dtype": "FP8", "activation_dtype": "FP8"}),
        ("vllm serve m --gpu-memory-utilization 0.95", {"memory_utilization": 0.95}),
        (
            """vllm serve m -sc '{"method": "eagle3", "model": "e", "num_speculative_tokens": 3}'""",
            {"speculation.draft": "HEADS", "speculation.draft_model.id": "e", "speculation.tokens": 3},
        ),
        ("vllm serve m \\\n  -tp 2 \\\n  --port 80", {"parallel.tp": 2}),
        (
            "python -m sglang.launch_server --model-path m --tp 8 --attn-dp-size 4 --ep 8",
            {"parallel.tp": 2, "parallel.attention_dp": 4, "parallel.ep": 8},
        ),
        (
            f"{EAGLE} --speculative-num-draft-tokens 4 --speculative-num-steps 3",
            {"speculation.draft": "HEADS", "speculation.tokens": 3},
        ),
        ("trtllm-serve m --tp_size 2 --max_num_tokens 4096", {"parallel.tp": 2}),
        ("trtllm-serve serve m --max_num_tokens 4096 --enable_chunked_prefill", {"chunk_tokens": 4096}),
        ("./build/bin/llama-server -m x.gguf -ngl 99 -ctk q8_0 -ctv q8_0 -fa on", {"kv_dtype": "INT8"}),
        ("llama-server -m x.gguf -fa off -ub 512", {"attention": "UNFUSED", "chunk_tokens": 512}),
        ("llama-server -m x.gguf -sm tensor -ts 1,1", {"parallel.tp": 2}),
        ("llama-server -m x.gguf -ts 1,1,1", {"parallel.pp": 3}),
        ("llama-server -m x.gguf -nkvo -ngl all", {"offload.kv_share": 1}),
        ("sglang serve --model-path m --dp 2", {"parallel.dp": 2}),
        ("vllm serve m --swap-space 4 --disable-log-requests", {}),
    ],
)
def test_a_command_states_the_fields_of_a_deployment(command: str, stated: dict[str, Any]) -> None:
    assert fields(command) == stated


def test_the_engine_and_the_model_are_told() -> None:
    for text, engine in (
        ("vllm serve org/model --port 80", "vllm"),
        ("sglang serve --model-path org/model", "sglang"),
        ("trtllm-serve org/model", "tensorrt-llm"),
        ("llama-server --model org/model", "llama.cpp"),
    ):
        command = read_command(text)
        assert (command.engine, command.model) == (engine, "org/model")


def test_what_is_not_read_is_told_with_the_reason() -> None:
    command = read_command("CUDA_VISIBLE_DEVICES=0 vllm serve m --max-num-seqs 256 --port 80 --api-key x")
    assert command.notes == [
        "--max-num-seqs 256: it limits how many requests run at once; the question states its load itself",
        "--port, --api-key: no figure depends on it",
    ]


def test_the_name_of_the_model_is_read_however_it_is_given() -> None:
    for text in ("llama-server --model x.gguf", "vllm serve --model x.gguf", "sglang serve --model x.gguf"):
        command = read_command(text)
        assert (command.model, command.notes) == ("x.gguf", [])


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("vllm serve m --cpu-offload-gb 6.5", {"offload_gib": 6.5}),
        ("sglang serve --model-path m --cpu-offload-gb 6", {"offload_gib": 6}),
        ("llama-server -m x.gguf -ngl 20", {"device_layers": 20}),
        ("llama-server -m x.gguf -ngl auto", {}),
    ],
)
def test_what_only_the_model_gives_a_meaning_is_kept(text: str, places: dict[str, float]) -> None:
    command = read_command(text)
    assert command.faults == []
    assert command.places == places


@pytest.mark.parametrize("engine", ["vllm", "sglang", "llama.cpp"])
def test_weights_in_host_memory_are_read_back_to_whole_gib_or_layers(engine: str) -> None:
    half = Offload(weight_share=0.5)
    question = ask(LLAMA_3_8B, "h100-sxm", LOAD, offload=half, parallel=Parallelism(tp=2))
    plan = Plan((), (), (), LOAD, question.deployment, question.analysis().memory, meets_slo=True)
    launch = next(one for one in launches_of(question.model, question.hardware, plan) if one.engine == engine)
    command = read_command(launch.command)
    assert command.faults == []
    found = offloaded_share(command.places, question.model, question.deployment)
    # Half of the layers' 13 GiB, over two devices, is 3.25 GiB each, which is told as 4.
    assert found == pytest.approx(0.5 if engine == "llama.cpp" else 0.5 * 4 / 3.25, rel=0.001)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "tensorrt-llm", "llama.cpp"])
@pytest.mark.parametrize(
    ("model_id", "stated"),
    [
        (LLAMA_3_8B, {}),
        (LLAMA_3_8B, {"parallel": Parallelism(tp=2, pp=2)}),
        (LLAMA_3_8B, {"kv_dtype": Dtype.FP8, "chunk_tokens": 512}),
        (LLAMA_3_8B, {"speculation": Speculation(Draft.HEADS, 3, 0.8)}),
        (LLAMA_3_8B, {"speculation": Speculation(Draft.NGRAM, 4, 0.3)}),
        (DEEPSEEK_LITE, {"parallel": Parallelism(tp=2, attention_dp=2, ep=4)}),
    ],
)
def test_what_a_launch_says_is_read_back(engine: str, model_id: str, stated: dict[str, Any]) -> None:
    """As far as the launch says all of it in flags that are read."""
    question = ask(model_id, "h100-sxm", LOAD, **stated)
    plan = Plan((), (), (), LOAD, question.deployment, question.analysis().memory, meets_slo=True)
    launch = next(one for one in launches_of(question.model, question.hardware, plan) if one.engine == engine)
    command = read_command(launch.command)
    if launch.not_expressed or launch.config_file:
        return
    assert command.faults == []
    assert _as_stated(command) == _of_deployment(stated)


def _as_stated(command: Command) -> dict[str, Any]:
    unread = {"speculation.draft_model.id"}
    return {path: value for path, value in command.fields.items() if path not in unread and value != 1}


def _of_deployment(stated: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "parallel" in stated:
        degrees = ("tp", "pp", "ep", "attention_dp", "dp")
        found |= {f"parallel.{name}": getattr(stated["parallel"], name) for name in degrees}
    if "kv_dtype" in stated:
        found |= {"kv_dtype": stated["kv_dtype"].name, "chunk_tokens": stated["chunk_tokens"]}
    if "speculation" in stated:
        speculation = stated["speculation"]
        found |= {"speculation.draft": speculation.draft.name, "speculation.tokens": speculation.tokens}
    return {path: value for path, value in found.items() if value != 1}
