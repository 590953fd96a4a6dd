"""Speculative decoding: what drafts tokens, and how many of them a step keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.model import Model


class Draft(StrEnum):
    """What drafts tokens."""

    NGRAM = "ngram"
    """A lookup in the text, which costs no time on the device."""
    HEADS = "heads"
    """One more decoder layer and lm_head for each drafted token: EAGLE and multi-token prediction."""
    MODEL = "model"
    """A model of its own."""


class PublishedRate(NamedTuple):
    """An acceptance rate, and where it was published."""

    acceptance_rate: float
    source: str


PUBLISHED_RATES: Mapping[Draft, PublishedRate] = MappingProxyType(
    {
        Draft.MODEL: PublishedRate(
            0.65,
            "arXiv:2211.17192, table 2: T5-small drafting for T5-XXL on CNN/DailyMail at temperature 0",
        ),
        Draft.HEADS: PublishedRate(
            0.85,
            "arXiv:2412.19437, section 5.4.3: 85-90% for the second token of DeepSeek-V3's multi-token "
            "prediction",
        ),
    }
)
"""What is taken where a deployment does not state an acceptance rate. A lookup in the text has none: it
depends on how far the output repeats the prompt.
"""


@dataclass(frozen=True)
class Speculation:
    """`tokens` are drafted and verified in one step; `acceptance_rate` is the chance that one is kept when
    those before it were. `model` is the one that drafts, of Draft.MODEL, and `weight_dtype` the format of its
    layers' weights; None: that of its checkpoint.
    """

    draft: Draft
    tokens: int
    acceptance_rate: float
    model: Model | None = None
    weight_dtype: Dtype | None = None

    @property
    def acceptance_rate_source(self) -> str:
        """Where the rate was published, when it is the one that is taken by default; else empty."""
        published = PUBLISHED_RATES.get(self.draft)
        if published is None or published.acceptance_rate != self.acceptance_rate:
            return ""
        return published.source

    @property
    def expected_tokens(self) -> float:
        """Tokens that a step gives on average, the one that verification adds included: (1 - a^(k+1)) / (1 -
        a) (arXiv:2211.17192, equation 1).
        """
        a, k = self.acceptance_rate, self.tokens
        return float(k + 1) if a >= 1 else (1 - a ** (k + 1)) / (1 - a)
