"""Turns analyses along one variable into a curve figure: latency, throughput, memory, and the bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ridgeline.plots import units, words
from ridgeline.v1 import common_pb2, types_pb2

if TYPE_CHECKING:
    from ridgeline.v1.analysis_service_pb2 import AnalyzeResponse, Metric


@dataclass(frozen=True)
class Variable:
    """What varies along the x axis. `argument` is its name in `Client.analyze`."""

    name: str
    argument: str
    axis: str
    default_points: tuple[int, ...]


VARIABLES = {
    variable.name: variable
    for variable in (
        Variable("batch", "batch", "batch, sequences", tuple(2**power for power in range(9))),
        Variable(
            "concurrency",
            "concurrency",
            "concurrency, requests in flight",
            tuple(2**power for power in range(9)),
        ),
        Variable("context", "input_len", "prompt length, tokens", tuple(2**power for power in range(8, 18))),
        Variable("output", "output_len", "generated tokens", tuple(2**power for power in range(4, 13))),
    )
}


@dataclass(frozen=True)
class Run:
    """One deployment's analyses along the variable, in ascending order of `values`."""

    label: str
    values: tuple[int, ...]
    answers: tuple[AnalyzeResponse, ...]


@dataclass(frozen=True)
class Line:
    """One metric of one deployment. `expected`, `low` and `high` are empty on the ideal basis.

    `bounds` names what limits the metric's stage at each value; `fits` tells whether the memory suffices.
    """

    label: str
    values: tuple[int, ...]
    ideal: tuple[float, ...]
    expected: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    bounds: tuple[str, ...]
    fits: tuple[bool, ...]

    @property
    def leading(self) -> tuple[float, ...]:
        """The figures on the answer's basis."""
        return self.expected or self.ideal

    @property
    def bound_starts(self) -> list[int]:
        """The first position, and those from which another bound holds than at the position before."""
        return [i for i in range(len(self.bounds)) if i == 0 or self.bounds[i] != self.bounds[i - 1]]

    @property
    def fitting(self) -> int:
        """How many values, from the first on, fit in memory."""
        return self.fits.index(False) if False in self.fits else len(self.fits)


@dataclass(frozen=True)
class Panel:
    """One metric of all deployments. `stage` is the one whose bound the lines carry."""

    title: str
    stage: str
    lines: tuple[Line, ...]

    @property
    def said(self) -> str:
        """What limits the stage along the first line: `decode memory-bound, compute-bound from 64`."""
        line = self.lines[0]
        first, *later = line.bound_starts
        changes = [f"{words.adjective(line.bounds[i])} from {line.values[i]:,}" for i in later]
        return ", ".join([f"{self.stage} {words.adjective(line.bounds[first])}", *changes])


@dataclass(frozen=True)
class Stack:
    """What occupies the memory of one deployment, GiB by part, against what can be used."""

    label: str
    values: tuple[int, ...]
    parts: dict[str, tuple[float, ...]]
    usable_gib: float

    @property
    def totals(self) -> list[float]:
        """GiB in all at each value."""
        return [sum(sizes) for sizes in zip(*self.parts.values(), strict=True)]


@dataclass(frozen=True)
class CurveFigure:
    """All that a curve plot shows. `remarks` are sentences beneath it."""

    title: str
    subtitle: str
    variable: Variable
    ideal: bool
    panels: tuple[Panel, ...]
    stacks: tuple[Stack, ...]
    remarks: tuple[str, ...]


