"""Reads what vLLM tells of a GPU's memory when it starts.

The lines are those of the V1 engine. Where they are written:

- its configuration: vllm/v1/engine/core.py;
- weights and CUDA graphs: vllm/v1/worker/gpu_model_runner.py;
- the pool, and at the end all parts on one line (since 0.10.2; it needs VLLM_LOGGING_LEVEL=DEBUG at
  vllm-project/vllm@35d5cda): vllm/v1/worker/gpu_worker.py;
- the parts of the profile run, at DEBUG: vllm/utils/mem_utils.py (vllm-project/vllm@a6d5c39);
- tokens and concurrency, on one line or on two: vllm/v1/core/kv_cache_utils.py.

Releases of mid-2026 tell weights and memory outside of torch together; that line was read in published logs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ridgeline.errors import FieldViolation, InvalidArgumentError

STDIN = "-"
PARTS = ("weights", "activations", "non_torch", "cuda_graphs", "kv_pool")
"""What a device's memory is divided into, in the order of the log."""

_NUMBER = r"(-?[0-9]+(?:\.[0-9]+)?)"
_WHOLE = r"([0-9][0-9,]*)"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_CONFIG = re.compile(r"Initializing a V1 LLM engine \(v([^)]+)\) with config: (.*)")
_KEYS = {
    "tensor_parallel_size": "tp",
    "pipeline_parallel_size": "pp",
    "dtype": "dtype",
    "quantization": "quantization",
    "kv_cache_dtype": "kv_dtype",
    "max_seq_len": "max_len",
    "model": "model",
}
_WHOLE_SETTINGS = frozenset({"tp", "pp", "max_len"})
_LINES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile(rf"Model loading took {_NUMBER} GiB"), ("weights",)),
    (
        re.compile(
            rf"torch peak memory increase: {_NUMBER} ?GiB; "
            rf"non-torch forward increase memory: {_NUMBER} ?GiB; weights memory: {_NUMBER} ?GiB"
        ),
        ("activations", "non_torch", "weights"),
    ),
    (re.compile(rf"Available KV cache memory: {_NUMBER} GiB"), ("kv_pool",)),
    (re.compile(rf"Graph capturing finished in .* took {_NUMBER} GiB"), ("cuda_graphs",)),
    (
        re.compile(
            rf"{_NUMBER} GiB for weight, {_NUMBER} GiB for peak activation, "
            rf"{_NUMBER} GiB for non-torch memory, and {_NUMBER} GiB for CUDAGraph memory"
        ),
        ("weights", "activations", "non_torch", "cuda_graphs"),
    ),
    (
        re.compile(
            rf"{_NUMBER} GiB for consumed memory \(weights \+ non-torch\), "
            rf"{_NUMBER} GiB for peak activation, and {_NUMBER} GiB for CUDAGraph memory"
        ),
        ("consumed", "activations", "cuda_graphs"),
    ),
    (
        re.compile(rf"Desired GPU memory utilization is \({_NUMBER}, {_NUMBER} GiB\)"),
        ("utilization", "budget"),
    ),
    (re.compile(rf"GPU KV cache size: {_WHOLE} tokens"), ("kv_tokens",)),
    (
        re.compile(rf"Maximum concurrency for {_WHOLE} tokens per request: {_NUMBER}x"),
        ("request_len", "max_concurrency"),
    ),
)
"""What each line tells, by the names of its figures."""
_LEAST = frozenset({"kv_pool", "kv_tokens", "max_concurrency"})
"""Figures of which the rank with the least decides; of all others it is the one with the most."""


@dataclass(frozen=True)
class VllmMemory:
    """What a log tells: of `parts` (PARTS, each on the fullest GPU) GiB, and of what it says besides. What it
    does not say is not among `parts`, and else empty or None.

    `request_len` is the length, in tokens, of the requests of which `max_concurrency` fit.
    """

    parts: Mapping[str, float]
    version: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the engine's configuration: tp, pp, dtype, quantization, kv_dtype, max_len and model."""
    utilization: float | None = None
    kv_tokens: float | None = None
    request_len: int | None = None
    max_concurrency: float | None = None


def read_vllm_log(path: str | Path) -> VllmMemory:
    """The memory lines of a log, or of stdin for `-`.

    Raises InvalidArgumentError for a file that cannot be read, or has none of these lines.
    """
    name = "stdin" if str(path) == STDIN else str(path)
    try:
        if str(path) == STDIN:
            found = parse_vllm_log(sys.stdin)
        else:
            with Path(path).open(encoding="utf-8", errors="replace") as lines:
                found = parse_vllm_log(lines)
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else error
        raise _wrong(name, f"cannot be read: {problem}") from None
    if not found.parts:
        raise _wrong(
            name,
            'has none of vLLM\'s memory lines, such as "Available KV cache memory: 42.8 GiB"; give the log '
            'of a start, from "Initializing a V1 LLM engine" on',
        )
    return found


def parse_vllm_log(lines: Iterable[str]) -> VllmMemory:
    """The memory lines among others. Of several GPUs the fullest counts; of several starts all together."""
    figures: dict[str, float] = {}
    version, settings = "", {}
    for line in lines:
        text = _COLOURS.sub("", line)
        if config := _CONFIG.search(text):
            version, settings = config[1], _settings(config[2])
            # What an earlier start told is of another configuration.
            figures = {}
        for pattern, names in _LINES:
            if match := pattern.search(text):
                for name, number in zip(names, match.groups(), strict=True):
                    value = float(number.replace(",", ""))
                    choose = min if name in _LEAST else max
                    figures[name] = choose(figures.get(name, value), value)
    if "consumed" in figures and "weights" in figures:
        figures.setdefault("non_torch", figures["consumed"] - figures["weights"])
    length = figures.get("request_len")
    return VllmMemory(
        parts={name: figures[name] for name in PARTS if name in figures},
        version=version,
        settings=settings,
        utilization=figures.get("utilization"),
        kv_tokens=figures.get("kv_tokens"),
        request_len=None if length is None else int(length),
        max_concurrency=figures.get("max_concurrency"),
    )


def _settings(config: str) -> dict[str, str]:
    """What an engine's configuration says of the deployment."""
    found = {}
    for key, name in _KEYS.items():
        value = "[0-9]{1,9}" if name in _WHOLE_SETTINGS else "[^',)]+"
        match = re.search(rf"(?:^|[ ,]){key}='?({value})'?", config)
        if match and match[1] not in ("None", "auto"):
            found[name] = match[1].removeprefix("torch.")
    return found


def _wrong(name: str, problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"The log {name} cannot be used.", "INVALID_FIELD", [FieldViolation("", f"{name} {problem}")]
    )
