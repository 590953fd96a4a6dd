"""Probes in a process of its own, where BLAS gets its threads and the caller's memory stays as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from ridgeline_server.probe.encoding import from_json
from ridgeline_server.probe.report import Probe

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""What BLAS libraries and OpenMP read their threads from when they are loaded."""


def environment(threads: int | None, base: Mapping[str, str]) -> dict[str, str]:
    """`base` with the number of threads, as it is for None."""
    return {**base, **({} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads)))}


def probe_in_child(threads: int | None = None, thorough: bool = False, gpu: bool = True) -> Probe:
    """What `run.probe_machine` finds, in a process that is gone afterwards.

    Raises RuntimeError with the process's last words where it fails.
    """
    command = [sys.executable, "-m", "ridgeline_server.probe"]
    command += [] if threads is None else ["--threads", str(threads)]
    command += ["--thorough"] if thorough else []
    command += [] if gpu else ["--no-gpu"]
    # What this process imports from must be what the child imports from.
    base = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment(threads, base)
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise RuntimeError(f"the probe failed with exit status {done.returncode}: {last[0]}")
    return from_json(done.stdout)
