"""Recommendations for forty settings of many kinds: callers build on verdicts, reason codes and plans.

Where an answer changes on purpose, `python -m tests.golden` shows each difference, and --write keeps them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ridgeline
from ridgeline.v1 import recommendation_service_pb2 as advice
from ridgeline_server.advisor.launching.commands import read_command
from tests.golden.__main__ import GOLDEN
from tests.golden.settings import SETTINGS, Setting, kept

KEPT: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def client(shipped_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ridgeline.Client]:
    path = shutil.copy(shipped_sqlite_file, tmp_path_factory.mktemp("golden"))
    with ridgeline.connect(database_url=f"sqlite:///{path}") as connected:
        yield connected


def test_there_are_forty_settings_each_with_an_answer() -> None:
    assert len(SETTINGS) >= 40
    assert [setting.name for setting in SETTINGS] == list(KEPT)


every_setting = pytest.mark.parametrize("setting", [pytest.param(each, id=each.name) for each in SETTINGS])
ANSWERS: dict[str, advice.RecommendResponse] = {}


def asked(client: ridgeline.Client, setting: Setting) -> advice.RecommendResponse:
    """The answer to a setting's question, which is asked once."""
    if setting.name not in ANSWERS:
        ANSWERS[setting.name] = client.recommend(setting.model, setting.hardware, **setting.options)
    return ANSWERS[setting.name]


@every_setting
def test_the_answer_is_the_one_that_was_reviewed(client: ridgeline.Client, setting: Setting) -> None:
    assert kept(asked(client, setting)) == KEPT[setting.name]


@every_setting
def test_every_command_of_its_plans_is_read_back(client: ridgeline.Client, setting: Setting) -> None:
    launches = [launch for plan in asked(client, setting).plans for launch in plan.launches]
    for launch in launches:
        unread = ["has --config config.yaml, a file that is not read"] if launch.config_file else []
        command = read_command(launch.command)
        assert [fault.partition(";")[0] for fault in command.faults] == unread, launch.command
        assert command.engine == launch.engine
