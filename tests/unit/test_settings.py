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
        "RIDGELINE_THREADS is 'many'; give a whole number from 1 to 1,000",
        f"grace_s in {file} is '-1'; give a number from 0 to 3,600",
        f"log_levels in {file} is no setting of ridgeline-server; do you mean log_level?",
    ]


@pytest.mark.parametrize(
    ("name", "given", "wish"),
    [
        ("RIDGELINE_GRACE_S", "nan", "give a number from 0 to 3,600"),
        ("RIDGELINE_MAX_REQUEST_BYTES", "1e9", "give a whole number from 1,048,576 to 1,073,741,824"),
        ("RIDGELINE_DATABASE_POOL_SIZE", "0", "give a number from 1 to 1,000"),
    ],
)
def test_a_number_that_cannot_be_is_told_with_its_bounds(name: str, given: str, wish: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({name: given})
    assert str(caught.value) == f"{name} is '{given}'; {wish}"


def test_a_role_that_is_none_is_told_with_its_certificate(tmp_path: Path) -> None:
    file = tmp_path / "ridgeline.toml"
    file.write_text('[certificate_roles]\n"ops.example.org" = "boss"\n"x.example.org" = "read"\n')
    with pytest.raises(SettingsError) as caught:
        Settings.load({"RIDGELINE_CONFIG": str(file)})
    told = (
        f"'ops.example.org' of certificate_roles in {file} is 'boss'; give one of 'read', 'write' or 'admin'"
    )
    assert str(caught.value) == told
    with pytest.raises(SettingsError, match=r"'a' of RIDGELINE_CERTIFICATE_ROLES is 'boss'"):
        Settings.load({"RIDGELINE_CERTIFICATE_ROLES": "a=boss"})


@pytest.mark.parametrize("setting", ["workers", "calls_per_s", "database_pool_size"])
def test_a_truth_value_is_no_number(tmp_path: Path, setting: str) -> None:
    file = tmp_path / "ridgeline.toml"
    file.write_text(f"{setting} = true\ntracing = true\n")
    with pytest.raises(SettingsError) as caught:
        Settings.load({"RIDGELINE_CONFIG": str(file)})
    assert str(caught.value) == f"{setting} in {file} is 'true'; give a number"


def test_a_table_that_is_no_setting_is_told_what_the_file_may_hold(tmp_path: Path) -> None:
    file = tmp_path / "ridgeline.toml"
    file.write_text("[server]\nthreads = 3\n")
    with pytest.raises(SettingsError, match=r"server in .* stand at the top of the file") as caught:
        Settings.load({"RIDGELINE_CONFIG": str(file)})
    assert "Kubernetes" not in str(caught.value)


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
