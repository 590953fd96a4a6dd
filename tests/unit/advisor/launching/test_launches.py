"""Switches and launches: what an engine is told for a deployment, and what it cannot be told."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given

from ridgeline_server.advisor.launching.launches import launches_of, switches_of
from ridgeline_server.advisor.launching.switches import engine_switches
from ridgeline_server.advisor.registry import all_techniques
from ridgeline_server.advisor.results import Launch, Plan, Switch
from ridgeline_server.domain.deployment import AttentionKernel, Offload
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.workload import Workload
from ridgeline_server.store.engines import builtin_engines
from tests.unit.deployments import DEEPSEEK_LITE, MIXTRAL, SMALL_DRAFT
from tests.unit.questions import DEVICES, LLAMA_3_8B, W4, W8A8, Question, ask, model, questions

LOAD = Workload(16, 1000, 200)
ONE = ask(LLAMA_3_8B, "h100-sxm", LOAD)
FP8_CHECKPOINT = "Qwen/Qwen3-32B-FP8"


def launches(question: Question, *techniques: str) -> dict[str, Launch]:
    """The launches of a question's own deployment, by engine."""
    analysis = question.analysis()
    plan = Plan(techniques, (), (), question.workload, question.deployment, analysis.memory, meets_slo=True)
    return {launch.engine: launch for launch in launches_of(question.model, question.hardware, plan)}


def served(**stated: Any) -> dict[str, Launch]:
    return launches(ONE.served(**stated))


def switches(technique: str, question: Question = ONE) -> dict[str, Switch]:
    return {
        switch.engine: switch
        for switch in switches_of(
            technique, question.model, question.hardware, question.workload, question.deployment
        )
    }


def manifests(launch: Launch) -> dict[str, Any]:
    """The objects of a manifest, by kind."""
    return {document["kind"]: document for document in yaml.safe_load_all(launch.manifest)}


# What is told ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "command"),
    [
        ("vllm", "vllm serve meta-llama/Meta-Llama-3-8B --max-num-seqs 16"),
        ("sglang", "sglang serve --model-path meta-llama/Meta-Llama-3-8B --max-running-requests 16"),
        ("tensorrt-llm", "trtllm-serve meta-llama/Meta-Llama-3-8B --max_batch_size 16"),
        ("llama.cpp", "llama-server --model MODEL.gguf --parallel 16 --ctx-size 19200"),
    ],
)
def test_a_deployment_of_defaults_states_its_load_alone(engine: str, command: str) -> None:
    launch = launches(ONE)[engine]
    assert launch.command == command
    assert launch.not_expressed == ()


@pytest.mark.parametrize("engine", ["vllm", "sglang", "tensorrt-llm", "llama.cpp"])
def test_the_engine_of_the_deployment_comes_first(engine: str) -> None:
    told = list(served(engine=builtin_engines().find(engine, "")))
    assert told[0] == engine
    assert told[1:] == [other for other in launches(ONE) if other != engine]


def test_several_devices_are_stated() -> None:
    told = served(parallel=Parallelism(tp=4, pp=2))
    assert "--tensor-parallel-size 4 --pipeline-parallel-size 2" in told["vllm"].command
    assert "--tp-size 4 --pp-size 2" in told["sglang"].command
    assert "--tp_size 4 --pp_size 2" in told["tensorrt-llm"].command


def test_kernels_that_are_launched_one_by_one_are_stated_where_there_is_a_switch() -> None:
    told = served(eager=True)
    assert "--enforce-eager" in told["vllm"].command
    assert "--disable-decode-cuda-graph" in told["sglang"].command
    assert yaml.safe_load(told["tensorrt-llm"].config_file) == {"cuda_graph_config": None}
    assert told["llama.cpp"].not_expressed[0].startswith("eager-execution: No flag of llama.cpp")


