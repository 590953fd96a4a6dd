"""What stands in front of a launch command: taken off where no figure depends on it, else refused with it."""

from __future__ import annotations

import pytest

import ridgeline
from ridgeline import errors
from ridgeline_server.rpc.launch_wrappers import unwrapped

PLAIN = "vllm serve m -tp 2 --served-model-name 'my model'"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"HF_HOME=/x {PLAIN}",
        f"taskset -c 0-3 {PLAIN}",
        f"nice -n 5 {PLAIN}",
        f"exec -a other {PLAIN}",
        f"sudo -i {PLAIN}",
        f"env -i {PLAIN}",
        f"time --format=%e {PLAIN}",
        "exec 'left open",
        "",
    ],
)
def test_what_has_no_wrapper_or_one_that_is_not_plain_stays_as_it_is(text: str) -> None:
    assert unwrapped(text) == text


@pytest.mark.parametrize(
    ("wrapped", "plain"),
    [
        (f"exec {PLAIN}", PLAIN),
        (f"exec \\\n  {PLAIN}", PLAIN),
        (f"nohup {PLAIN}", PLAIN),
        (f"/usr/bin/nohup {PLAIN}", PLAIN),
        (f"sudo -u x {PLAIN}", PLAIN),
        (f"sudo -E --user=x -- {PLAIN}", PLAIN),
        (f"setsid --wait {PLAIN}", PLAIN),
        (f"time -p {PLAIN}", PLAIN),
        (f"exec env HF_HOME=/x {PLAIN}", f"HF_HOME=/x {PLAIN}"),
        (f"A=1 sudo -u x B='2 3' nohup {PLAIN}", f"A=1 'B=2 3' {PLAIN}"),
        ("exec", ""),
        ("sudo -u", ""),
    ],
)
def test_plain_wrappers_are_taken_off(wrapped: str, plain: str) -> None:
    assert unwrapped(wrapped) == plain


def test_a_wrapped_command_states_the_same_deployment(client: ridgeline.Client) -> None:
    def ask(command: str) -> ridgeline.v1.common_pb2.Deployment:
        return client.analyze("llama-3.1-8b", "h100-sxm", input_len=100, launch_command=command).deployment

    command = "vllm serve meta-llama/Llama-3.1-8B -tp 2 --kv-cache-dtype fp8"
    wrapped = f"exec sudo -u model env CUDA_VISIBLE_DEVICES=0,1 {command}"
    assert ask(wrapped) == ask(command)
    assert ask(command).parallel.tp == 2


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("exec env VLLM_USE_V1=0 vllm serve m", "sets VLLM_USE_V1"),
        ("numactl --cpunodebind=0 vllm serve m", "starts with none of the known commands"),
        ("nohup", "starts with none of the known commands"),
    ],
)
def test_what_may_change_a_figure_is_still_refused(client: ridgeline.Client, command: str, said: str) -> None:
    with pytest.raises(errors.InvalidArgumentError) as caught:
        client.analyze("llama-3.1-8b", "h100-sxm", input_len=100, launch_command=command)
    assert said in str(caught.value)
