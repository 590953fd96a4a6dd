"""Many loads of one kind, each posed to a scenario: their figures as arrays, and how they are laid out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.roofline.steps import tokens_of_steps

Array = NDArray[np.float64]
Places = NDArray[np.intp]
Number = TypeVar("Number", np.float64, np.intp)

MOST_COLUMNS = 512
"""Columns of an evaluation up to which rows are filled up to the longest one: that costs less than another
evaluation.
"""


class Layout(NamedTuple):
    """Loads laid out for an evaluation: S scenarios in N columns. `loads` (S, N) tells which load stands
    where, the last one of a shorter row again and again; the loads `held` stand at `row` and `column`.
    """

    scenarios: Sequence[Scenario]
    loads: Places
    held: Places
    row: Places
    column: Places

    def laid(self, figures: Array) -> Array:
        """Figures of shape (K,) as (S, N), or of shape (C, K) as (S, C x N): what each load has several of
        lies side by side.
        """
        if figures.ndim == 1:
            return figures[self.loads]
        return figures[:, self.loads].transpose(1, 0, 2).reshape(len(self.scenarios), -1)

    def read(self, figures: NDArray[Number], several: tuple[int, ...] = ()) -> NDArray[Number]:
        """What an evaluation says, (S, several x N), of the loads that are held: (*several, K)."""
        if several:
            figures = figures.reshape(*figures.shape[:-1], *several, self.loads.shape[1])
        inner = range(1, figures.ndim - 1)
        found: NDArray[Number] = figures.transpose(*inner, 0, figures.ndim - 1)[..., self.row, self.column]
        return found


@dataclass(frozen=True, eq=False)
class Posed:
    """K loads of one kind on S scenarios that share a placement. `on` (K,) tells the scenario of each; the
    other arrays, of that shape too, are a workload's figures. `requests_per_s` are those of an open loop,
    whose `batch` means nothing.
    """

    scenarios: Sequence[Scenario]
    on: Places
    load: Load
    batch: Array
    input_len: Array
    output_len: Array
    shown_keys: Array
    requests_per_s: Array

    @classmethod
    def of(cls, scenarios: Sequence[Scenario], workloads: Sequence[Workload]) -> Posed:
        """Workloads of one kind, each on the scenario at its place."""
        # Equal devices may differ in maker and name, which what is told of their memory quotes.
        numbers: dict[tuple[Scenario, str, str], int] = {}
        keys = [(scenario, scenario.hardware.vendor, scenario.hardware.name) for scenario in scenarios]
        on = [numbers.setdefault(key, len(numbers)) for key in keys]
        figures = np.array(
            [
                (w.batch, w.input_len, w.output_len, w.shown_decode_keys, w.request_rate or 0.0)
                for w in workloads
            ],
            dtype=np.float64,
        )
        return cls(
            [scenario for scenario, *_ in numbers],
            np.array(on, dtype=np.intp),
            workloads[0].load,
            *figures.T.copy(),
        )

    def chosen(self, loads: Places) -> Posed:
        """Some of the loads."""
        figures = (self.batch, self.input_len, self.output_len, self.shown_keys, self.requests_per_s)
        return Posed(self.scenarios, self.on[loads], self.load, *(each[loads] for each in figures))

    @property
    def count(self) -> int:
        """How many loads there are."""
        return len(self.on)

    @property
    def total_len(self) -> Array:
        """Tokens of a request at its end."""
        return self.input_len + self.output_len

    @property
    def deployment(self) -> Deployment:
        """One of the deployments, which share their placement."""
        return self.scenarios[0].deployment

    @property
    def parallel(self) -> Parallelism:
        """How all of them spread the model."""
        return self.deployment.parallel

    @property
    def groups(self) -> int:
        """Devices, or groups of them, that each have requests of their own."""
        return self.parallel.dp * self.parallel.attention_dp

    def of_scenarios(self, figure: Callable[[Scenario], object]) -> Array:
        """A figure of each load's scenario, or several, with the loads last."""
        found = np.array([figure(scenario) for scenario in self.scenarios], dtype=np.float64)[self.on]
        return found if found.ndim == 1 else found.transpose(*range(1, found.ndim), 0)

    @cached_property
    def tokens_per_step(self) -> Array:
        """Tokens that a decode step of each load gives a sequence."""
        given = self.of_scenarios(lambda scenario: scenario.deployment.tokens_per_step)
        return tokens_of_steps(given, self.output_len)

    @cached_property
    def layouts(self) -> list[Layout]:
        """How the loads are evaluated: those of a scenario in a row. Where much would have to be filled in,
        only rows of about the same length together.
        """
        counts = np.bincount(self.on, minlength=len(self.scenarios))
        order = np.argsort(self.on, kind="stable")
        rows = np.split(order, np.cumsum(counts)[:-1])
        used = [number for number in range(len(rows)) if counts[number]]
        longest = int(counts.max())
        if len(used) * longest <= MOST_COLUMNS:
            return [self._layout(used, rows)]
        alike: dict[int, list[int]] = {}
        for number in used:
            alike.setdefault(int(counts[number]).bit_length(), []).append(number)
        return [self._layout(numbers, rows) for numbers in alike.values()]

    def read(self, parts: Sequence[NDArray[Number]], several: tuple[int, ...] = ()) -> NDArray[Number]:
        """What evaluations of all layouts say, in the order of the loads: see Layout.read."""
        read: list[NDArray[Number]] = [
            layout.read(part, several) for layout, part in zip(self.layouts, parts, strict=True)
        ]
        found: NDArray[Number] = np.empty((*read[0].shape[:-1], self.count), dtype=read[0].dtype)
        for layout, part in zip(self.layouts, read, strict=True):
            found[..., layout.held] = part
        return found

    def _layout(self, numbers: Sequence[int], rows: Sequence[Places]) -> Layout:
        longest = max(len(rows[number]) for number in numbers)
        loads = np.empty((len(numbers), longest), dtype=np.intp)
        for row, number in enumerate(numbers):
            held = rows[number]
            loads[row, : len(held)] = held
            loads[row, len(held) :] = held[-1]
        row_of = np.repeat(np.arange(len(numbers)), [len(rows[number]) for number in numbers])
        column_of = np.concatenate([np.arange(len(rows[number])) for number in numbers])
        return Layout(
            [self.scenarios[number] for number in numbers],
            loads,
            loads[row_of, column_of],
            row_of,
            column_of,
        )