def test_groups_that_share_experts_are_counted_as_each_engine_counts_them() -> None:
    """The degrees of vLLM multiply, those of SGLang and TensorRT-LLM divide the stage."""
    told = launches(ask(DEEPSEEK_LITE, "h100-sxm", LOAD, parallel=Parallelism(tp=2, attention_dp=4, ep=8)))
    assert "--tensor-parallel-size 2 --data-parallel-size 4 --enable-expert-parallel" in told["vllm"].command
    assert "--max-num-seqs 4" in told["vllm"].command
    assert "--tp-size 8 --attn-dp-size 4 --ep-size 8" in told["sglang"].command
    assert yaml.safe_load(told["tensorrt-llm"].config_file) == {"enable_attention_dp": True}


def test_a_cache_format_takes_the_name_that_the_engine_has_for_it() -> None:
    told = served(kv_dtype=Dtype.FP8)
    assert "--kv-cache-dtype fp8 " in told["vllm"].command
    assert "--kv-cache-dtype fp8_e4m3 " in told["sglang"].command
    assert yaml.safe_load(told["tensorrt-llm"].config_file) == {"kv_cache_config": {"dtype": "fp8"}}
    assert "--config config.yaml" in told["tensorrt-llm"].command


def test_a_checkpoint_that_has_to_be_made_stands_for_the_model() -> None:
    told = served(**W4)["vllm"]
    assert told.command.startswith("vllm serve CHECKPOINT ")
    assert any("LLM Compressor, scheme W4A16" in step for step in told.steps)


def test_weights_that_are_widened_to_8_bit_inputs_have_a_scheme_of_their_own() -> None:
    told = served(weight_dtype=Dtype.INT4, activation_dtype=Dtype.FP8)
    assert any("scheme W4AFP8" in step for step in told["vllm"].steps)
    assert any("W4A8_AWQ_BETA_CFG" in step for step in told["tensorrt-llm"].steps)


def test_fp8_inputs_for_the_mxfp4_weights_of_a_checkpoint_leave_it_as_it_is() -> None:
    told = launches(ask("openai/gpt-oss-20b", "b200-sxm", LOAD, activation_dtype=Dtype.FP8))["sglang"]
    assert "--model-path openai/gpt-oss-20b --moe-runner-backend flashinfer_mxfp4 " in told.command
    assert told.steps == told.not_expressed == ()


def test_formats_that_the_checkpoint_has_itself_need_no_step() -> None:
    told = launches(ask(FP8_CHECKPOINT, "h100-sxm", LOAD))
    for engine in ("vllm", "sglang", "tensorrt-llm"):
        assert FP8_CHECKPOINT in told[engine].command
        assert told[engine].steps == ()
        assert told[engine].not_expressed == ()


def test_an_engine_that_reads_gguf_alone_has_the_checkpoint_converted_once() -> None:
    for stated in ({}, W4, W8A8):
        steps = served(**stated)["llama.cpp"].steps
        assert sum("to GGUF with convert_hf_to_gguf.py" in step for step in steps) == 1


def test_a_draft_model_and_its_tokens_are_stated() -> None:
    told = served(speculation=Speculation(Draft.MODEL, 4, 0.7, model(SMALL_DRAFT)))
    assert f"--spec-method draft_model --spec-model {SMALL_DRAFT} --spec-tokens 4" in told["vllm"].command
    assert "--speculative-num-steps 4 --speculative-eagle-topk 1 --speculative-num-draft-tokens 5" in (
        told["sglang"].command
    )
    speculation = yaml.safe_load(told["tensorrt-llm"].config_file)["speculative_config"]
    assert speculation == {
        "decoding_type": "Draft_Target",
        "max_draft_len": 4,
        "speculative_model": SMALL_DRAFT,
    }


def test_weights_in_host_memory_are_stated_in_gib_of_one_device() -> None:
    """Half of the 6.98e9 weights of the layers, in 16 bits, is 6.5 GiB, which two devices halve."""
    offload = Offload(weight_share=0.5)
    assert "--cpu-offload-gb 7 " in served(offload=offload)["vllm"].command
    both = served(offload=offload, parallel=Parallelism(tp=2))
    assert "--cpu-offload-gb 4 " in both["vllm"].command
    assert "--n-gpu-layers 16 " in both["llama.cpp"].command


