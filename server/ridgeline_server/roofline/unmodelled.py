"""What expected times leave out, of the load and the deployment at hand."""

from __future__ import annotations

from collections.abc import Iterator

from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.speculation import Draft
from ridgeline_server.domain.workload import Workload


def not_modelled(model: Model, deployment: Deployment, workload: Workload) -> tuple[str, ...]:
    """Phrases that name it, for people. docs/model.md has what no answer models."""
    return (*_of_load(workload), *_of_deployment(model, deployment))


def _of_load(workload: Workload) -> Iterator[str]:
    yield "percentiles, for times are means of requests with equal lengths"
    yield "clocks that fall under a power limit"
    if workload.load.is_loop:
        yield "what a load generator and the network before the engine add"
        yield "requests that the engine puts off or computes again when its cache runs full"


def _of_deployment(model: Model, deployment: Deployment) -> Iterator[str]:
    parallel, speculation = deployment.parallel, deployment.speculation
    if not parallel.is_single:
        yield "communication that overlaps with computation"
    if model.experts is not None and parallel.ep > 1:
        yield "copies of experts that balance their load"
    if deployment.prefix_hit_rate:
        yield "memory that shared prefixes save"
    if deployment.offload.weight_share or deployment.offload.kv_share:
        yield "the size of the host's memory"
    if deployment.eager:
        yield "how fast this host launches kernels, for which a usual time is taken"
    if speculation is not None and speculation.draft is Draft.MODEL:
        yield "the draft model's own prefill"
