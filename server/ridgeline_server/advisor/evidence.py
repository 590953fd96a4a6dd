"""Published evidence on techniques, from the catalog's data files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from statistics import mean

from ridgeline_catalog import evidence_documents
from ridgeline_server.advisor.results import AccuracyEvidence
from ridgeline_server.domain.model import Model


def accuracy_evidence(technique_id: str) -> tuple[AccuracyEvidence, ...]:
    """Published accuracy figures of a technique; none when the catalog knows none."""
    return _accuracy().get(technique_id, ())


@cache
def _accuracy() -> Mapping[str, tuple[AccuracyEvidence, ...]]:
    return {
        document["technique"]: tuple(
            AccuracyEvidence(row["model_id"], row["finding"], row["source"]) for row in document["accuracy"]
        )
        for _, document in evidence_documents()
    }


_BEFORE_AND_AFTER = re.compile(r"([\d.]+) -> ([\d.]+)")
_LOSS = re.compile(r"loss ([\d.]+)%")


def accuracy_loss(technique_id: str, model: Model) -> float | None:
    """The share of a benchmark's score that a technique was found to lose, 0.0 or more, on the mean over the
    benchmarks of a model: of this model where it was measured, else the worst of those that were. None where
    nobody published a figure.
    """
    found = [(row.model_id, _loss(row.finding)) for row in accuracy_evidence(technique_id)]
    losses = [(model_id, loss) for model_id, loss in found if loss is not None]
    own = [loss for model_id, loss in losses if model_id == model.id]
    return max(own or [loss for _, loss in losses], default=None)


def _loss(finding: str) -> float | None:
    scores = [(float(before), float(after)) for before, after in _BEFORE_AND_AFTER.findall(finding)]
    losses = [1 - after / before for before, after in scores]
    losses += [float(percent) / 100 for percent in _LOSS.findall(finding)]
    return max(mean(losses), 0.0) if losses else None
