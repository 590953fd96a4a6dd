"""Speculative decoding: what drafts tokens, and how many of them a step keeps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ridgeline_server.domain.model import Model


class Draft(StrEnum):
    """What drafts tokens."""

    NGRAM = "ngram"
    """A lookup in the text, which costs no time on the device."""
    HEADS = "heads"
    """One more decoder layer and lm_head for each drafted token: EAGLE and multi-token prediction."""
    MODEL = "model"
    """A model of its own."""


@dataclass(frozen=True)
class Speculation:
    """`tokens` are drafted and verified in one step; `acceptance_rate` is the chance that one is kept when
    those before it were. `model` is the one that drafts, of Draft.MODEL.
    """

    draft: Draft
    tokens: int
    acceptance_rate: float
    model: Model | None = None

    @property
    def expected_tokens(self) -> float:
        """Tokens that a step gives on average, the one that verification adds included: (1 - a^(k+1)) / (1 -
        a) (arXiv:2211.17192, equation 1).
        """
        a, k = self.acceptance_rate, self.tokens
        return float(k + 1) if a >= 1 else (1 - a ** (k + 1)) / (1 - a)
