"""Techniques are found by discovery and declare themselves consistently."""

from __future__ import annotations

from pathlib import Path

import pytest

from ridgeline_server.advisor import techniques
from ridgeline_server.advisor.registry import all_techniques
from ridgeline_server.advisor.technique import Technique
from tests.unit.technique_ids import TECHNIQUE_IDS

TECHNIQUES = all_techniques()
every_technique = pytest.mark.parametrize("technique", [pytest.param(t, id=t.id) for t in TECHNIQUES])


def test_every_module_is_found_under_its_own_name() -> None:
    modules = {path.stem for path in Path(techniques.__path__[0]).glob("*.py")} - {"__init__"}
    assert {t.id.replace("-", "_") for t in TECHNIQUES} == modules


def test_they_come_in_the_order_of_their_ids() -> None:
    ids = [t.id for t in TECHNIQUES]
    assert ids == sorted(set(ids))


@every_technique
def test_conflicts_are_known_and_mutual(technique: Technique) -> None:
    by_id = {t.id: t for t in TECHNIQUES}
    for other in technique.conflicts:
        assert other != technique.id
        assert technique.id in by_id[other].conflicts


@every_technique
def test_what_a_reader_needs_is_declared(technique: Technique) -> None:
    assert technique.title
    assert technique.accuracy.endswith(".")
    assert technique.requirements
    assert all(assumption.endswith(".") for assumption in technique.assumptions)


def test_only_a_change_of_the_load_is_kept_out_of_plans_by_default() -> None:
    assert [t.id for t in TECHNIQUES if t.changes_load] == ["increase-batch", "smaller-batch"]


def test_every_id_is_one_that_was_given() -> None:
    assert {t.id for t in TECHNIQUES} <= TECHNIQUE_IDS


def test_only_a_technique_that_leaves_the_arithmetic_as_it_is_keeps_the_answers() -> None:
    assert {t.id for t in TECHNIQUES if not t.lossless} == {
        *("weight-only-int8", "weight-only-fp8", "weight-only-int4", "sparsity-2-4", "smaller-model"),
        *("int8-compute", "fp8-compute", "nvfp4-compute", "w4a8-compute", "w4a8-mxfp4-compute"),
        *("kv-cache-fp8", "kv-cache-int8", "kv-cache-int4", "kv-cache-int2"),
        *("kv-eviction", "kv-window", "layer-skip"),
    }
