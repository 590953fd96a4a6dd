"""What is published on techniques and the accuracy of models, from the catalog's data files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from statistics import median
from types import MappingProxyType
from typing import Any, NamedTuple

from ridgeline_catalog import evidence_documents
from ridgeline_server.advisor.results import AccuracyEvidence
from ridgeline_server.domain.model import Model

SMALL, LARGE = 3e9, 14e9
"""Parameters between which a model is of the middle size class."""


def model_class(model: Model) -> str:
    """The class of models among which a model's accuracy figures are looked for."""
    return class_of(model.parameter_count, experts=model.experts is not None)


def class_of(parameters: int, *, experts: bool) -> str:
    """The class of a model: dense or a mixture of experts, and the size by all of its weights.

    Losses depend on both: small models have less to spare, and experts see less of a calibration set. Figures
    never stand in for another class, since published losses neither fall nor rise with the size in step.
    """
    kind = "mixtures of experts" if experts else "dense models"
    if parameters < SMALL:
        return f"{kind} of under 3 billion parameters"
    return (
        f"{kind} of 3 to 14 billion parameters"
        if parameters <= LARGE
        else f"{kind} of over 14 billion parameters"
    )


FEWEST_FIGURES = 2
"""Figures of a class that say what is typical of it: one alone may be a benchmark that loses nothing."""


class Losses(NamedTuple):
    """Relative losses that are published for a class of models, such as 0.02 for 2%: the median, which a
    budget is held against, and the largest. 0 where figures got no worse.
    """

    typical: float
    largest: float


def accuracy_losses(technique_id: str, model: Model) -> Losses | None:
    """What is published for the model's class; None when next to nothing is.

    Scores decide. A perplexity counts only for a class without any, because its rise says little about how
    many answers change. The largest is that of the hardest benchmark, the least careful method and the
    smallest model at once, so that hardly a technique would keep within a budget by it.
    """
    return _losses_of_class(technique_id, model_class(model))


@lru_cache(maxsize=1024)
def _losses_of_class(technique_id: str, asked: str) -> Losses | None:
    found = _evidence_of_class(technique_id, asked)
    decisive = [piece for piece in found if not piece.less_is_better] or found
    if len(decisive) < FEWEST_FIGURES:
        return None
    losses = [max(0.0, -piece.relative_change) for piece in decisive]
    return Losses(median(losses), max(losses))


def accuracy_loss(technique_id: str, model: Model) -> float | None:
    """The typical loss; None when nothing is published for the model's class."""
    found = accuracy_losses(technique_id, model)
    return None if found is None else found.typical


def evidence_for(technique_id: str, model: Model) -> tuple[AccuracyEvidence, ...]:
    """The published accuracy figures of a technique on models of the same class, the largest loss first."""
    return _evidence_of_class(technique_id, model_class(model))


@lru_cache(maxsize=1024)
def _evidence_of_class(technique_id: str, asked: str) -> tuple[AccuracyEvidence, ...]:
    return tuple(piece for piece in accuracy_evidence(technique_id) if piece.model_class == asked)


def accuracy_evidence(technique_id: str) -> tuple[AccuracyEvidence, ...]:
    """All published accuracy figures of a technique, the largest loss first; none when there are none."""
    return _accuracy().get(technique_id, ())


@cache
def _accuracy() -> Mapping[str, tuple[AccuracyEvidence, ...]]:
    return MappingProxyType(
        {
            document["technique"]: tuple(
                sorted(map(_piece, document["accuracy"]), key=lambda piece: piece.relative_change)
            )
            for _, document in evidence_documents()
        }
    )


def _piece(row: Mapping[str, Any]) -> AccuracyEvidence:
    return AccuracyEvidence(
        model_id=row["model_id"],
        model_class=class_of(row["model_parameters"], experts=row["experts"]),
        method=", ".join(filter(None, (row["method"], row.get("setting")))),
        bits=row.get("bits"),
        benchmark=row["benchmark"],
        less_is_better=row.get("less_is_better", False),
        before=row.get("before"),
        after=row.get("after"),
        relative_change=row["relative_change"],
        finding=row["finding"],
        source=row["source"],
        read_on=row["read_on"],
    )
