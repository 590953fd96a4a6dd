"""The commands `ridgeline-server token`: create, list and revoke the tokens of a database."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from ridgeline_server.command_errors import EXIT_FAILED, EXIT_USAGE, database_errors, fail
from ridgeline_server.security.secret_tokens import ID_BYTES, SecretToken
from ridgeline_server.settings import Settings
from ridgeline_server.store.principals import ANONYMOUS, LOCAL
from ridgeline_server.store.roles import Role

if TYPE_CHECKING:
    from ridgeline_server.store.tokens import StoredToken, TokenRepository

MAX_NAME_LENGTH = 63
MAX_DAYS = 3650

COLUMNS = ("id", "name", "role", "state", "create_time", "expire_time", "revoke_time")

_form = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Form of the answer."
)


def _name(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """The name of a token; none that a reader of the history could take for something else."""
    if not (
        value.isascii() and value.isprintable() and " " not in value and 1 <= len(value) <= MAX_NAME_LENGTH
    ):
        raise click.BadParameter(
            f"is '{value}'; give up to {MAX_NAME_LENGTH} letters, digits and signs without spaces",
            context,
            parameter,
        )
    if value in (LOCAL, ANONYMOUS):
        raise click.BadParameter(
            f"is '{value}', which the history calls callers without a token; give another", context, parameter
        )
    return value


@click.group()
def token() -> None:
    r"""Look after the tokens by which callers are known.

    A token is shown once, when it is created; the database keeps a hash. To rotate one, create another of the
    same name, hand it out, and revoke the old one by its id.

    \b
      ridgeline-server token create rollout --role read --expires-in 90
      ridgeline-server token list
      ridgeline-server token revoke 5f0c9a41d2be
    """


@token.command()
@click.argument("name", callback=_name)
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    required=True,
    help="read: ask and list; write: change the catalog and measurements too; admin: look into the server.",
)
@click.option(
    "--expires-in",
    "days",
    type=click.IntRange(1, MAX_DAYS),
    metavar="DAYS",
    help="When the token ends to be good [default: when it is revoked].",
)
@_form
@click.pass_obj
def create(settings: Settings, name: str, role: str, days: int | None, output: str) -> None:
    """Create a token and show it, once.

    Standard output gets the token alone, so that a script can take it; what else there is to say goes to
    standard error.
    """
    from ridgeline_server.security.secret_tokens import SecretToken
    from ridgeline_server.store.tokens import StoredToken

    secret = SecretToken.new()
    now = datetime.now(UTC)
    expire_time = now + timedelta(days=days) if days else None
    stored = StoredToken(secret.id, name, Role(role), secret.secret_sha256, now, expire_time)
    with _tokens(settings) as tokens:
        tokens.add(stored)
    if output == "json":
        click.echo(json.dumps({**_row(stored, now), "token": secret.text}))
        return
    click.echo(secret.text)
    until = f"until {_time(expire_time)}" if expire_time else "until it is revoked"
    click.echo(
        f"Token {secret.id} of '{name}' with the role {role}, {until}; it is not shown again", err=True
    )


@token.command("list")
@_form
@click.pass_obj
def list_(settings: Settings, output: str) -> None:
    """Show all tokens, oldest first, those that are good no longer among them."""
    with _tokens(settings) as tokens:
        found = tokens.list()
    now = datetime.now(UTC)
    rows = [_row(stored, now) for stored in found]
    if output == "json":
        click.echo(json.dumps({"tokens": rows}))
        return
    for line in _table(rows):
        click.echo(line)


@token.command()
@click.argument("token_id", metavar="ID")
@_form
@click.pass_obj
def revoke(settings: Settings, token_id: str, output: str) -> None:
    """Make a token good no longer, for ever. All servers refuse it within RIDGELINE_TOKEN_REFRESH_S."""
    from ridgeline_server.store.tokens import TokenNotFoundError

    now = datetime.now(UTC)
    # Who is in a hurry pastes the token itself.
    whole = SecretToken.parse(token_id.strip())
    if whole is None and len(token_id) > 2 * ID_BYTES:
        fail("what is given is no token's id; `ridgeline-server token list` shows them", EXIT_USAGE)
    with _tokens(settings) as tokens:
        try:
            stored = tokens.revoke(token_id if whole is None else whole.id, now)
        except TokenNotFoundError as error:
            fail(str(error), EXIT_FAILED)
    if output == "json":
        click.echo(json.dumps(_row(stored, now)))
        return
    click.echo(f"Token {stored.id} of '{stored.name}' is revoked since {_time(stored.revoke_time)}")


@contextmanager
def _tokens(settings: Settings) -> Iterator[TokenRepository]:
    from ridgeline_server.store.startup import open_catalog

    with database_errors():
        store = open_catalog(settings.database_url)
        try:
            yield store.tokens
        finally:
            store.close()


def _row(stored: StoredToken, now: datetime) -> dict[str, str]:
    """What may be shown of a token; times that there are not are left out."""
    state = "active"
    if stored.revoke_time is not None:
        state = "revoked"
    elif stored.expire_time is not None and stored.expire_time <= now:
        state = "expired"
    times = {
        "create_time": stored.create_time,
        "expire_time": stored.expire_time,
        "revoke_time": stored.revoke_time,
    }
    told = {name: _time(time) for name, time in times.items() if time is not None}
    return {"id": stored.id, "name": stored.name, "role": stored.role.value, "state": state, **told}


def _time(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _table(rows: Sequence[dict[str, str]]) -> Iterator[str]:
    cells = [list(COLUMNS), *([row.get(column, "") for column in COLUMNS] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
