"""Memory lines of vLLM's start-up logs, as different releases write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ridgeline.errors import InvalidArgumentError
from ridgeline.files.vllm_log import parse_vllm_log, read_vllm_log

CONFIG = (
    "(EngineCore_DP0 pid=1) INFO 03-23 18:12:01 [core.py:96] Initializing a V1 LLM engine (v0.18.0) with "
    "config: model='Qwen/Qwen3-14B', speculative_config=None, tokenizer='Qwen/Qwen3-14B', revision=None, "
    "dtype=torch.bfloat16, max_seq_len=8192, tensor_parallel_size=2, pipeline_parallel_size=1, "
    "quantization=None, enforce_eager=False, kv_cache_dtype=fp8_e4m3, device_config=cuda"
)
WEIGHTS = "INFO [gpu_model_runner.py:4477] Model loading took 27.52 GiB memory and 8.16 seconds"
POOL = "INFO 03-23 18:12:33 [gpu_worker.py:298] Available KV cache memory: 45.23 GiB"
TOKENS = "INFO 03-23 18:12:34 [kv_cache_utils.py:864] GPU KV cache size: 296,400 tokens"
REQUESTS = "INFO 03-23 [kv_cache_utils.py:868] Maximum concurrency for 8,192 tokens per request: 36.18x"
GRAPHS = "INFO 03-23 18:12:39 [gpu_model_runner.py:3118] Graph capturing finished in 5 secs, took 0.67 GiB"
PARTS = (
    "DEBUG 03-23 [gpu_worker.py:391] Free memory on device (78.66/79.19 GiB) on startup. Desired GPU memory "
    "utilization is (0.95, 75.23 GiB). Actual usage is 27.52 GiB for weight, 2.23 GiB for peak activation, "
    "0.25 GiB for non-torch memory, and 0.7 GiB for CUDAGraph memory. Replace ..."
)
CONSUMED = (
    "INFO 08-17 [gpu_worker.py:804] Free memory on device (79.99/80.0 GiB) on startup. Desired GPU memory "
    "utilization is (0.92, 73.6 GiB). Actual usage is 27.82 GiB for consumed memory (weights + non-torch), "
    "2.4 GiB for peak activation, and 0.71 GiB for CUDAGraph memory."
)
PROFILE = (
    "DEBUG [gpu_worker.py:278] Memory profiling takes 7.26 seconds. Total non KV cache memory: 2.78GiB; "
    "torch peak memory increase: 0.45GiB; non-torch forward increase memory: 0.02GiB; "
    "weights memory: 2.32GiB."
)


def test_every_line_of_a_start_is_read() -> None:
    found = parse_vllm_log([CONFIG, WEIGHTS, POOL, TOKENS, REQUESTS, GRAPHS, PARTS])
    assert found.version == "0.18.0"
    assert found.settings == {
        "model": "Qwen/Qwen3-14B",
        "tp": "2",
        "pp": "1",
        "dtype": "bfloat16",
        "kv_dtype": "fp8_e4m3",
        "max_len": "8192",
    }
    assert found.parts == {
        "weights": 27.52, "activations": 2.23, "non_torch": 0.25, "cuda_graphs": 0.7, "kv_pool": 45.23
    }  # fmt: skip
    assert (found.kv_tokens, found.request_len, found.max_concurrency) == (296_400, 8192, 36.18)
    assert found.utilization == 0.95


def test_parts_of_the_profile_run_are_read() -> None:
    assert parse_vllm_log([PROFILE]).parts == {"weights": 2.32, "activations": 0.45, "non_torch": 0.02}


def test_weights_and_the_rest_told_together_are_taken_apart() -> None:
    parts = parse_vllm_log([WEIGHTS, CONSUMED]).parts
    assert parts["non_torch"] == pytest.approx(0.3)
    assert (parts["weights"], parts["activations"]) == (27.52, 2.4)
    assert "non_torch" not in parse_vllm_log([CONSUMED]).parts


def test_tokens_and_concurrency_may_share_a_line_and_have_colours() -> None:
    told = "GPU KV cache size: 1,000 tokens, Maximum concurrency for 500 tokens per request: 2.00x"
    line = f"\x1b[36mINFO\x1b[0m {told}"
    found = parse_vllm_log([line])
    assert (found.kv_tokens, found.request_len, found.max_concurrency) == (1000, 500, 2.0)


def test_of_several_gpus_the_fullest_counts() -> None:
    others = [
        WEIGHTS.replace("27.52", "28.00"),
        POOL.replace("45.23", "44.50"),
        POOL.replace("45.23", "46.00"),
    ]
    assert parse_vllm_log([WEIGHTS, POOL, *others]).parts == {"weights": 28.0, "kv_pool": 44.5}


def test_a_second_start_begins_anew() -> None:
    again = CONFIG.replace("0.18.0", "0.19.0")
    found = parse_vllm_log([CONFIG, WEIGHTS, POOL, again, WEIGHTS.replace("27.52", "13.76")])
    assert (found.version, found.parts) == ("0.19.0", {"weights": 13.76})


def test_a_pool_that_is_negative_is_told_as_it_is() -> None:
    assert parse_vllm_log(["Available KV cache memory: -12.1 GiB"]).parts == {"kv_pool": -12.1}


def test_a_file_without_such_lines_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.log"
    path.write_bytes(b"nothing of the kind \xff\n")
    with pytest.raises(InvalidArgumentError) as raised:
        read_vllm_log(path)
    assert "has none of vLLM's memory lines" in raised.value.violations[0].description
    with pytest.raises(InvalidArgumentError) as raised:
        read_vllm_log(tmp_path / "none.log")
    assert "cannot be read: No such file" in raised.value.violations[0].description
