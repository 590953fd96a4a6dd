"""The engines that ship with a release: the files of ridgeline_catalog/engines as domain objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from functools import cache
from typing import Any

import ridgeline_catalog
from ridgeline_server.domain.efficiency import Estimate
from ridgeline_server.domain.engine import (
    BatchLimits,
    EngineProfile,
    EngineRelease,
    EngineSet,
    NonTorchMemory,
)

Document = Mapping[str, Any]


@cache
def builtin_engines() -> EngineSet:
    """The engines that ship with this release."""
    return EngineSet(engine_profile(document) for _, document in ridgeline_catalog.engine_documents())


def engine_profile(document: Document) -> EngineProfile:
    """The engine in a file of engines/, which follows schemas/engine.schema.json."""
    return EngineProfile(
        document["id"], document["display_name"], tuple(_release(release) for release in document["releases"])
    )


def _release(document: Document) -> EngineRelease:
    return EngineRelease(
        version=document["version"],
        memory_utilization=document["memory_utilization"]["value"],
        counts_cuda_graphs=document["counts_cuda_graphs"]["value"],
        batch_limits=tuple(
            BatchLimits(
                limits["min_device_bytes"],
                limits["max_batched_tokens"],
                limits["max_sequences"],
                tuple(limits["excluded_names"]),
            )
            for limits in document["batch_limits"]["value"]
        ),
        sampler_bytes_per_logit=_estimate(document["sampler_bytes_per_logit"]),
        cuda_graph_bytes=_estimate(document["cuda_graph_bytes"]),
        non_torch=tuple(
            NonTorchMemory(figure["tp"], figure["pp"], _estimate(figure))
            for figure in document["non_torch_bytes"]
        ),
        kv_share_of_rest=document.get("kv_share_of_rest", {"value": 1.0})["value"],
        carried_from=document.get("carried_from", ""),
        released=date.fromisoformat(document["released"]) if "released" in document else None,
        sources=tuple(dict.fromkeys(_sources(document))),
    )


def _estimate(figure: Document) -> Estimate:
    return Estimate(*(float(figure[end]) for end in ("value", "low", "high")))


def _sources(node: object) -> Iterator[str]:
    """Every source that a release cites, each of several in one text by itself."""
    if isinstance(node, Mapping):
        yield from str(node.get("source", "")).split("; ") if "source" in node else ()
        for child in node.values():
            yield from _sources(child)
    elif isinstance(node, list):
        for child in node:
            yield from _sources(child)
