"""What the runners share: they answer the questions that they are sent, one timed round for every line.

A runner is executed by the Python of the virtual environment of the tool that it times, so this takes the
standard library alone. The first line on standard input is a JSON list of questions, [batch, input tokens,
output tokens] each; the reply tells the tool's version and its answer to the first question. Every further
line asks for a round of the other questions; the reply tells how many it answered, its wall and CPU time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import NamedTuple


class Question(NamedTuple):
    """A load: a batch of requests of equal lengths."""

    batch: int
    input_len: int
    output_len: int


class Answer(NamedTuple):
    """Seconds of the prefill of the batch and of one decode step."""

    prefill_s: float
    decode_s: float


def _nothing() -> None:
    pass


def serve(
    distribution: str,
    ask: Callable[[Question], Answer],
    *,
    every: int = 1,
    tidy: Callable[[], None] = _nothing,
) -> None:
    """Answer rounds until standard input ends; a round asks one question in `every`, each time others.

    `tidy` is called after a round, untimed.
    """
    replies = os.fdopen(os.dup(1), "w")
    # Whatever the tool prints must not get between the replies.
    os.dup2(2, 1)
    example, *questions = [Question(*question) for question in json.loads(sys.stdin.readline())]
    first = ask(example)
    tidy()

    def reply(**values: object) -> None:
        replies.write(json.dumps(values) + "\n")
        replies.flush()

    reply(version=version(distribution), **{name: float(value) for name, value in first._asdict().items()})
    for number, _ in enumerate(sys.stdin):
        asked = questions[number % every :: every]
        wall, cpu = time.perf_counter(), time.process_time()
        for question in asked:
            ask(question)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        tidy()
        reply(asked=len(asked), wall_s=wall, cpu_s=cpu)
