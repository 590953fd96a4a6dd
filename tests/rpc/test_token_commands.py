"""The commands `ridgeline-server token`, and servers that ask for the tokens that they make."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import ridgeline
from ridgeline import errors
from ridgeline_server.__main__ import main
from ridgeline_server.security.secret_tokens import SecretToken
from ridgeline_server.settings import Settings, SettingsError
from tests import certificates
from tests.rpc.samples import device
from tests.rpc.test_commands import serving

LIMIT_S = 20.0


def command(*words: str, **settings: str) -> Result:
    """What `ridgeline-server` says in this process, which is quicker than in one of its own."""
    return CliRunner(env=settings).invoke(main, words)


class TokenCommand:
    """Runs `ridgeline-server token` in this process."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url

    def __call__(self, *words: str) -> Result:
        """What the command says, whatever that is."""
        return command("token", *words, RIDGELINE_DATABASE_URL=self._database_url)

    def told(self, *words: str) -> dict[str, Any]:
        """The JSON that a command prints."""
        result = self(*words, "-o", "json")
        assert result.exit_code == 0, result.stderr
        told: dict[str, Any] = json.loads(result.stdout)
        return told


@pytest.fixture
def token_command(database_url: str) -> TokenCommand:
    """Runs the commands on a fresh database, on each supported database in turn."""
    return TokenCommand(database_url)


def test_a_token_is_shown_once_and_alone_on_standard_output(token_command: TokenCommand) -> None:
    created = token_command("create", "rollout", "--role", "read")
    assert created.exit_code == 0
    secret = SecretToken.parse(created.stdout.removesuffix("\n"))
    assert secret is not None
    assert created.stderr == (
        f"Token {secret.id} of 'rollout' with the role read, until it is revoked; it is not shown again\n"
    )
    for later in (
        token_command("list"),
        token_command("list", "-o", "json"),
        token_command("revoke", secret.id),
    ):
        assert later.exit_code == 0
        assert secret.id in later.stdout
        assert secret.secret not in later.output


def test_json_tells_the_same(token_command: TokenCommand) -> None:
    created = token_command.told("create", "rollout", "--role", "write", "--expires-in", "30")
    secret = SecretToken.parse(created.pop("token"))
    assert secret is not None
    assert token_command.told("list") == {"tokens": [created]}
    assert {name: created[name] for name in ("id", "name", "role", "state")} == {
        "id": secret.id,
        "name": "rollout",
        "role": "write",
        "state": "active",
    }
    lifetime = datetime.fromisoformat(created["expire_time"]) - datetime.fromisoformat(created["create_time"])
    assert lifetime == timedelta(days=30)
    revoked = token_command.told("revoke", secret.id)
    assert revoked["state"] == "revoked"
    assert abs(datetime.fromisoformat(revoked["revoke_time"]) - datetime.now(UTC)) < timedelta(minutes=5)


