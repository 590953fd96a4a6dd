"""Probes this machine and prints what it found as JSON: python -m ridgeline_server.probe."""

from __future__ import annotations

import argparse
import sys

from ridgeline_server.probe.encoding import PROGRESS, to_json
from ridgeline_server.probe.run import probe_machine


def main() -> None:
    """Read the options, probe, print."""
    parser = argparse.ArgumentParser(prog="python -m ridgeline_server.probe", description=__doc__)
    parser.add_argument("--threads", type=int, help="threads to compute on; all cores unless stated")
    parser.add_argument("--thorough", action="store_true", help="more shapes and rounds: minutes, not one")
    parser.add_argument(
        "--gpu",
        action=argparse.BooleanOptionalAction,
        help="probe a GPU and nothing else, or the processor even where torch sees a GPU",
    )
    options = parser.parse_args()
    try:
        probe = probe_machine(options.threads, options.thorough, options.gpu, _tell)
    except ValueError as error:
        parser.error(str(error))
    sys.stdout.write(to_json(probe) + "\n")


def _tell(done: int, count: int, label: str) -> None:
    """A line of progress, which `child` reads."""
    sys.stderr.write(f"{PROGRESS}{done}/{count} {label}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
