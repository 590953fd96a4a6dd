"""Figures that techniques have to assume, as a request states them."""

from __future__ import annotations

from dataclasses import dataclass

from ridgeline_server.domain.model import Model


@dataclass(frozen=True)
class Assumed:
    """What a request states of figures that no data sheet tells; None: a technique takes its default, or says
    what it needs. `draft_model` is the model that may draft; None: none is known.
    """

    draft_model: Model | None = None
    draft_model_acceptance_rate: float | None = None
    heads_acceptance_rate: float | None = None
    mtp_acceptance_rate: float | None = None
    ngram_acceptance_rate: float | None = None
    prefix_hit_rate: float | None = None
    kv_keep_ratio: float | None = None
    skipped_layer_share: float | None = None
    kv_window: int | None = None


NOTHING_STATED = Assumed()
