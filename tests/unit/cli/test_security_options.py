"""Options that say how the way to a server is secured."""

from __future__ import annotations

import click
import pytest

from ridgeline.cli.root import root
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeClient

QUESTION = ("analyze", "llama-2-7b", "rtx-a6000", "--input-len", "9")
OPTIONS = {
    "--token-file": "token_file",
    "--tls-ca": "ca",
    "--client-certificate": "certificate",
    "--client-key": "key",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_file_is_handed_to_the_client(option: str, run: Run, fake: FakeClient) -> None:
    assert run(*QUESTION, option, "a file").exit_code == 0
    assert fake.connections == [{"server": None, "timeout_s": None, OPTIONS[option]: "a file"}]


def test_encryption_is_a_flag(run: Run, fake: FakeClient) -> None:
    assert run(*QUESTION, "--tls").exit_code == 0
    assert fake.connections == [{"server": None, "timeout_s": None, "tls": True}]


def test_what_is_not_given_is_the_environments(run: Run, fake: FakeClient) -> None:
    assert run(*QUESTION).exit_code == 0
    assert fake.connections == [{"server": None, "timeout_s": None}]


def test_no_command_takes_a_token_where_other_users_could_read_it() -> None:
    def options(command: click.Command, context: click.Context) -> set[str]:
        found = {option for parameter in command.get_params(context) for option in parameter.opts}
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                found |= options(child, click.Context(child, parent=context))
        return found

    found = options(root, click.Context(root))
    assert "--token-file" in found
    assert "--token" not in found
