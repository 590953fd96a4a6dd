"""The measured rows of vLLM's start-up memory, and the rules by which the catalog's constants follow.

The catalog's figures are these rules applied to all rows; a row is predicted with the rules applied to the
others.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import Estimate
from ridgeline_server.domain.engine import BatchLimits, EngineRelease, NonTorchMemory
from ridgeline_server.domain.model import Model
from tests.unit.questions import GIB, model

ROWS_FILE = Path(__file__).parents[3] / "data" / "vllm_memory.csv"
DEVICE_GIB = {"0.19.0": 79.19, "<=0.16": 79.18}
"""What the two reports say an H100 shows; the first one's holds for its rows of all versions."""
LIMITS = BatchLimits(0, 8192, 1024)
"""What vllm serve processes at once on an H100 when nothing is said."""

RELEASES = ("0.15.0", "0.16.0", "0.17.0", "0.18.0", "0.19.0")
UP_TO_0_16 = ("0.15.0", "0.16.0")
"""The releases that rows of `<=0.16` stand for, which sort all logits to sample."""

MEMBERS: dict[str, tuple[str, ...]] = {
    "arch:Gemma": ("google/gemma-2b", "google/gemma-7b"),
    "arch:Gemma3": ("google/gemma-3-4b-it", "google/gemma-3-12b-it", "google/gemma-3-27b-it"),
    "arch:Granite": ("ibm-granite/granite-3.3-2b-instruct", "ibm-granite/granite-3.3-8b-instruct"),
    "arch:KimiVL": ("moonshotai/Moonlight-16B-A3B",),
    "arch:LlavaNext": ("mistralai/Mistral-7B-Instruct-v0.2",),
    "arch:Mistral3": ("mistralai/Mistral-Small-3.1-24B-Instruct-2503",),
    "arch:Phi": ("microsoft/phi-1_5", "microsoft/phi-2"),
    "arch:Phi3": ("microsoft/Phi-3-mini-4k-instruct", "microsoft/phi-4", "microsoft/Phi-4-mini-instruct"),
    "arch:Qwen2": tuple(
        f"Qwen/Qwen2.5-{size}" for size in ("0.5B", "1.5B", "3B-Instruct", "7B", "14B", "32B")
    ),
    "arch:Qwen2_5_VL": ("Qwen/Qwen2.5-VL-7B-Instruct",),
}
"""Models of the catalog for the architectures of which the source gives a mean over models it does not name.

Kimi-VL-A3B has the language model of Moonlight-16B-A3B, LLaVA-NeXT has several, of which that of
Mistral-7B-Instruct-v0.2 is assumed.
"""
IMAGE_MODELS = ("arch:Gemma3", "arch:KimiVL", "arch:LlavaNext", "arch:Mistral3", "arch:Qwen2_5_VL")
"""Starred in the source; images are no part of the model of memory."""
UNDETERMINED = ("arch:Phi3",)
"""Architectures with vocabularies from 32k to 200k: a mean says nothing without its models."""


@dataclass(frozen=True)
class Row:
    """One row; sizes in GiB, None where the source has none."""

    name: str
    model_id: str
    version: str
    tp: int | None
    pp: int | None
    utilization: float
    weight_dtype: str
    weight: float | None
    activation: float | None
    non_torch: float | None
    cuda_graph: float | None
    kv: float | None
    concurrency: float | None

    @property
    def is_run(self) -> bool:
        """Whether it is one run, not a mean over several."""
        return not self.model_id.startswith("arch:")

    @property
    def parallel(self) -> str:
        """How its GPUs share the model."""
        return "tensor" if (self.tp or 1) > 1 else "pipeline" if (self.pp or 1) > 1 else "single"

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases that it holds for."""
        return UP_TO_0_16 if self.version == "<=0.16" else (self.version,)

    @property
    def sorts_logits(self) -> bool:
        """Whether it is of a release whose sampler sorts."""
        return self.releases[0] in UP_TO_0_16

    @property
    def device_bytes(self) -> float:
        """What the device shows."""
        return DEVICE_GIB.get(self.version, DEVICE_GIB["0.19.0"]) * GIB

    @property
    def compute_dtype(self) -> Dtype:
        """The format of activations and logits."""
        return Dtype.FP32 if self.weight_dtype == "fp32" else Dtype.BF16

    @property
    def members(self) -> tuple[Model, ...]:
        """The model, or those that an architecture's mean stands for."""
        return tuple(model(name) for name in MEMBERS.get(self.model_id, (self.model_id,)))


@cache
def rows() -> tuple[Row, ...]:
    """All rows, in the order of the file."""
    with ROWS_FILE.open(encoding="utf-8", newline="") as table:
        return tuple(map(_row, csv.DictReader(table)))


