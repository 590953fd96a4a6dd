"""Which experts a batch of tokens reaches, and how unevenly the tokens fall on the ranks that hold them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Figure = float | Array


def distinct_experts(tokens: Figure, expert_count: Figure, experts_per_token: Figure) -> Array:
    """Experts that at least one of the tokens is routed to, on average: E (1 - (1 - k/E)^T).

    T tokens that each take k of E experts, every choice as likely as any other. Exact, since an expert is
    missed by one token with probability 1 - k/E and by all of them independently. Shape (P,), or what
    broadcasts to it.
    """
    count = np.asarray(expert_count, dtype=np.float64)
    missed = (1 - np.asarray(experts_per_token) / count) ** np.asarray(tokens, dtype=np.float64)
    distinct: Array = count * (1 - missed)
    return distinct


def busiest_rank_share(
    tokens: Figure,
    expert_count: Figure,
    experts_per_token: Figure,
    ranks: Figure,
    popularity_spread: Figure = 0.0,
) -> Array:
    """The load of the busiest rank over the mean of all ranks, on average; at least 1, and 1 on one rank.

    E experts lie on n ranks in equal numbers; T tokens take k experts each, so that a rank has T k / n pairs
    of token and expert on average. The relative variance of a rank's load is

        (n-1) / (T k) (E-k) / (E-1)  +  v^2 (n-1) / E

    first from the draw without replacement of every token (hypergeometric), then from experts that differ in
    popularity, whose coefficient of variation is v, `popularity_spread`: 0 where the router is balanced. The
    mean of the largest of n loads lies above the mean by c(n) standard deviations, where

        c(n) = s + (2 gamma - ln ln n - ln 4 pi) / (2 s),    s = sqrt(2 ln n),    gamma = 0.5772

    (the mean of the Gumbel limit of n normal variables; Cramér, Mathematical Methods of Statistics, 1946,
    section 28.6.) A rank holds at least one pair, and of each token at most as many as it has experts. Shape
    (P,), or what broadcasts to it.
    """
    token_count, count, chosen, rank_count, spread = np.broadcast_arrays(
        *(
            np.asarray(figure, dtype=np.float64)
            for figure in (tokens, expert_count, experts_per_token, ranks, popularity_spread)
        )
    )
    pairs = token_count * chosen
    drawn = (rank_count - 1) / pairs * (count - chosen) / np.maximum(count - 1, 1)
    deviation = np.sqrt(drawn + spread**2 * (rank_count - 1) / count)
    several = np.maximum(rank_count, 2)
    scale = np.sqrt(2 * np.log(several))
    above = scale + (2 * np.euler_gamma - np.log(np.log(several)) - np.log(4 * np.pi)) / (2 * scale)
    least = np.maximum(1, rank_count / pairs)
    most = rank_count * np.minimum(chosen, count / rank_count) / chosen
    share: Array = np.clip(1 + above * deviation, least, np.maximum(most, least))
    return share
