"""The soaks at a size for every run of the tests; `make soak` runs them at their full size."""

from __future__ import annotations

import json

import pytest

from tests.soak import fuzz, kills, mixed, requests, writers
from tests.soak.__main__ import SEED
from tests.soak.recount import recounted


@pytest.mark.parametrize("servers", [1, 2])
def test_writers_of_the_same_devices_lose_no_update(catalog_url: str, servers: int) -> None:
    plan = writers.Plan(updates=96, writers=8, servers=servers, devices=2, client_processes=2)
    summary = writers.soak(catalog_url, plan)
    assert summary.repeated["stale etags"] > 0, "no two writers met: the test shows nothing"


def test_a_killed_server_keeps_what_it_acknowledged_and_shows_nothing_partial(catalog_url: str) -> None:
    assert "none missing" in kills.soak(catalog_url, kills.Plan(kills=2, backend_kills=0))


@pytest.mark.slow
@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_server_keeps_nothing_of_callers_that_were_rude(shipped_database_url: str) -> None:
    # Twenty seconds show a leak of what calls and connections hold, and less of memory, which still grows
    # into its pools.
    plan = mixed.Plan(duration_s=20.0, warm_up_s=8.0, growth=0.5)
    assert "calls and connections" in mixed.soak(shipped_database_url, plan)


@pytest.mark.parametrize(("database_kind", "count"), [("sqlite", 1700), ("postgresql", 300)])
def test_a_mutated_request_is_answered_or_refused_with_a_reason(
    shipped_database_url: str, count: int
) -> None:
    report = requests.soak(shipped_database_url, SEED, count)
    assert not report.failures, "\n".join(report.failures)
    assert report.counts["OK"] > count // 20, report
    assert report.counts["INVALID_ARGUMENT"] > count // 4, report


@pytest.mark.parametrize(("database_kind", "count"), [("sqlite", 1000), ("postgresql", 100)])
def test_a_mutated_file_is_refused_or_imported_as_what_it_says(catalog_url: str, count: int) -> None:
    report = fuzz.soak(catalog_url, seed=SEED, count=count)
    assert not report.failures, "\n".join(map(str, report.failures))
    assert report.counts["stored"] > count // 5, report
    assert report.counts["recounted"] > count // 50, report


def test_the_recount_gives_the_published_counts() -> None:
    """A formula that fits no shipped model would find no wrong one."""
    recounts = 0
    for path in fuzz.MODEL_FILE.sources():
        document = json.loads(path.read_text(encoding="utf-8"))
        count = recounted(document["config"])
        published = document.get("published_parameters")
        if count is not None and published is not None and published["difference"] == 0:
            assert count == published["value"], path.name
            recounts += 1
    assert recounts > 50
