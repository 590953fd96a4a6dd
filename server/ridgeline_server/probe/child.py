"""Probes in a process of its own, where BLAS gets its threads and the caller's memory stays as it is."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from ridgeline_server.probe.encoding import PROGRESS, from_json
from ridgeline_server.probe.report import Probe
from ridgeline_server.probe.run import Told

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""What BLAS libraries and OpenMP read their threads from when they are loaded."""


def environment(threads: int | None, base: Mapping[str, str]) -> dict[str, str]:
    """`base` with the number of threads, as it is for None."""
    return {**base, **({} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads)))}


def probe_in_child(
    threads: int | None = None,
    thorough: bool = False,
    gpu: bool | None = None,
    told: Told = lambda _done, _count, _label: None,
) -> Probe:
    """What `run.probe_machine` finds, in a process that is gone afterwards.

    Raises ValueError for what this machine does not have, and RuntimeError with the process's last words
    where it fails.
    """
    command = [sys.executable, "-m", "ridgeline_server.probe"]
    command += [] if threads is None else ["--threads", str(threads)]
    command += ["--thorough"] if thorough else []
    command += [] if gpu is None else ["--gpu" if gpu else "--no-gpu"]
    # What this process imports from must be what the child imports from.
    base = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    last = "it said nothing"
    # A pipe for both outputs could fill while the other is read.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as answer:
        with subprocess.Popen(
            command, stdout=answer, stderr=subprocess.PIPE, text=True, env=environment(threads, base)
        ) as child:
            assert child.stderr is not None
            try:
                for line in child.stderr:
                    if line.startswith(PROGRESS):
                        _pass_on(line, told)
                    else:
                        last = line.strip() or last
            except BaseException:
                child.kill()
                raise
        if child.returncode == WRONG_OPTIONS:
            raise ValueError(last.partition("error: ")[2] or last)
        if child.returncode != 0:
            raise RuntimeError(f"the probe failed with exit status {child.returncode}: {last}")
        answer.seek(0)
        return from_json(answer.read())


WRONG_OPTIONS = 2
"""The exit status with which argparse refuses."""


def _pass_on(line: str, told: Told) -> None:
    numbers, _, label = line.removeprefix(PROGRESS).strip().partition(" ")
    done, _, count = numbers.partition("/")
    told(int(done), int(count), label)
