"""Which smaller models of its line may take a model's place when nobody names them."""

from __future__ import annotations

from collections.abc import Iterable

from ridgeline_server.domain.draft_choice import line_of
from ridgeline_server.domain.gates import same_vocabulary
from ridgeline_server.domain.model import Model

FEWER = 0.9
"""A checkpoint with a larger share of the parameters is another edition of the same size."""
MOST_SIBLINGS = 16
"""Sizes that are compared at most, the largest first."""


def most_parameters(model: Model) -> float:
    """The most parameters that a smaller model has."""
    return FEWER * model.parameter_count


def smaller_siblings(model: Model, others: Iterable[Model]) -> tuple[Model, ...]:
    """The smaller models of the same family, publisher, line and vocabulary, the largest first; of several
    editions of a size the one whose name is most like the model's. Quantised ones are left out where the
    model is not: a deployment states the formats.
    """
    by_size: dict[int, Model] = {}
    for other in others:
        alike = other.family == model.family and line_of(other) == line_of(model)
        copied = other.quantized and not model.quantized
        if not alike or copied or other.parameter_count > most_parameters(model):
            continue
        if same_vocabulary(other, model):
            rival = by_size.setdefault(other.parameter_count, other)
            by_size[other.parameter_count] = max(rival, other, key=lambda each: _likeness(model, each))
    return tuple(by_size[size] for size in sorted(by_size, reverse=True)[:MOST_SIBLINGS])


def _likeness(model: Model, other: Model) -> tuple[int, int, str]:
    """How much of its name another model shares with a model; more words of its own make it less alike."""
    mine, its = (set(each.id.lower().split("-")) for each in (model, other))
    return len(mine & its), -len(its - mine), other.id
