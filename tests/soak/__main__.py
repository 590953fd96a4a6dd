"""Runs the soaks at their full size and prints what they came to: `python -m tests.soak [WHAT] [options]`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator

from tests.soak import fuzz, kills, mixed, requests, writers
from tests.soak.databases import KINDS, fresh_database, seeded

SEED = 20_261_127


def runs(arguments: argparse.Namespace) -> Iterator[tuple[str, Callable[[str], object]]]:
    """What is to be run, each on a database of its own."""
    what: str = arguments.what
    if what in ("all", "writers"):
        for servers in (1, 4):
            plan = writers.Plan(updates=arguments.count or writers.Plan.updates, servers=servers)
            yield "writers", lambda url, plan=plan: writers.soak(url, plan)  # type: ignore[misc]
    if what in ("all", "kills"):
        yield "kills", lambda url: kills.soak(url, kills.Plan(kills=arguments.count or kills.Plan.kills))
    if what in ("all", "mixed"):
        of_mixed = mixed.Plan(duration_s=arguments.count or mixed.Plan.duration_s)
        yield "mixed", lambda url: mixed.soak(seeded(url), of_mixed)
    if what in ("all", "requests"):
        start: int | None = arguments.only
        number = (arguments.count or requests.INPUTS) if start is None else 1
        yield "requests", lambda url: requests.soak(seeded(url), arguments.seed, number, start or 0)
    if what in ("all", "fuzz"):
        first: int | None = arguments.only
        count = (arguments.count or fuzz.INPUTS) if first is None else 1
        yield "fuzz", lambda url: fuzz.soak(url, seed=arguments.seed, count=count, first=first or 0)


def main() -> None:
    """Exits 1 when an input or a request failed; whatever else is lost raises."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument(
        "what", nargs="?", default="all", choices=("all", "writers", "kills", "mixed", "requests", "fuzz")
    )
    parser.add_argument("--database", choices=KINDS, help="one of the databases instead of each in turn")
    parser.add_argument(
        "--count", type=int, help="updates, kills, seconds, requests or inputs, not the full number"
    )
    parser.add_argument("--seed", type=int, default=SEED, help="another run of the fuzz or the requests")
    parser.add_argument("--only", type=int, metavar="N", help="the N-th input or request alone")
    arguments = parser.parse_args()
    failed = False
    for kind in [arguments.database] if arguments.database else KINDS:
        for name, run in runs(arguments):
            with fresh_database(kind) as url:
                start = time.monotonic()
                found = run(url)
                print(f"{name}, {kind}, {time.monotonic() - start:.0f} s: {found}", flush=True)
            if isinstance(found, fuzz.Report | requests.Report):
                failed = failed or bool(found.failures)
                print(*found.failures, sep="\n", end="\n" if found.failures else "", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