def test_a_model_in_bf16_is_served_in_fp16_where_the_device_has_no_bf16() -> None:
    assert "--dtype float16" in launches(ask(LLAMA_3_8B, "t4", Workload(1, 100, 10)))["vllm"].command


def test_a_technique_of_the_plan_that_the_deployment_does_not_show_is_told_too() -> None:
    assert "--attention-backend FLASH_ATTN" in launches(ONE, "flash-attention")["vllm"].command


def test_a_flag_is_told_once() -> None:
    question = ONE.served(parallel=Parallelism(tp=2))
    told = launches(question, "tensor-parallel", "fewer-devices", "increase-batch")
    words = shlex.split(told["vllm"].command)
    flags = [word for word in words if word.startswith("--")]
    assert len(flags) == len(set(flags))
    assert told["vllm"].not_expressed == ()


@pytest.mark.parametrize(
    ("engine", "version", "differs"),
    [
        ("vllm", "0.5.0", True),
        ("VLLM", "nightly", True),
        ("vllm", "0.33", False),
        ("vllm", "", False),
        ("sglang", "0.5.0", False),
        ("llama.cpp", "0c1e57098", False),
        ("llama.cpp", "b4000", True),
    ],
)
def test_another_release_than_the_one_that_was_looked_up_is_told(
    engine: str, version: str, *, differs: bool
) -> None:
    id_ = "vllm" if engine == "sglang" else engine.lower()
    told = served(engine=builtin_engines().find(engine, version))[id_]
    assert any("were looked up in" in note and version in note for note in told.notes) is differs


# What cannot be told ---------------------------------------------------------------------------------


def test_what_an_engine_has_no_switch_for_is_said_with_the_reason() -> None:
    told = served(kv_dtype=Dtype.INT8)["sglang"]
    (reason,) = told.not_expressed
    assert reason.startswith("kv-cache-int8: SGLang stores keys and values in 16 bits, FP8, MXFP8 or FP4")
    assert "kv-cache" not in told.command


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize("device_id", ["b200-sxm", "gb300", "rtx-5090", "jetson-agx-thor-t5000"])
def test_a_switch_that_leads_nowhere_on_a_device_is_none(engine: str, device_id: str) -> None:
    """INT8 products on Blackwell, which has INT8 units."""
    told = launches(ask(LLAMA_3_8B, device_id, LOAD, **W8A8))[engine]
    assert any(text.startswith("int8-compute: ") and "Blackwell" in text for text in told.not_expressed)
    switch = switches("int8-compute", ask(LLAMA_3_8B, device_id, LOAD))[engine]
    assert switch.missing
    assert switch.steps == ()
    assert switches("int8-compute")[engine].missing == ""


def test_what_leads_nowhere_on_a_device_is_known_by_devices_that_there_are() -> None:
    lacks = [lack for e in engine_switches() for s in e.settings.values() for lack in s.lacks]
    assert lacks
    for lack in lacks:
        assert set(lack.but_on) <= set(DEVICES)
        held = {device_id for device_id, device in DEVICES.items() if lack.holds_on(device)}
        assert held
        assert held != set(DEVICES)


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"skipped_layer_share": 0.1}, "layers that tokens skip"),
        ({"lm_head_dtype": Dtype.INT8}, "lm_head in int8"),
        ({"weight_dtype": Dtype.MXFP4}, "No checked tool makes mxfp4 weights with bf16 operands."),
        ({"weight_dtype": Dtype.INT4, "weight_group_size": 32}, "groups of 128, not 32"),
        ({"kv_keep_ratio": 0.5}, "kv-eviction: "),
        ({"attention": AttentionKernel.UNFUSED}, "unfused-attention: "),
    ],
)
def test_what_no_switch_was_found_for_is_said(stated: dict[str, Any], reason: str) -> None:
    assert any(reason in text for text in served(**stated)["vllm"].not_expressed)


def test_a_quantised_checkpoint_in_another_format_starts_from_16_bits() -> None:
    told = launches(ask(FP8_CHECKPOINT, "h100-sxm", LOAD, **W4))
    assert "The checkpoint's weights are fp8: start from one in 16 bits." in told["vllm"].not_expressed


