"""Settings: from the environment and a file, everything wrong told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ridgeline_server.settings import DEFAULT_LISTEN, Settings, SettingsError


def test_nothing_needs_to_be_set(tmp_path: Path) -> None:
    settings = Settings.load({"RIDGELINE_HOME": str(tmp_path)})
    assert settings.listen == DEFAULT_LISTEN
    assert settings.database_url == f"sqlite:///{tmp_path}/ridgeline.sqlite3"


def test_an_empty_variable_counts_as_absent() -> None:
    assert Settings.load({"RIDGELINE_THREADS": ""}) == Settings.load({})


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "ridgeline.toml"
    file.write_text('threads = 3\ngrace_s = 7\nlog_level = "DEBUG"\n')
    settings = Settings.load({"RIDGELINE_CONFIG": str(file), "RIDGELINE_THREADS": "5"})
    assert (settings.threads, settings.grace_s, settings.log_level) == (5, 7.0, "debug")


def test_the_clients_variables_are_none_of_the_service() -> None:
    assert Settings.load({"RIDGELINE_SERVER": "ridgeline:50051"}) == Settings.load({})


def test_all_that_is_wrong_is_told_under_the_name_it_was_given_by(tmp_path: Path) -> None:
    file = tmp_path / "ridgeline.toml"
    file.write_text("grace_s = -1\nlog_levels = 'info'\n")
    with pytest.raises(SettingsError) as caught:
        Settings.load(
            {"RIDGELINE_CONFIG": str(file), "RIDGELINE_THREADS": "many", "RIDGELINE_LISTEN": "50051"}
        )
    assert sorted(str(caught.value).splitlines()) == [
        f"RIDGELINE_LISTEN is '50051'; give HOST:PORT, such as {DEFAULT_LISTEN}; port 0 is a free one",
        "RIDGELINE_THREADS is 'many'; input should be a valid integer, unable to parse string as an integer",
        f"grace_s in {file} is '-1'; give at least 0",
        f"log_levels in {file} is no setting of ridgeline-server; do you mean log_level?",
    ]


@pytest.mark.parametrize(("content", "word"), [(None, "cannot be read"), (b"a =", "TOML"), (b"\xff", "TOML")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, word: str) -> None:
    file = tmp_path / "ridgeline.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=word) as caught:
        Settings.load({"RIDGELINE_CONFIG": str(file)})
    assert str(file) in str(caught.value)


def test_the_variables_that_kubernetes_makes_of_a_service_are_explained() -> None:
    with pytest.raises(SettingsError, match="enableServiceLinks"):
        Settings.load({"RIDGELINE_PORT_50051_TCP_ADDR": "10.0.0.1"})