def _row(cells: dict[str, str]) -> Row:
    def number(column: str) -> float | None:
        return float(cells[column]) if cells[column] else None

    tp, pp = (int(cells[axis]) if cells[axis] else None for axis in ("tp", "pp"))
    name = cells["model_id"].rpartition("/")[2]
    if name == "arch:all":
        name += " graphs" if cells["cuda_graph_gib"] else f" tp{tp} pp{pp}"
    return Row(
        name=f"{name} {cells['weight_dtype']} {cells['engine_version']}".replace("  ", " "),
        model_id=cells["model_id"],
        version=cells["engine_version"],
        tp=tp,
        pp=pp,
        utilization=float(cells["gpu_memory_utilization"]),
        weight_dtype=cells["weight_dtype"],
        weight=number("weight_gib"),
        activation=number("activation_gib"),
        non_torch=number("non_torch_gib"),
        cuda_graph=number("cuda_graph_gib"),
        kv=number("kv_gib"),
        concurrency=number("max_concurrency_8192"),
    )


def implied_sampler_bytes(row: Row) -> float:
    """Bytes per logit that the activation peak of a row leaves to the sampler: the median over its models."""
    assert row.activation is not None
    element = 2
    return median(
        (row.activation * GIB - LIMITS.max_batched_tokens * member.hidden_size * element)
        / (LIMITS.max_sequences * member.vocab_size)
        - element
        for member in row.members
    )


def sampler_bytes(version: str, known: Sequence[Row]) -> Estimate:
    """The median over text models of the releases that sample in the same way.

    The interval runs from the least of them, and 5% under the value at least, to the most that any model, one
    of images too, was seen to need since 0.17.0; relative to the value where the sampler sorts, of which no
    image models are known.
    """
    since_0_17 = [row for row in known if row.activation is not None and not row.sorts_logits]
    sampling_bound = [row for row in since_0_17 if row.model_id not in (*UNDETERMINED, "arch:LlavaNext")]
    text = [implied_sampler_bytes(row) for row in sampling_bound if row.model_id not in IMAGE_MODELS]
    margin = max(map(implied_sampler_bytes, sampling_bound)) / median(text)
    if version in UP_TO_0_16:
        text = [
            implied_sampler_bytes(row) for row in known if row.activation is not None and row.sorts_logits
        ]
    return Estimate(median(text), min(*text, 0.95 * median(text)), median(text) * margin)


def non_torch(version: str, known: Sequence[Row]) -> tuple[NonTorchMemory, ...]:
    """What was measured at a release on one GPU, in pipelines and with tensor parallelism. For one of these
    of which the release has nothing, the figures of the nearest release that has, the newer of two.

    The intervals span what was seen at any release, and half to twice the value at least: on one GPU it
    doubled from 0.17.0 to 0.18.0.
    """
    return tuple(
        entry
        for parallel in dict.fromkeys(row.parallel for row in known if row.non_torch is not None)
        for entry in _non_torch(version, [row for row in known if row.parallel == parallel])
    )


def _non_torch(version: str, alike: Sequence[Row]) -> Iterator[NonTorchMemory]:
    place = RELEASES.index(version)

    def steps(release: str) -> tuple[int, bool]:
        return abs(RELEASES.index(release) - place), RELEASES.index(release) < place

    figures = [
        (release, (row.tp or 1, row.pp or 1), row.non_torch * GIB)
        for row in alike
        if row.non_torch is not None
        for release in row.releases
    ]
    nearest = min((release for release, _, _ in figures), key=steps)
    seen = [value for _, _, value in figures]
    for tp, pp in sorted({axes for release, axes, _ in figures if release == nearest}):
        value = median(found for release, axes, found in figures if (release, axes) == (nearest, (tp, pp)))
        yield NonTorchMemory(tp, pp, Estimate(value, min(*seen, value / 2), max(*seen, 2 * value)))


CUDA_GRAPH_RANGE_GIB = (0.51, 1.85)
"""Published with the mean over all runs of 0.19.0."""


def cuda_graph_bytes(version: str, known: Sequence[Row]) -> Estimate:
    """The mean of 0.19.0 at all releases. Older readings are differences of free memory, one of them
    negative: they widen the low end to nothing and give no value while there is a better one.
    """
    means = [row.cuda_graph for row in known if row.cuda_graph is not None and not row.is_run]
    readings = [row.cuda_graph for row in known if row.cuda_graph is not None and row.is_run]
    value = max(means[0] if means else median(readings), 0.0)
    low, high = CUDA_GRAPH_RANGE_GIB
    return Estimate(
        value * GIB, (min(low, value) if version == "0.19.0" else 0.0) * GIB, max(high, value) * GIB
    )


def release(version: str, known: Sequence[Row]) -> EngineRelease:
    """The constants of a release that follow from some rows."""
    return EngineRelease(
        version=version,
        memory_utilization=0.9,
        counts_cuda_graphs=False,
        batch_limits=(LIMITS,),
        sampler_bytes_per_logit=sampler_bytes(version, known),
        cuda_graph_bytes=cuda_graph_bytes(version, known),
        non_torch=non_torch(version, known),
    )
