"""Which experts tokens reach and how unevenly they load ranks: by hand and by drawing."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ridgeline_server.roofline.experts import busiest_rank_share, distinct_experts


def draw(
    generator: np.random.Generator, tokens: int, experts: int, chosen: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """Tokens at each expert when every token takes `chosen` of them, in a random order or by weight."""
    keys = generator.exponential(size=(tokens, experts))
    if weights is not None:
        keys = keys / weights
    picked = np.argsort(keys, axis=1)[:, :chosen]
    return np.bincount(picked.ravel(), minlength=experts)


class TestDistinctExperts:
    def test_every_way_to_route_two_tokens_over_four_experts(self) -> None:
        routes = [len({first, second}) for first, second in product(range(4), repeat=2)]
        assert distinct_experts(2, 4, 1) == pytest.approx(np.mean(routes))

    @pytest.mark.parametrize(
        ("tokens", "experts", "chosen"), [(1, 8, 2), (4, 8, 2), (16, 128, 8), (100, 256, 8)]
    )
    def test_drawing_tokens_finds_as_many(self, tokens: int, experts: int, chosen: int) -> None:
        generator = np.random.default_rng(3)
        drawn = [np.count_nonzero(draw(generator, tokens, experts, chosen)) for _ in range(300)]
        assert distinct_experts(tokens, experts, chosen) == pytest.approx(np.mean(drawn), rel=0.02)

    @given(
        tokens=st.integers(1, 10**5),
        more=st.integers(0, 1000),
        chosen=st.integers(1, 16),
        rest=st.integers(0, 500),
    )
    def test_between_one_tokens_experts_and_all(self, tokens: int, more: int, chosen: int, rest: int) -> None:
        experts = chosen + rest
        found, larger = distinct_experts(np.array([tokens, tokens + more]), experts, chosen)
        assert chosen <= found * (1 + 1e-9)
        assert found <= larger <= experts

    def test_tokens_that_take_all_experts_reach_all(self) -> None:
        assert distinct_experts(1, 8, 8) == 8


class TestBusiestRank:
    @pytest.mark.parametrize(
        ("tokens", "experts", "chosen", "ranks", "tolerance"),
        [
            pytest.param(8, 128, 8, 8, 0.03, id="8 tokens on 8 ranks"),
            pytest.param(64, 128, 8, 8, 0.02, id="64 tokens on 8 ranks"),
            pytest.param(64, 8, 2, 2, 0.02, id="Mixtral on 2 ranks"),
            pytest.param(256, 256, 8, 64, 0.03, id="DeepSeek-V3 on 64 ranks"),
            pytest.param(1, 128, 8, 8, 0.08, id="one token"),
        ],
    )
    def test_drawing_tokens_loads_it_as_much(
        self, tokens: int, experts: int, chosen: int, ranks: int, tolerance: float
    ) -> None:
        generator = np.random.default_rng(5)
        drawn = [
            draw(generator, tokens, experts, chosen).reshape(ranks, -1).sum(axis=1).max() for _ in range(400)
        ]
        found = busiest_rank_share(tokens, experts, chosen, ranks)
        assert found == pytest.approx(np.mean(drawn) * ranks / (tokens * chosen), rel=tolerance)

    def test_experts_of_unequal_popularity_load_it_more(self) -> None:
        """Weights from a gamma distribution of shape 4, whose coefficient of variation is 1 / sqrt(4)."""
        generator, loads = np.random.default_rng(11), []
        for _ in range(100):
            weights = generator.gamma(4.0, size=128)
            loads.append(draw(generator, 400, 128, 1, weights).reshape(8, 16).sum(axis=1).max() / 50)
        assert busiest_rank_share(400, 128, 1, 8, 0.5) == pytest.approx(np.mean(loads), rel=0.04)

    def test_one_rank_holds_everything(self) -> None:
        assert busiest_rank_share(np.array([1, 7, 1000]), 64, 6, 1, 2.0).tolist() == [1, 1, 1]

    def test_a_token_whose_experts_all_lie_apart(self) -> None:
        """One expert on each of 8 ranks, and the token takes two: the busy ranks hold four times the mean."""
        assert busiest_rank_share(1, 8, 2, 8) == 4

    def test_tokens_that_take_all_experts_load_all_ranks_alike(self) -> None:
        assert busiest_rank_share(3, 16, 16, 4) == 1

    @given(
        tokens=st.integers(1, 10**6),
        per_rank=st.integers(1, 32),
        ranks=st.integers(1, 256),
        share=st.floats(0, 1),
        spread=st.floats(0, 3),
    )
    def test_between_the_mean_and_all_that_a_rank_can_hold(
        self, tokens: int, per_rank: int, ranks: int, share: float, spread: float
    ) -> None:
        experts = per_rank * ranks
        chosen = max(1, round(share * experts))
        found, more = (
            busiest_rank_share(count, experts, chosen, ranks, spread) for count in (tokens, 2 * tokens)
        )
        assert 1 <= more <= found * (1 + 1e-9)
        assert found <= ranks * (1 + 1e-9)
