"""The command `ridgeline-server`: serve, migrate, seed, check, health."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from ridgeline_server.settings import FILE_VARIABLE, PREFIX, Settings, SettingsError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 4

HEALTH_TIMEOUT_S = 3.0

EXIT_CODES = """\b
Exit codes:
  0  done
  1  could not be done, with one sentence on standard error that says why
  2  wrong usage or settings
  4  the database or the server does not answer
"""


def _epilog() -> str:
    """The settings, one a line, and the exit codes."""
    rows = [(f"{PREFIX}{name.upper()}", field) for name, field in Settings.model_fields.items()]
    width = max(len(variable) for variable, _ in rows)
    lines = [
        f"  {variable:{width}}  {field.description}" + (f"; {field.default}" if field.default else "")
        for variable, field in rows
    ]
    heading = (
        f"Settings, as variables or without {PREFIX} as keys of the TOML file that {FILE_VARIABLE} names:"
    )
    return "\n".join(["\b", heading, *lines, "", EXIT_CODES])


@click.group(
    epilog=_epilog(), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="ridgeline", prog_name="ridgeline-server")
@click.pass_context
def main(context: click.Context) -> None:
    """The Ridgeline service: a gRPC server in front of one database.

    A new database takes `migrate`, then `seed`, each of which may run again at any time; then `serve`.
    """
    try:
        context.obj = Settings.load()
    except SettingsError as error:
        raise click.UsageError(str(error)) from None


@main.command()
@click.pass_obj
def serve(settings: Settings) -> None:
    """Answer calls until SIGTERM or SIGINT.

    A stop finishes the calls in flight. The database must have been migrated; what it lacks is told.
    Beside its own services the server answers grpc.health.v1 and reflection.
    """
    from ridgeline_server.app import ListenError, Server, serve_until_signal
    from ridgeline_server.database_watch import DatabaseWatch
    from ridgeline_server.observability.exposition import MetricsListenError
    from ridgeline_server.observability.logs import configure_logs
    from ridgeline_server.observability.tracing import TracingError
    from ridgeline_server.observing import observing
    from ridgeline_server.rpc.dispatch import service_methods
    from ridgeline_server.store.catalog import CatalogCache
    from ridgeline_server.store.startup import open_catalog

    configure_logs(settings.log_format, settings.log_level)
    with database_errors():
        store = open_catalog(
            settings.database_url,
            threads=settings.threads,
            pool_size=settings.database_pool_size,
            pool_wait_s=settings.database_pool_wait_s,
            statement_timeout_s=settings.database_timeout_s,
        )
        cache = CatalogCache(store, max_age_s=settings.catalog_max_age_s, stale_s=settings.catalog_stale_s)
    try:
        with observing(settings, store) as observation:
            server = Server(
                service_methods(store, cache),
                settings.listen,
                settings.threads,
                [observation],
                channelz=settings.channelz,
            )
            with DatabaseWatch(cache, server.health, server.services):
                serve_until_signal(
                    server, settings.grace_s, lambda address: click.echo(f"Listening on {address}")
                )
    except (ListenError, MetricsListenError, TracingError) as error:
        fail(str(error))
    finally:
        store.close()


@main.command()
@click.pass_obj
def migrate(settings: Settings) -> None:
    """Bring the database's schema to this release's.

    Creates the SQLite file where there is none. Several may run at once.
    """
    from ridgeline_migrations import current, head, upgrade

    with database_errors():
        before = current(settings.database_url)
        upgrade(settings.database_url)
    if before == head():
        click.echo(f"The schema is current: revision {head()}")
    else:
        click.echo(f"Migrated the schema from {before or 'nothing'} to revision {head()}")


@main.command()
@click.option("--dry-run", is_flag=True, help="Tell what would change, field by field, and write nothing.")
@click.option(
    "--restore",
    "restored",
    multiple=True,
    metavar="NAME",
    help="Bring a built-in back as it ships, whatever users made of it; repeatable.",
)
@click.pass_obj
def seed(settings: Settings, dry_run: bool, restored: tuple[str, ...]) -> None:
    r"""Write the catalog that ships with this release into the database.

    What a user changed or removed stays as it is. May run at any time, and when nothing is new writes
    nothing.

    \b
    Before an upgrade, see what the new release would change, and which entries of yours it ships otherwise:
      ridgeline-server seed --dry-run
    Give up your own version of an entry for the one that ships:
      ridgeline-server seed --restore rtx-a6000
    """
    from ridgeline_server import seed_report
    from ridgeline_server.store.builtin import read_builtin_catalog
    from ridgeline_server.store.seed import seed as seed_catalog
    from ridgeline_server.store.seed import seed_differences
    from ridgeline_server.store.startup import open_catalog

    builtin = read_builtin_catalog()
    found = {name: builtin.ids(name) for name in restored}
    unknown = [name for name, ids in found.items() if not ids]
    if unknown:
        fail(f"this release ships nothing named {', '.join(unknown)}; give the id of a built-in", EXIT_USAGE)
    with database_errors():
        store = open_catalog(settings.database_url)
        try:
            if dry_run:
                for line in seed_report.differences(seed_differences(store, builtin)):
                    click.echo(line)
            ids = frozenset().union(*found.values())
            report = seed_catalog(store, builtin, restored=ids, dry_run=dry_run)
        finally:
            store.close()
    for line in seed_report.summary(report):
        click.echo(line)
    if dry_run:
        click.echo(f"Dry run: nothing was written; the catalog stays at revision {report.revision}")
    else:
        click.echo(f"The catalog is at revision {report.revision}")


@main.command()
@click.pass_obj
def check(settings: Settings) -> None:
    """Tell whether the database can be served: it answers, and its schema is this release's."""
    from ridgeline_server.store.startup import open_catalog

    with database_errors():
        store = open_catalog(settings.database_url)
        try:
            revision = store.revision()
        finally:
            store.close()
    click.echo(f"The database can be served; its catalog is at revision {revision}")


