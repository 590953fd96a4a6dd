"""Recommendations for forty settings of many kinds: callers build on verdicts, reason codes and plans.

Where an answer changes on purpose, `python -m tests.golden` shows each difference, and --write keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import ridgeline
from tests.golden.__main__ import GOLDEN, shipped
from tests.golden.settings import SETTINGS, Setting, kept

KEPT: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ridgeline.Client]:
    with shipped(tmp_path_factory.mktemp("golden")) as connected:
        yield connected


def test_there_are_forty_settings_each_with_an_answer() -> None:
    assert len(SETTINGS) >= 40
    assert [setting.name for setting in SETTINGS] == list(KEPT)


@pytest.mark.parametrize("setting", [pytest.param(setting, id=setting.name) for setting in SETTINGS])
def test_the_answer_is_the_one_that_was_reviewed(client: ridgeline.Client, setting: Setting) -> None:
    found = kept(client.recommend(setting.model, setting.hardware, **setting.options))
    assert found == KEPT[setting.name]