def test_the_table_has_a_line_for_each_token(token_command: TokenCommand) -> None:
    for name in ("a", "a-longer-name"):
        token_command("create", name, "--role", "admin")
    lines = token_command("list").stdout.splitlines()
    assert re.fullmatch(r"id +name +role +state +create_time +expire_time +revoke_time", lines[0])
    assert [line.split()[1:4] for line in lines[1:]] == [
        ["a", "admin", "active"],
        ["a-longer-name", "admin", "active"],
    ]
    assert len({line.index("admin") for line in lines[1:]}) == 1


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create", "rollout"], "--role"),
        (["create", "rollout", "--role", "root"], "'root' is not one of"),
        (["create", "rollout", "--role", "read", "--expires-in", "0"], "0 is not in the range"),
        (["create", "local", "--role", "read"], "callers without a token"),
        (["create", "anonymous", "--role", "read"], "callers without a token"),
        (["create", "", "--role", "read"], "give up to 63 letters"),
        (["create", "two words", "--role", "read"], "give up to 63 letters"),
        (["create", "x" * 64, "--role", "read"], "give up to 63 letters"),
        (["create", "ro\x1b[31mle", "--role", "read"], "give up to 63 letters"),
    ],
)
def test_wrong_usage_is_told_and_creates_nothing(
    token_command: TokenCommand, words: list[str], said: str
) -> None:
    result = token_command(*words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert token_command.told("list") == {"tokens": []}


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_an_unknown_id_is_told(token_command: TokenCommand) -> None:
    result = token_command("revoke", "0123456789ab")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no token has the id '0123456789ab'" in result.stderr


def test_a_token_lets_in_everywhere_until_it_is_revoked(
    token_command: TokenCommand, database_url: str
) -> None:
    created = token_command.told("create", "rollout", "--role", "write")
    settings = {
        "RIDGELINE_DATABASE_URL": database_url,
        "RIDGELINE_AUTHENTICATION": "required",
        "RIDGELINE_TOKEN_REFRESH_S": "0.2",
    }
    with (
        serving(**settings) as (_, first),
        serving(**settings) as (_, second),
        ridgeline.connect(first, token=created["token"], timeout_s=LIMIT_S) as one,
        ridgeline.connect(second, token=created["token"], timeout_s=LIMIT_S) as other,
    ):
        one.create_hardware(device())
        assert [change.principal for change in other.list_changes().changes] == ["rollout"]
        token_command.told("revoke", created["id"])
        assert {refused_within_limit(client) for client in (one, other)} == {"TOKEN_REVOKED"}


def refused_within_limit(client: ridgeline.Client) -> str:
    """Why a client is refused, as soon as it is."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            client.list_hardware()
        except errors.UnauthenticatedError as error:
            return error.reason
        time.sleep(0.02)
    return "never"


@pytest.mark.parametrize("name", ["serve", "check"])
def test_other_machines_are_not_served_in_clear_text_by_accident(name: str, seeded_database_url: str) -> None:
    result = command(name, RIDGELINE_DATABASE_URL=seeded_database_url, RIDGELINE_LISTEN="0.0.0.0:0")
    assert result.exit_code == 2
    assert "Listening" not in result.stdout
    assert "RIDGELINE_TLS_CERTIFICATE" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["serve", "check"])
def test_a_certificate_that_cannot_be_used_is_told(name: str, seeded_database_url: str) -> None:
    result = command(
        name,
        RIDGELINE_DATABASE_URL=seeded_database_url,
        RIDGELINE_LISTEN="127.0.0.1:0",
        RIDGELINE_TLS_CERTIFICATE=str(certificates.SERVER.certificate),
        RIDGELINE_TLS_KEY=str(certificates.RENEWED_SERVER.key),
    )
    assert result.exit_code == 1
    assert "Listening" not in result.stdout
    assert "key values mismatch" in result.stderr


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_no_secret_shows_where_it_does_not_belong(token_command: TokenCommand, database_url: str) -> None:
    """Everything that a server and a client print, at the most talkative, with calls that go well and that do
    not, and what the machine tells of their processes.
    """
    created = token_command.told("create", "rollout", "--role", "read")
    stranger = SecretToken.new()
    key = certificates.SERVER.key.read_text().splitlines()[1]
    secrets = {created["token"].rpartition("_")[2], stranger.secret, key, "hunter2"}
    settings = {
        "RIDGELINE_DATABASE_URL": f"{database_url}&password=hunter2",
        "RIDGELINE_AUTHENTICATION": "required",
        "RIDGELINE_LOG_LEVEL": "debug",
        "RIDGELINE_TLS_CERTIFICATE": str(certificates.SERVER.certificate),
        "RIDGELINE_TLS_KEY": str(certificates.SERVER.key),
        "RIDGELINE_TOKEN": created["token"],
    }
    said = []
    with serving(**settings) as (process, address):
        name = address.replace("127.0.0.1", "localhost")
        for token in (created["token"], stranger.text, f"{created['token']}x"):
            with ridgeline.connect(name, token=token, ca=certificates.CA, timeout_s=LIMIT_S) as client:
                said += [outcome(client.list_models), outcome(lambda: client.create_hardware(device()))]
                said.append(repr(vars(client._transport)))
        said.append(Path(f"/proc/{process.pid}/cmdline").read_text())
        process.terminate()
        said += process.communicate(timeout=LIMIT_S)
    said += [command(name, **settings).output for name in ("check", "--help")]
    said.append(token_command("list").output)
    everything = "\n".join(said)
    # What is looked through is what was meant to be.
    for expected in (
        "PERMISSION_DENIED",
        "INVALID_TOKEN",
        "was refused",
        "can be served",
        "ridgeline_server",
    ):
        assert expected in everything
    for secret in secrets:
        assert secret not in everything


def outcome(call: Callable[[], object]) -> str:
    """Everything that a call tells, whatever comes of it."""
    try:
        return repr(call())
    except errors.RidgelineError as error:
        return f"{error!r} {error}"


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_the_database_holds_no_secret(token_command: TokenCommand, tmp_path: Path) -> None:
    created = token_command.told("create", "rollout", "--role", "read")
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("ridgeline.sqlite3*"))
    assert created["id"].encode() in stored
    assert created["token"].rpartition("_")[2].encode() not in stored


def test_settings_do_not_show_the_databases_password() -> None:
    assert "hunter2" not in repr(Settings(database_url="postgresql://u:hunter2@h/d"))


def test_a_database_url_of_another_type_is_refused_without_being_quoted(tmp_path: Path) -> None:
    file = tmp_path / "ridgeline.toml"
    file.write_text('database_url = ["postgresql://u:hunter2@h/d"]')
    with pytest.raises(SettingsError, match=r"database_url in .* cannot be used") as raised:
        Settings.load({"RIDGELINE_CONFIG": str(file)})
    assert "hunter2" not in str(raised.value)


def test_a_token_that_is_pasted_whole_is_revoked_and_never_shown(token_command: TokenCommand) -> None:
    created = token_command.told("create", "rollout", "--role", "read")
    result = token_command("revoke", created["token"])
    assert result.exit_code == 0
    assert created["id"] in result.stdout
    wrong = token_command("revoke", f"{created['token']}0")
    assert wrong.exit_code == 2
    for shown in (result.output, wrong.output, wrong.stderr):
        assert created["token"].rpartition("_")[2] not in shown