def build(variable: Variable, runs: Sequence[Run]) -> CurveFigure:
    """The figure of one or more deployments."""
    first = runs[0].answers[0]
    ideal = words.is_ideal(first)
    subtitle = _fixed_load(first.workload, variable) + ("; ideal times (datasheet roofline)" if ideal else "")
    if len(runs) == 1:
        subtitle += f"; {words.served(first.deployment)}"
    subject = f"{words.model_name(first)} on {words.hardware_name(first)}"
    return CurveFigure(
        title=f"How do latency, throughput and memory of {subject} change with "
        f"{variable.axis.partition(',')[0]}?",
        subtitle=subtitle,
        variable=variable,
        ideal=ideal,
        panels=(
            _panel("Time to first token, ms", types_pb2.STAGE_PREFILL, runs, lambda a: a.metrics.ttft_ms),
            _panel("Time per output token, ms", types_pb2.STAGE_DECODE, runs, lambda a: a.metrics.tpot_ms),
            _panel(
                "Output tokens per second",
                types_pb2.STAGE_DECODE,
                runs,
                lambda a: a.metrics.output_tokens_per_s,
            ),
        ),
        stacks=tuple(_stack(run) for run in runs),
        remarks=tuple(_remarks(variable, runs)),
    )


def _fixed_load(workload: common_pb2.Workload, variable: Variable) -> str:
    """The load without what varies."""
    said = {
        words.load_kind(workload): words.requests(workload),
        "input_len": f"{workload.input_len:,} tokens in",
        "output_len": f"{workload.output_len:,} out",
    }
    return ", ".join(text for argument, text in said.items() if argument != variable.argument)


def _panel(
    title: str,
    stage: types_pb2.Stage.ValueType,
    runs: Sequence[Run],
    metric: Callable[[AnalyzeResponse], Metric],
) -> Panel:
    lines = []
    for run in runs:
        figures = [metric(answer) for answer in run.answers]
        predicted = not words.is_ideal(run.answers[0])
        lines.append(
            Line(
                label=run.label,
                values=run.values,
                ideal=tuple(figure.ideal for figure in figures),
                expected=tuple(figure.expected for figure in figures) if predicted else (),
                low=tuple(figure.low for figure in figures) if predicted else (),
                high=tuple(figure.high for figure in figures) if predicted else (),
                bounds=tuple(_bound(answer, stage) for answer in run.answers),
                fits=tuple(answer.memory.fits for answer in run.answers),
            )
        )
    return Panel(title, words.stage(stage), tuple(lines))


def _bound(answer: AnalyzeResponse, stage: types_pb2.Stage.ValueType) -> str:
    return next(words.bound(analysis.bound) for analysis in answer.stages if analysis.stage == stage)


def _stack(run: Run) -> Stack:
    memories = [answer.memory for answer in run.answers]
    return Stack(
        label=run.label,
        values=run.values,
        parts={
            "weights": tuple(memory.weights_bytes / units.GIB for memory in memories),
            "KV cache": tuple(memory.kv_cache_bytes / units.GIB for memory in memories),
            "activations": tuple(memory.activations_bytes / units.GIB for memory in memories),
            "overhead": tuple(memory.overhead_bytes / units.GIB for memory in memories),
        },
        usable_gib=memories[0].usable_bytes / units.GIB,
    )


def _remarks(variable: Variable, runs: Sequence[Run]) -> list[str]:
    """What the lines do not say by themselves: where the memory is full and where the context ends."""
    remarks: list[str] = []
    for run in runs:
        said = f"{run.label}: " if len(runs) > 1 else ""
        full = next(
            (v for v, answer in zip(run.values, run.answers, strict=True) if not answer.memory.fits), None
        )
        if full is not None and variable.name in ("batch", "concurrency") and run.answers[0].memory.max_batch:
            remarks.append(
                f"{said}the largest {variable.name} that fits is {run.answers[0].memory.max_batch:,}."
            )
        elif full is not None:
            remarks.append(f"{said}does not fit from {full:,} on.")
    beyond = next(
        (
            value
            for run in runs
            for value, answer in zip(run.values, run.answers, strict=True)
            if any(notice.code == common_pb2.NOTICE_CODE_CONTEXT_EXCEEDED for notice in answer.notices)
        ),
        None,
    )
    if beyond is not None:
        remarks.append(f"From {beyond:,} on, requests are longer than the model's context: extrapolation.")
    return [remark if len(runs) > 1 else remark[:1].upper() + remark[1:] for remark in remarks]