@main.command()
@click.option(
    "--address", metavar="HOST:PORT", help="Ask this server instead of the one at RIDGELINE_LISTEN."
)
@click.pass_obj
def health(settings: Settings, address: str | None) -> None:
    """Ask a running server whether it is SERVING.

    Exits 0 when it is, 1 when it says anything else, 4 when it is silent.
    """
    import grpc
    from grpc_health.v1 import health_pb2

    target = address or _reachable(settings.listen)
    with grpc.insecure_channel(target) as channel:
        try:
            ask = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            response = ask(health_pb2.HealthCheckRequest(), timeout=HEALTH_TIMEOUT_S)
        except grpc.RpcError as error:
            code = error.code().name
            fail(f"The server at {target} does not answer: {code}", EXIT_UNAVAILABLE)
    status: str = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    if response.status != health_pb2.HealthCheckResponse.SERVING:
        fail(f"The server at {target} is {status}")
    click.echo(status)


def _reachable(listen: str) -> str:
    """The address under which this machine reaches a server that listens on all of its addresses."""
    host, _, port = listen.rpartition(":")
    return f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"


@contextmanager
def database_errors() -> Iterator[None]:
    """End the command with one sentence when the database cannot do what is asked."""
    from ridgeline_server.store.errors import (
        DatabaseError,
        DatabaseLockedError,
        DatabaseUnavailableError,
        DatabaseUrlError,
    )

    try:
        yield
    except DatabaseUrlError as error:
        fail(str(error), EXIT_USAGE)
    except (DatabaseUnavailableError, DatabaseLockedError) as error:
        fail(str(error), EXIT_UNAVAILABLE)
    except DatabaseError as error:
        fail(str(error))


def fail(message: str, code: int = EXIT_FAILED) -> NoReturn:
    """End the command with a sentence on standard error."""
    click.echo(f"ridgeline-server: {message}", err=True)
    raise SystemExit(code)


if __name__ == "__main__":
    main(prog_name="ridgeline-server")
