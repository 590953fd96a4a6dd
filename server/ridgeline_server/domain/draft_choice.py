"""Which of several models drafts for another one when nobody names a draft."""

from __future__ import annotations

from collections.abc import Iterable

from ridgeline_server.domain.gates import same_vocabulary
from ridgeline_server.domain.model import Model

LARGEST_SHARE = 0.2
"""A draft with more of the model's weights takes too long for what it is right about; published pairs have a
hundredth (arXiv:2211.17192, table 2) to a seventeenth (arXiv:2302.01318, section 4).
"""


def largest_draft(model: Model) -> float:
    """The most weights that a draft may have."""
    return LARGEST_SHARE * model.parameter_count


def choose_draft(model: Model, others: Iterable[Model]) -> Model | None:
    """The smallest dense model of the same family and vocabulary, of the same publisher and line where there
    is one: those share their tokenizer. None where no model can draft.
    """
    found = [
        other
        for other in others
        if other.family == model.family
        and other.experts is None
        and other.parameter_count <= largest_draft(model)
        and same_vocabulary(other, model)
    ]

    def rank(other: Model) -> tuple[int, int, str]:
        alike = sum(mine == its for mine, its in zip(line_of(model), line_of(other), strict=True))
        return -alike, other.parameter_count, other.id

    return min(found, key=rank, default=None)


def line_of(model: Model) -> tuple[str, str]:
    """The publisher and the line of a model, such as `Qwen` and `Qwen2.5`, as its id tells them."""
    publisher, _, name = model.id.rpartition("/")
    return publisher, name.split("-")[0]
