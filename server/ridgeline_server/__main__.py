"""The command `ridgeline-server`: serve, migrate, seed, check, health, token."""

from __future__ import annotations

import dataclasses
import json

import click

from ridgeline_server.command_errors import EXIT_UNAVAILABLE, EXIT_USAGE, database_errors, fail
from ridgeline_server.settings import FILE_VARIABLE, MAX_WORKERS, PREFIX, Settings, SettingsError
from ridgeline_server.token_command import token

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
@click.option(
    "--workers",
    type=click.IntRange(1, MAX_WORKERS),
    metavar="N",
    help="Processes that share the port, in place of RIDGELINE_WORKERS.",
)
@click.pass_obj
def serve(settings: Settings, workers: int | None) -> None:
    """Answer calls until SIGTERM or SIGINT.

    A stop finishes the calls in flight. The database must have been migrated; what it lacks is told.
    Beside its own services the server answers grpc.health.v1 and reflection.

    Several workers use several cores: each is a process with threads and connections of its own. One that
    dies is started again; when one keeps dying the command ends.
    """
    from ridgeline_server.app import ListenError
    from ridgeline_server.observability.exposition import MetricsListenError
    from ridgeline_server.observability.tracing import TracingError
    from ridgeline_server.security.certificates import CertificateError
    from ridgeline_server.serving import serve as serve_here
    from ridgeline_server.supervisor import WorkersFailedError, supervise

    refuse_exposure(settings)
    settings = settings if workers is None else settings.model_copy(update={"workers": workers})
    run = serve_here if settings.workers == 1 else supervise
    try:
        with database_errors():
            run(settings, lambda address: click.echo(f"Listening on {address}"))
    except (ListenError, MetricsListenError, TracingError, CertificateError, WorkersFailedError) as error:
        fail(str(error))


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
    """Write the catalog that ships with this release into the database.

    What a user changed or removed stays as it is. May run at any time, and when nothing is new writes
    nothing.

    \b
    Before an upgrade, see what the new release would change, and which entries of yours it ships otherwise:
      ridgeline-server seed --dry-run
    Give up your own version of an entry for the one that ships:
      ridgeline-server seed --restore rtx-a6000
    """  # noqa: D301  # click looks for the control character
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
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="A line for each finding, or one JSON array of objects.",
)
@click.pass_obj
def check(settings: Settings, output: str) -> None:
    """Look a deployment over: tell what keeps the server from serving, and what will trouble it.

    Looked at are the database, its schema, its catalog and its connections, and the address and the cores
    of this machine. Errors go to standard error. The exit code is that of the first error; warnings leave
    it at 0.
    """
    from ridgeline_server.checkup.all_checks import exit_code, look_over
    from ridgeline_server.checkup.finding import Severity

    findings = list(look_over(settings))
    if output == "json":
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    for finding in findings if output == "text" else ():
        if finding.severity is Severity.ERROR:
            click.echo(f"ridgeline-server: {finding.check}: {finding.sentence}", err=True)
        else:
            click.echo(f"{finding.severity:8} {finding.check:12} {finding.sentence}")
    raise SystemExit(exit_code(findings))


@main.command()
@click.option(
    "--address", metavar="HOST:PORT", help="Ask this server instead of the one at RIDGELINE_LISTEN."
)
@click.pass_obj
def health(settings: Settings, address: str | None) -> None:
    """Ask a running server whether it is SERVING.

    Exits 0 when it is, 1 when it says anything else, 4 when it is silent.
    """
    from ridgeline_server.health_client import ProbeError, probe, reachable

    target = address or reachable(settings.listen)
    try:
        status, serving = probe(target, settings)
    except ProbeError as error:
        fail(f"The server at {target} does not answer: {error}", EXIT_UNAVAILABLE)
    if not serving:
        fail(f"The server at {target} is {status}")
    click.echo(status)


def refuse_exposure(settings: Settings) -> None:
    """End the command where settings would let others reach the service in a way that nobody can mean."""
    from ridgeline_server.security.exposure import exposure_problems

    problems = list(exposure_problems(settings))
    if problems:
        fail("\n".join(problems), EXIT_USAGE)


main.add_command(token)

if __name__ == "__main__":
    main(prog_name="ridgeline-server")
