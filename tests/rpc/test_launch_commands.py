"""A launch command in a question: it states the deployment, and what is not known is refused by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import ridgeline
from ridgeline import errors
from ridgeline.v1 import common_pb2, types_pb2

QUESTION: dict[str, Any] = {"model": "llama-3.1-8b", "hardware": "h100-sxm", "input_len": 2048}
COMMAND = "vllm serve meta-llama/Llama-3.1-8B --tensor-parallel-size 2 --kv-cache-dtype fp8 --port 8000"


@pytest.fixture(params=["analyze", "recommend"])
def analysed(request: pytest.FixtureRequest, client: ridgeline.Client) -> Callable[..., Any]:
    """Both questions in turn, on each way in turn; of advice the baseline."""

    def ask(**options: Any) -> Any:
        answer = getattr(client, request.param)(**QUESTION, **options)
        return answer.baseline if request.param == "recommend" else answer

    return ask


def messages(answer: Any) -> list[str]:
    return [n.message for n in answer.notices if n.code == common_pb2.NOTICE_CODE_LAUNCH_COMMAND]


def test_it_states_the_deployment(analysed: Callable[..., Any]) -> None:
    answer = analysed(launch_command=COMMAND)
    assert answer.deployment == analysed(engine="vllm", tp=2, kv="fp8").deployment
    assert messages(answer) == ["not read of the launch command: --port: no figure depends on it"]


def test_what_is_stated_beside_it_wins(analysed: Callable[..., Any]) -> None:
    deployment = analysed(launch_command=COMMAND, tp=4, engine="vllm@0.19.0").deployment
    assert (deployment.parallel.tp, deployment.engine_version) == (4, "0.19.0")
    assert deployment.kv_dtype == types_pb2.DTYPE_FP8


def test_unfused_attention_of_a_command_is_kept(analysed: Callable[..., Any]) -> None:
    deployment = analysed(launch_command="llama-server -m x.gguf -fa off").deployment
    assert deployment.attention == common_pb2.ATTENTION_KERNEL_UNFUSED


def test_another_model_than_the_one_asked_about_is_told(analysed: Callable[..., Any]) -> None:
    told = messages(analysed(launch_command="vllm serve Qwen/Qwen3-8B"))
    assert told == ["the launch command serves Qwen/Qwen3-8B; the answer is about meta-llama/Llama-3.1-8B"]


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4", {"weights": "int4"}),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", {"weights": "fp8", "activations": "fp8"}),
        ("llama-3.1-8b-instruct-Q4_K_M.gguf", {"weights": "int4", "weight_group_size": 38}),
    ],
)
def test_a_quantised_checkpoint_is_read_from_its_name_and_told(
    analysed: Callable[..., Any], name: str, stated: dict[str, Any]
) -> None:
    answer = analysed(launch_command=f"vllm serve {name}")
    assert answer.deployment == analysed(engine="vllm", **stated).deployment
    assert any("today's weights are taken to be" in told for told in messages(answer))


def test_a_repository_that_llama_cpp_loads_from_is_a_name_too(analysed: Callable[..., Any]) -> None:
    answer = analysed(launch_command="llama-server -hf bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q8_0")
    assert answer.deployment.weight_dtype == types_pb2.DTYPE_INT8
    assert answer.deployment.weight_group_size == 64


def test_low_bit_inputs_of_a_name_are_for_devices_that_multiply_them(client: ridgeline.Client) -> None:
    command = "vllm serve RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic"
    deployment = client.analyze(
        **{**QUESTION, "hardware": "a100-sxm-80gb"}, launch_command=command
    ).deployment
    assert deployment.weight_dtype == types_pb2.DTYPE_FP8
    assert deployment.activation_dtype == types_pb2.DTYPE_BF16


@pytest.mark.parametrize(
    ("command", "moved"),
    [
        # 6.5 GiB of the 6.98e9 weights of the layers, in 16 bits.
        ("vllm serve meta-llama/Llama-3.1-8B --cpu-offload-gb 6.5", 0.5),
        ("llama-server -m Llama-3.1-8B -ngl 24", 0.25),
    ],
)
def test_weights_that_a_command_leaves_in_host_memory_are_a_share_of_the_layers(
    analysed: Callable[..., Any], command: str, moved: float
) -> None:
    answer = analysed(launch_command=command)
    assert answer.deployment.offload.weight_share == pytest.approx(moved, rel=0.001)
    assert any(f"leaves {moved:.0%} of the layers' weights in the host" in told for told in messages(answer))
    stated = analysed(launch_command=command, offload_weights=0.1)
    assert stated.deployment.offload.weight_share == 0.1
    assert messages(stated) == []


def test_nothing_is_offloaded_from_memory_that_is_the_hosts(client: ridgeline.Client) -> None:
    answer = client.analyze(
        model="llama-3.1-8b",
        hardware="apple-m2-ultra",
        input_len=100,
        launch_command="llama-server -m Llama-3.1-8B -ngl 24",
    )
    assert answer.deployment.offload.weight_share == 0
    assert any("the memory of" in told and "is the host's own" in told for told in messages(answer))


def test_what_the_flags_or_the_request_state_goes_before_a_name(analysed: Callable[..., Any]) -> None:
    for command, options in (
        ("vllm serve m-AWQ --quantization fp8", {}),
        ("vllm serve m-Q5_K_M.gguf", {"weights": "fp8", "activations": "fp8"}),
    ):
        answer = analysed(launch_command=command, **options)
        assert answer.deployment.weight_dtype == types_pb2.DTYPE_FP8
        assert not any("taken to be" in told for told in messages(answer))


def test_a_name_that_tells_of_a_format_and_does_not_settle_it_is_refused(
    analysed: Callable[..., Any],
) -> None:
    with pytest.raises(errors.InvalidArgumentError) as refusal:
        analysed(launch_command="llama-server -m llama-3.1-8b-Q5_K_M.gguf")
    (violation,) = refusal.value.violations
    assert violation.field == "launch_command"
    assert "gguf q5_k_m" in violation.description
    assert "state deployment.weight_dtype" in violation.description


def test_the_model_asked_about_is_stored_as_it_is_whatever_its_name_says(client: ridgeline.Client) -> None:
    answer = client.analyze(
        model="Qwen/Qwen3-32B-FP8",
        hardware="h200-sxm",
        input_len=2048,
        launch_command="vllm serve Qwen/Qwen3-32B-FP8",
    )
    assert answer.deployment.weight_group_size == 128 * 128
    assert messages(answer) == []


def test_a_draft_model_is_looked_up(analysed: Callable[..., Any]) -> None:
    command = "vllm serve m --spec-method draft_model --spec-model {} --spec-tokens 3"
    speculation = analysed(launch_command=command.format("llama-3.2-1b")).deployment.speculation
    assert (speculation.draft, speculation.tokens) == (common_pb2.DRAFT_MODEL, 3)
    with pytest.raises(errors.NotFoundError):
        analysed(launch_command=command.format("no-such-model"))


@pytest.mark.parametrize(
    ("command", "complaints"),
    [
        ("vllm serve m --enable-eplb --dbo", ["has --enable-eplb", "has --dbo"]),
        ("vllm serve m -tp 1.5", ["states parallel.tp that is 1.5; give a whole number"]),
        ("vllm serve m " + "x" * 4000, ["4,000"]),
        ("serve it", ["starts with none of the known commands"]),
    ],
)
def test_a_command_that_cannot_be_read_is_refused_with_all_that_is_wrong(
    analysed: Callable[..., Any], command: str, complaints: list[str]
) -> None:
    with pytest.raises(errors.InvalidArgumentError) as refusal:
        analysed(launch_command=command)
    violations = refusal.value.violations
    assert [violation.field for violation in violations] == ["launch_command"] * len(complaints)
    for violation, complaint in zip(violations, complaints, strict=True):
        assert complaint in violation.description


def test_a_command_that_the_model_cannot_follow_is_refused_by_the_field(analysed: Callable[..., Any]) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="does not divide"):
        analysed(launch_command="vllm serve m -tp 3")