def test_two_settings_that_need_one_flag_are_told_apart() -> None:
    """llama.cpp splits a model by layers or by matrices."""
    told = served(parallel=Parallelism(tp=2, pp=2))["llama.cpp"]
    assert "--split-mode tensor --tensor-split 1,1,1,1" in told.command
    assert told.not_expressed == (
        "pipeline-parallel: it takes --split-mode layer, and --split-mode tensor is needed already.",
    )


def test_experts_that_are_divided_both_ways_are_not_for_vllm() -> None:
    told = launches(ask(MIXTRAL, "h100-sxm", LOAD, parallel=Parallelism(tp=4, ep=2)))
    assert any(text.startswith("partial-expert-parallel: ") for text in told["vllm"].not_expressed)
    assert "--ep-size 2" in told["sglang"].command


def test_tensorrt_llm_is_not_for_devices_of_other_vendors() -> None:
    assert "tensorrt-llm" not in launches(ask(LLAMA_3_8B, "mi300x", LOAD))


@pytest.mark.parametrize(
    ("device_id", "runs"),
    [
        ("inferentia2", False),
        ("trainium2", False),
        ("tpu-v5e", False),
        ("gaudi3", False),
        ("cloud-ai100-ultra", False),
        ("ascend-910b2", True),
        ("graviton4", True),
        ("apple-m2-ultra", True),
        ("arc-b580", True),
        ("jetson-agx-orin-64gb", True),
    ],
)
def test_llama_cpp_is_for_devices_of_its_backends_and_not_for_the_hosts_of_others(
    device_id: str, *, runs: bool
) -> None:
    assert ("llama.cpp" in launches(ask(SMALL_DRAFT, device_id, Workload(1, 100, 10)))) is runs


def test_a_device_of_a_kind_that_nobody_stated_may_be_for_llama_cpp() -> None:
    (llama,) = (engine for engine in engine_switches() if engine.id == "llama.cpp")
    assert llama.runs_on(replace(DEVICES["inferentia2"], kind=""))
    assert llama.runs_on(replace(DEVICES["inferentia2"], vendor=""))
    assert not llama.runs_on(DEVICES["inferentia2"])


def test_llama_cpp_splits_no_model_over_processors() -> None:
    told = launches(ask(SMALL_DRAFT, "xeon-8480p", Workload(1, 100, 10), parallel=Parallelism(tp=2)))
    (lack,) = told["llama.cpp"].not_expressed
    assert lack.startswith("tensor-parallel: llama.cpp splits a model over GPUs")
    assert "--split-mode" not in told["llama.cpp"].command


# The manifest ----------------------------------------------------------------------------------------


def test_a_manifest_has_the_command_the_devices_and_the_replicas() -> None:
    launch = served(parallel=Parallelism(tp=2, dp=3))["vllm"]
    deployment = manifests(launch)["Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert deployment["spec"]["replicas"] == 3
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 2}}
    assert container["command"] == [*shlex.split(launch.command), "--host", "0.0.0.0", "--port", "8000"]
    assert "--max-num-seqs 6" in launch.command
    assert container["volumeMounts"] == [{"name": "shared-memory", "mountPath": "/dev/shm"}]
    selected = deployment["spec"]["selector"]["matchLabels"].items()
    assert selected <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_a_manifest_mounts_the_file_that_the_command_names() -> None:
    launch = served(kv_dtype=Dtype.FP8)["tensorrt-llm"]
    found = manifests(launch)
    assert found["ConfigMap"]["data"] == {"config.yaml": launch.config_file}
    pod = found["Deployment"]["spec"]["template"]["spec"]
    (mount,) = pod["containers"][0]["volumeMounts"]
    assert f"{mount['mountPath']}/config.yaml" in pod["containers"][0]["command"]
    assert pod["volumes"] == [
        {"name": mount["name"], "configMap": {"name": found["ConfigMap"]["metadata"]["name"]}}
    ]


