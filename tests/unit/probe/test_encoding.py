"""A probe survives JSON."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ridgeline_server.probe.encoding import from_json, to_json
from ridgeline_server.probe.report import Skipped
from tests.unit.probe.probes import GPU, probe, timing


@pytest.mark.parametrize("gpu", [None, GPU])
def test_a_probe_comes_back_as_it_was(gpu: object) -> None:
    before = replace(
        probe(timing(), replace(timing(), cpu_us=None), gpu=GPU if gpu else None),
        skipped=(Skipped("fp8 products by torch", "no unit"),),
    )
    assert from_json(to_json(before)) == before


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"processor": {}}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"probe|Expecting"):
        from_json(text)
