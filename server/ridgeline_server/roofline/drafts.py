"""What drafts tokens for speculative decoding, as a model and a deployment of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.dtypes import DEFAULT_GROUP_SIZE
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.speculation import Draft


def draft_of(model: Model, deployment: Deployment) -> Model | None:
    """What drafts tokens: a model of its own, or one more layer of the model's last kind with its lm_head;
    None where a draft costs no time.
    """
    speculation = deployment.speculation
    if speculation is None or speculation.draft is Draft.NGRAM:
        return None
    if speculation.model is not None:
        return speculation.model
    return _last_layer(model)


@lru_cache(maxsize=64)
def _last_layer(model: Model) -> Model:
    last = model.layer_kinds[model.layer_sequence[-1]]
    return replace(model, layer_kinds=(replace(last, count=1),), layer_sequence=(0,))


@lru_cache(maxsize=512)
def draft_deployment(deployment: Deployment, draft: Model) -> Deployment:
    """How a draft is served: like the model, on the first stage's devices. A model of its own keeps the
    formats of its checkpoint, unless another is stated for its weights, and multiplies in the wide one.
    """
    speculation = deployment.speculation
    parallel = deployment.parallel
    if parallel.devices > 1:
        parallel = replace(parallel, pp=1, **({"ep": 1} if draft.experts is None else {}))
    if speculation is None or speculation.model is None:
        return replace(deployment, parallel=parallel, speculation=None)
    if speculation.weight_dtype is not None:
        stored, alike = speculation.weight_dtype, replace(deployment, parallel=parallel, speculation=None)
        return alike.storing(stored, DEFAULT_GROUP_SIZE.get(stored, 0), deployment.compute_dtype)
    return replace(
        deployment,
        weight_dtype=draft.weight_dtype
        if draft.weight_dtype is not draft.dtype
        else deployment.compute_dtype,
        weight_group_size=draft.weight_group_size,
        weight_scale_bits=draft.weight_scale_bits,
        activation_dtype=deployment.compute_dtype,
        lm_head_dtype=deployment.compute_dtype,
        formats=tuple(
            replace(
                stored,
                dtype=deployment.compute_dtype if stored.dtype is draft.dtype else stored.dtype,
                activation_dtype=None,
            )
            for stored in draft.module_formats
        ),
        parallel=parallel,
        speculation=None,
    )
