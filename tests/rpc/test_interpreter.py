"""The interpreter of a serving process: garbage is looked for seldom, and threads take short turns."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ridgeline.v1.recommendation_service_pb2 import RecommendRequest
from ridgeline_server.rpc.dispatch import service_methods
from ridgeline_server.serving import TURN_S, tune_interpreter
from ridgeline_server.store.startup import open_embedded_catalog

RECOMMEND = "ridgeline.v1.RecommendationService/Recommend"


@pytest.fixture
def serving() -> Iterator[None]:
    """The interpreter as a serving process has it."""
    thresholds, turn_s = gc.get_threshold(), sys.getswitchinterval()
    tune_interpreter()
    yield
    sys.setswitchinterval(turn_s)
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_an_advice_is_answered_without_a_look(serving: None, tmp_path: Path) -> None:
    looks: list[str] = []

    def note(phase: str, _: object) -> None:
        looks.append(phase)

    store = open_embedded_catalog(f"sqlite:///{tmp_path / 'catalog.sqlite3'}")
    try:
        answer = service_methods(store)[RECOMMEND].answer

        def ask(input_len: int) -> None:
            request = RecommendRequest()
            request.model.id, request.hardware.id = "llama-3.1-8b", "h100-sxm"
            request.workload.batch, request.workload.input_len, request.workload.output_len = 4, input_len, 64
            answer(request)

        ask(1000)
        gc.collect()
        gc.callbacks.append(note)
        try:
            ask(1001)
            assert looks == []
            gc.collect()
            assert looks == ["start", "stop"]
        finally:
            gc.callbacks.remove(note)
    finally:
        store.close()


def test_what_is_loaded_is_never_looked_through(serving: None) -> None:
    assert gc.get_freeze_count() > 100_000
    assert len(gc.get_objects()) < gc.get_freeze_count() / 10


def test_threads_take_short_turns(serving: None) -> None:
    assert sys.getswitchinterval() == pytest.approx(TURN_S)
    assert TURN_S < 0.005
