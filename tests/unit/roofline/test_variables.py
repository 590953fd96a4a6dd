"""Keys and pairs of steps against an enumeration of every query and key; experts against draws."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ridgeline_server.roofline.operators.variables import (
    ALL_KEYS,
    ONE,
    POSITIONS,
    SEQUENCES,
    TOKENS,
    Count,
    Reach,
    Routing,
    Steps,
    Variable,
    View,
    values,
)

LIMITS = (1, 2, 5, 8)


def steps(
    query_len: float, keys: float, span: float = 0.0, batch: float = 1.0, *, decode: bool = False
) -> Steps:
    """Steps of a prefill, or of decode, whose steps lie one token apart and verify `query_len` tokens."""
    positions = query_len if decode else 1.0
    figures = (batch, query_len, keys, span, positions, batch * query_len)
    return Steps(*(np.array([[figure]]) for figure in figures))


def value(what: Count, of: View | Routing | None, at: Steps) -> float:
    return float(values([Variable(what, of)], at)[0, 0, 0])


def seen_by(view: View, query: int) -> set[int]:
    """The keys that the query at a position sees, both counted from 0."""
    before = range(query + 1)
    if view.limit is None:
        return set(before)
    if view.reach is Reach.NEAREST:
        return {key for key in before if query - key < view.limit}
    if view.reach is Reach.CHUNK:
        return {key for key in before if key // view.limit == query // view.limit}
    return set(list(before)[: view.limit])  # Any so many of them: which ones does not change their number.


def enumerated_pairs(view: View, query_len: int, keys: int) -> int:
    return sum(len(seen_by(view, query)) for query in range(keys - query_len, keys))


def enumerated_keys(view: View, query_len: int, keys: int) -> int:
    return len(set().union(*(seen_by(view, query) for query in range(keys - query_len, keys))))


def geometries() -> Iterator[tuple[int, int]]:
    """Queries, and keys that their sequence then has."""
    for keys in (1, 2, 3, 7, 8, 9, 16, 23):
        for query_len in sorted({1, 2, 5, keys}):
            if query_len <= keys:
                yield query_len, keys


every_geometry = pytest.mark.parametrize(("query_len", "keys"), list(geometries()))


@every_geometry
def test_a_causal_query_sees_itself_and_all_before_it(query_len: int, keys: int) -> None:
    at = steps(query_len, keys)
    assert value(Count.PAIRS, ALL_KEYS, at) == enumerated_pairs(ALL_KEYS, query_len, keys)
    assert value(Count.KEYS, ALL_KEYS, at) == keys


@every_geometry
@pytest.mark.parametrize("limit", LIMITS)
def test_a_window_leaves_the_last_keys(query_len: int, keys: int, limit: int) -> None:
    view, at = View(limit), steps(query_len, keys)
    assert value(Count.PAIRS, view, at) == enumerated_pairs(view, query_len, keys)
    assert value(Count.KEYS, view, at) == enumerated_keys(view, query_len, keys)


@every_geometry
@pytest.mark.parametrize("limit", LIMITS)
def test_an_indexer_leaves_so_many_keys_to_each_query(query_len: int, keys: int, limit: int) -> None:
    view, at = View(limit, Reach.CHOSEN), steps(query_len, keys)
    assert value(Count.PAIRS, view, at) == enumerated_pairs(view, query_len, keys)


def test_queries_that_choose_apart_read_what_each_chose_and_no_more_than_there_is() -> None:
    view = View(4, Reach.CHOSEN)
    assert value(Count.KEYS, view, steps(1, 100)) == 4
    assert value(Count.KEYS, view, steps(3, 100)) == 12
    assert value(Count.KEYS, view, steps(50, 100)) == 100


@pytest.mark.parametrize(("query_len", "keys"), [(q, keys) for q, keys in geometries() if q > 1])
@pytest.mark.parametrize("limit", LIMITS)
def test_a_chunk_leaves_a_prefill_the_keys_of_ones_own(query_len: int, keys: int, limit: int) -> None:
    view, at = View(limit, Reach.CHUNK), steps(query_len, keys)
    assert value(Count.PAIRS, view, at) == enumerated_pairs(view, query_len, keys)
    windowed = enumerated_keys(View(limit), query_len, keys)
    assert enumerated_keys(view, query_len, keys) <= value(Count.KEYS, view, at) == windowed


@pytest.mark.parametrize("keys", [1, 7, 8, 9, 12, 1000])
def test_a_decode_step_is_costed_at_a_full_chunk(keys: int) -> None:
    view, at = View(8, Reach.CHUNK), steps(1, keys, decode=True)
    assert value(Count.KEYS, view, at) == value(Count.PAIRS, view, at) == min(keys, 8)


ALL_VIEWS = [ALL_KEYS, View(5), View(8), View(5, Reach.CHOSEN), View(8, Reach.CHUNK)]


@pytest.mark.parametrize("view", ALL_VIEWS)
@pytest.mark.parametrize(("first", "span"), [(1, 0), (1, 3), (3, 9), (6, 2), (12, 30)])
@pytest.mark.parametrize("what", [Count.KEYS, Count.PAIRS])
def test_a_span_of_decode_steps_is_the_mean_of_its_steps(
    view: View, first: int, span: int, what: Count
) -> None:
    single = [value(what, view, steps(1, keys, decode=True)) for keys in range(first, first + span + 1)]
    mean = sum(single) / len(single)
    assert value(what, view, steps(1, first, span, decode=True)) == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("view", [ALL_KEYS, View(5), View(8), View(5, Reach.CHOSEN)])
@pytest.mark.parametrize(("first", "span"), [(3, 0), (4, 9), (12, 30)])
def test_steps_that_verify_drafts_lie_one_token_apart_too(view: View, first: int, span: int) -> None:
    single = [value(Count.KEYS, view, steps(3, keys, decode=True)) for keys in range(first, first + span + 1)]
    mean = sum(single) / len(single)
    assert value(Count.KEYS, view, steps(3, first, span, decode=True)) == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("view", [ALL_KEYS, View(5), View(8), View(20), View(2, Reach.CHOSEN)])
@pytest.mark.parametrize(("chunk", "count"), [(2, 1), (2, 6), (3, 5), (8, 3), (11, 2)])
def test_the_chunks_of_a_prefill_read_the_mean_of_what_each_reads(view: View, chunk: int, count: int) -> None:
    single = [value(Count.KEYS, view, steps(chunk, chunk * n)) for n in range(1, count + 1)]
    mean = value(Count.KEYS, view, steps(chunk, chunk, chunk * (count - 1)))
    assert mean == pytest.approx(sum(single) / count, rel=1e-12)


@pytest.mark.parametrize("view", ALL_VIEWS)
@pytest.mark.parametrize(("chunk", "count"), [(2, 1), (2, 6), (3, 5), (8, 3), (11, 2)])
@pytest.mark.parametrize("before", [0, 4])
def test_the_chunks_of_a_prefill_have_the_pairs_of_the_whole(
    view: View, chunk: int, count: int, before: int
) -> None:
    length = chunk * count
    whole = enumerated_pairs(view, length, before + length)
    mean = value(Count.PAIRS, view, steps(chunk, before + chunk, length - chunk))
    assert count * mean == pytest.approx(whole, rel=1e-12)
    parts = [value(Count.PAIRS, view, steps(chunk, before + chunk * (n + 1))) for n in range(count)]
    assert sum(parts) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("view", [ALL_KEYS, View(5), View(5, Reach.CHOSEN)])
def test_drafted_tokens_are_verified_as_so_many_steps_in_one(view: View) -> None:
    """Three tokens at once have the pairs of three steps, but their keys are read together."""
    drafted, apart = steps(3, 20, decode=True), [steps(1, keys, decode=True) for keys in (18, 19, 20)]
    assert value(Count.PAIRS, view, drafted) == sum(value(Count.PAIRS, view, at) for at in apart)
    assert value(Count.KEYS, view, drafted) <= sum(value(Count.KEYS, view, at) for at in apart)


def test_verifying_drafts_in_a_chunk_costs_no_less_than_one_step() -> None:
    view = View(8, Reach.CHUNK)
    for keys in range(4, 40):
        one, three = steps(1, keys, decode=True), steps(3, keys + 2, decode=True)
        assert value(Count.PAIRS, view, one) <= value(Count.PAIRS, view, three), keys


@pytest.mark.parametrize("view", ALL_VIEWS)
def test_no_query_sees_more_than_the_keys_that_are_read(view: View) -> None:
    for query_len, keys in geometries():
        at = steps(query_len, keys)
        assert value(Count.PAIRS, view, at) <= query_len * value(Count.KEYS, view, at)


def test_unfused_scores_are_the_rectangle_of_queries_and_keys() -> None:
    assert value(Count.SCORES, ALL_KEYS, steps(7, 30)) == 7 * 30
    assert value(Count.SCORES, View(4), steps(7, 30)) == 7 * (4 + 6)


def test_sequences_count_for_themselves() -> None:
    """Five prompts of three tokens."""
    at = steps(3, 3, batch=5)
    assert value(Count.PAIRS, ALL_KEYS, at) == 5 * (1 + 2 + 3)
    assert value(Count.KEYS, ALL_KEYS, at) == 5 * 3
    found = values([ONE, TOKENS, SEQUENCES, POSITIONS], at)[0, :, 0]
    assert found.tolist() == [1, 15, 5, 5]


class TestExperts:
    """8 tokens that each take 2 of 6 experts."""

    routing = Routing(6, 6, 2)

    def test_one_token_reaches_as_many_experts_as_it_takes(self) -> None:
        assert value(Count.EXPERTS_HIT, self.routing, steps(1, 1)) == pytest.approx(2, rel=1e-12)

    def test_many_tokens_reach_all(self) -> None:
        assert value(Count.EXPERTS_HIT, self.routing, steps(1, 1, batch=1000)) == pytest.approx(6)

    def test_some_tokens_reach_as_many_as_draws_do(self) -> None:
        draw = np.random.default_rng(0)
        hit = [
            len({expert for _ in range(8) for expert in draw.choice(6, 2, replace=False)})
            for _ in range(4000)
        ]
        assert value(Count.EXPERTS_HIT, self.routing, steps(1, 1, batch=8)) == pytest.approx(
            np.mean(hit), abs=0.02
        )

    def test_every_token_works_on_each_of_its_experts(self) -> None:
        assert value(Count.EXPERT_TOKENS, self.routing, steps(4, 4, batch=2)) == 8 * 2

    def test_choices_that_do_nothing_are_neither_read_nor_worked_on(self) -> None:
        """Of 6 choices 4 are experts: a token that takes 3 meets 2 of them on average."""
        routing = Routing(4, 6, 3)
        assert value(Count.EXPERTS_HIT, routing, steps(1, 1)) == pytest.approx(2, rel=1e-12)
        assert value(Count.EXPERTS_HIT, routing, steps(1, 1, batch=1000)) == pytest.approx(4)
        assert value(Count.EXPERT_TOKENS, routing, steps(5, 5)) == pytest.approx(5 * 2)

    def test_devices_share_the_experts_that_are_hit(self) -> None:
        whole, shared = Routing(64, 64, 4), Routing(64, 64, 4, ranks=8)
        at = steps(1, 1, batch=16)
        hit = value(Count.EXPERTS_HIT, whole, at)
        assert value(Count.EXPERTS_HIT, shared, at) == pytest.approx(hit / 8)

    def test_the_busiest_device_has_no_less_than_its_share(self) -> None:
        shared = Routing(64, 64, 4, ranks=8)
        for batch in (1, 16, 4096):
            work = value(Count.EXPERT_TOKENS, shared, steps(1, 1, batch=batch))
            assert batch * 4 / 8 <= work <= batch * 4
        assert value(Count.EXPERT_TOKENS, shared, steps(1, 1, batch=1e6)) == pytest.approx(5e5, rel=0.01)
