"""Forty questions of many kinds, and what is kept of their answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ridgeline.client import Client
from ridgeline.v1 import recommendation_service_pb2 as advice


class Setting(NamedTuple):
    """One question, as the arguments of `Client.recommend`."""

    model: str
    hardware: str
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """How the file of answers calls it."""
        stated = " ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.model} on {self.hardware}: {stated}"


def _load(batch: int, input_len: int, output_len: int, **options: Any) -> dict[str, Any]:
    return {"batch": batch, "input_len": input_len, "output_len": output_len, **options}


def _served(concurrency: int, input_len: int, output_len: int, **options: Any) -> dict[str, Any]:
    return {"concurrency": concurrency, "input_len": input_len, "output_len": output_len, **options}


SETTINGS = (
    Setting("llama-2-7b", "rtx-a6000", _load(1, 2048, 128)),
    Setting("llama-2-7b", "rtx-a6000", _load(64, 2048, 128)),
    Setting("llama-2-13b", "rtx-a6000", _load(1, 128, 512)),
    Setting("llama-2-13b", "rtx-a6000", _load(256, 128, 128)),
    Setting("llama-2-7b", "a100-sxm-80gb", _load(8, 512, 512)),
    Setting("llama-2-7b", "a100-sxm-80gb", _load(64, 128, 1024)),
    Setting("llama-2-70b", "a100-sxm-80gb", _load(1, 1024, 128)),
    Setting("llama-2-70b", "a100-sxm-80gb", _load(16, 1024, 256, tp=4)),
    Setting("llama-3.1-8b", "a100-sxm-40gb", _load(1, 8192, 1)),
    Setting("llama-3.1-8b", "h100-sxm", _load(1, 512, 256)),
    Setting("llama-3.1-8b", "h100-sxm", _load(128, 4096, 128)),
    Setting("llama-3.1-8b", "h100-sxm", _served(32, 1024, 256, engine="vllm")),
    Setting("llama-3.1-8b", "h100-sxm", _served(256, 1024, 1024, engine="sglang")),
    Setting("llama-3.1-8b", "h100-sxm", _served(64, 8192, 128, slo_ttft_ms=2000, slo_tpot_ms=20)),
    Setting("llama-3.1-8b", "h100-sxm", _load(8, 2048, 256, weights="fp8", activations="fp8", kv="fp8")),
    Setting("llama-3.1-8b", "h100-sxm", _load(1, 131072, 256, goal="memory")),
    Setting("llama-3.1-8b", "l40s", _load(16, 1024, 256)),
    Setting("llama-3.1-8b", "l4", _load(1, 512, 128)),
    Setting("llama-3.1-8b", "rtx-4090", _load(1, 1024, 256)),
    Setting("llama-3.1-8b", "t4", _load(1, 512, 128)),
    Setting("llama-3.1-8b", "mi300x", _load(32, 2048, 256)),
    Setting("llama-3.1-8b", "apple-m2-ultra", _load(1, 1024, 256)),
    Setting("llama-3.1-8b", "xeon-8480p", _load(1, 512, 128)),
    Setting("llama-3.1-8b", "h200-sxm", _load(64, 16384, 512, goal="throughput")),
    Setting("llama-3.1-70b", "h100-sxm", _load(16, 2048, 256, tp=4)),
    Setting("llama-3.1-70b", "h100-sxm", _served(64, 2048, 256, tp=8, engine="vllm")),
    Setting("llama-3.1-70b", "h100-pcie", _load(4, 1024, 128, tp=4)),
    Setting("llama-3.1-70b", "b200-sxm", _load(32, 1024, 1024, tp=2)),
    Setting("llama-3.1-70b", "b200-sxm", _load(1, 32768, 512, tp=2)),
    Setting("llama-3.1-70b", "rtx-4090", _load(1, 512, 128)),
    Setting("mistral-7b", "a10g", _load(1, 1024, 128)),
    Setting("mixtral-8x7b", "a100-sxm-80gb", _load(1, 512, 128, tp=2)),
    Setting("mixtral-8x7b", "h100-sxm", _load(64, 512, 512, tp=2)),
    Setting("deepseek-v3", "h200-sxm", _load(32, 2048, 256, tp=8, ep=8)),
    Setting("deepseek-v3", "b200-sxm", _served(128, 4096, 512, tp=8, ep=8)),
    Setting("qwen3-32b", "h100-sxm", _load(8, 1024, 256)),
    Setting("qwen3-32b", "l40s", _load(1, 1024, 256, tp=2)),
    Setting("gemma-2-27b", "a100-sxm-80gb", _load(4, 4096, 256)),
    Setting("qwen2.5-3b-instruct", "jetson-agx-orin-64gb", _load(1, 512, 128)),
    Setting("falcon-mamba-7b", "a100-sxm-80gb", _load(16, 1024, 256)),
)


def kept(response: advice.RecommendResponse) -> dict[str, Any]:
    """What callers build on: verdicts, reasons and effects of techniques, and the plans."""
    return {
        "techniques": {
            found.technique: " ".join(_words(found)) for found in sorted(response.recommendations, key=_name)
        },
        "plans": [" + ".join(plan.techniques) for plan in response.plans],
    }


def _name(found: advice.Recommendation) -> str:
    return found.technique


def _words(found: advice.Recommendation) -> Iterator[str]:
    yield advice.Verdict.Name(found.verdict).removeprefix("VERDICT_")
    yield advice.ReasonCode.Name(found.reason_code).removeprefix("REASON_CODE_")
    if found.metric:
        effect = next(effect for effect in found.effects if effect.metric == found.metric)
        yield f"{found.metric} {effect.speedup:.2f}x"


def answers(client: Client) -> dict[str, Any]:
    """What is kept of the answer to each question, by the question's name."""
    return {
        setting.name: kept(client.recommend(setting.model, setting.hardware, **setting.options))
        for setting in SETTINGS
    }