def test_a_name_that_kubernetes_would_refuse_is_made_one_that_it_takes() -> None:
    for launch in launches(ask("nvidia/NVIDIA-Nemotron-Nano-9B-v2", "h100-sxm", LOAD)).values():
        name = manifests(launch)["Deployment"]["metadata"]["name"]
        assert name.replace("-", "").isalnum()
        assert name == name.lower()
        assert len(name) <= 63


def test_a_device_without_a_known_resource_asks_for_none() -> None:
    launch = launches(ask(LLAMA_3_8B, "tpu-v5e", Workload(1, 100, 10), parallel=Parallelism(tp=4)))["vllm"]
    (container,) = manifests(launch)["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert "resources" not in container


# Switches of a technique -----------------------------------------------------------------------------


def test_a_switch_has_its_flags_its_release_and_where_they_were_read() -> None:
    switch = switches("kv-cache-int8", ONE.served(kv_dtype=Dtype.INT8))["llama.cpp"]
    assert switch.flags == ("--cache-type-k q8_0", "--cache-type-v q8_0", "--flash-attn on")
    assert switch.sources == (
        "llama-cpp-python 0.3.36: vendor/llama.cpp/common/arg.cpp",
        "llama-cpp-python 0.3.36: vendor/llama.cpp/ggml/src/ggml.c",
    )
    assert switch.missing == ""


def test_what_is_undone_is_told_by_the_flags_that_go_and_by_none_that_is_needed() -> None:
    told = switches("stop-speculation")
    assert told["vllm"].steps == ("Leave out --spec-method, --spec-model and --spec-tokens.",)
    assert told["tensorrt-llm"].steps == ("Leave speculative_config out of the file of settings.",)
    assert told["llama.cpp"].flags == told["vllm"].flags == ()
    kept = switches("stop-offload", ONE.served(offload=Offload(kv_share=0.5)))["llama.cpp"]
    assert kept.steps == ("Leave out --n-gpu-layers.",)
    part = switches("stop-offload", ONE.served(offload=Offload(weight_share=0.5)))["llama.cpp"]
    assert part.steps == ("Leave out --no-kv-offload.",)
    assert part.flags == ("--n-gpu-layers 16",)


def test_a_launch_has_nothing_of_what_a_plan_undoes() -> None:
    for technique in ("stop-speculation", "stop-offload"):
        assert {e: launch.command for e, launch in launches(ONE, technique).items()} == {
            e: launch.command for e, launch in launches(ONE).items()
        }


def test_a_technique_without_a_switch_says_why() -> None:
    switch = switches("fp8-compute")["llama.cpp"]
    assert (switch.flags, switch.steps) == ((), ())
    assert switch.missing == "llama.cpp has no FP8 type."


def test_a_flag_whose_value_the_deployment_leaves_open_is_left_out() -> None:
    assert switches("chunked-prefill")["vllm"].flags == ("--enable-chunked-prefill",)
    told = switches("chunked-prefill", ONE.served(chunk_tokens=512))["vllm"].flags
    assert told == ("--enable-chunked-prefill", "--max-num-batched-tokens 512")


def test_every_technique_that_can_be_applied_has_a_switch_or_a_reason_for_each_engine() -> None:
    for recommendation in ask(LLAMA_3_8B, "h100-sxm", LOAD, **W8A8).advice().recommendations:
        if recommendation.deployment is None:
            assert recommendation.switches == ()
            continue
        assert [s.engine for s in recommendation.switches] == [e.id for e in engine_switches()]
        for switch in recommendation.switches:
            told = switch.flags or switch.config_file or switch.steps or switch.notes
            assert bool(told) != bool(switch.missing), (recommendation.technique, switch.engine)


@given(questions())
def test_every_question_has_launches_that_a_shell_and_a_cluster_can_read(question: Question) -> None:
    for launch in launches(question, *(technique.id for technique in all_techniques())).values():
        words = shlex.split(launch.command)
        assert not any("{" in word for word in words)
        container = manifests(launch)["Deployment"]["spec"]["template"]["spec"]["containers"][0]
        assert all(isinstance(word, str) for word in container["command"])
        # The manifest says the same and, beside the file's folder, where it listens.
        assert len(container["command"]) >= len(words)
