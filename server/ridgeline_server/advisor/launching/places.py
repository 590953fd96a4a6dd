"""What a deployment and its load put into the places of a switch's values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil

from ridgeline_server.advisor.launching.switches import Places
from ridgeline_server.domain.deployment import NO_OFFLOAD, Deployment, Offload
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.memory.residents import weights_bytes

GIB = 2**30
WIDE_NAMES = {Dtype.FP32: "float32", Dtype.BF16: "bfloat16", Dtype.FP16: "float16"}
"""The wide formats as engines spell them."""


YOUR = "YOUR-"


class _Names(dict[str, str | None]):
    def __missing__(self, name: str) -> str:
        return YOUR + name.upper().replace("_", "-")


NAMES: Places = _Names()
"""Every place by its name, such as `YOUR-DRAFT-TOKENS`, for a reader who has no deployment."""


def places_of(model: Model, workload: Workload, deployment: Deployment) -> Places:
    """The value of every place, of one replica; None where the deployment leaves it open.

    `batch` counts the requests of a replica, `batch_of_rank` those of one of its attention-parallel groups.
    """
    parallel, speculation = deployment.parallel, deployment.speculation
    offloaded = deployment.offload.weight_share
    batch = ceil(workload.batch / parallel.dp)
    drafted = None if speculation is None else speculation.tokens
    draft = None if speculation is None or speculation.model is None else speculation.model.id
    return {
        "tp": str(parallel.tp),
        "pp": str(parallel.pp),
        "dp": str(parallel.dp),
        "ep": str(parallel.ep),
        "attention_dp": str(parallel.attention_dp),
        "stage_devices": str(parallel.stage_devices),
        "equal_parts": ",".join("1" * parallel.replica_devices),
        "batch": str(batch),
        "batch_of_rank": str(ceil(batch / parallel.attention_dp)),
        "context_tokens": str(batch * workload.total_len),
        "chunk_tokens": None if deployment.chunk_tokens is None else str(deployment.chunk_tokens),
        "compute_dtype": WIDE_NAMES.get(deployment.compute_dtype),
        "memory_utilization": f"{deployment.memory_share:g}",
        "offload_gib": str(ceil(_offloaded_bytes(model, deployment) / GIB)) if offloaded else None,
        "device_layers": str(round(model.layer_count * (1 - offloaded))) if offloaded else None,
        "draft_tokens": None if drafted is None else str(drafted),
        "verified_tokens": None if drafted is None else str(drafted + 1),
        "draft_model": draft or "DRAFT-MODEL",
        "draft_heads": "EAGLE3-HEADS",
        "draft_gguf": "DRAFT.gguf",
    }


def offloaded_share(stated: Mapping[str, float], model: Model, deployment: Deployment) -> float:
    """The share of the layers' weights in the host's memory that a launch with these values of `offload_gib`
    or `device_layers` has: the way back from `places_of`, which rounds up to whole GiB.
    """
    if "device_layers" in stated:
        return max(0.0, 1 - stated["device_layers"] / model.layer_count)
    whole = _offloaded_bytes(model, replace(deployment, offload=Offload(weight_share=1.0)))
    return min(1.0, stated["offload_gib"] * GIB / whole)


def _offloaded_bytes(model: Model, deployment: Deployment) -> float:
    """Weights of one device, the fullest, that lie in the host's memory."""
    kept = weights_bytes(model, deployment)
    return weights_bytes(model, replace(deployment, offload=NO_OFFLOAD)) - kept
