"""Posed loads costed: laid out, evaluated, and their times read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.model import Model
from ridgeline_server.roofline.bounds import Codes, leading_bounds
from ridgeline_server.roofline.evaluation import Evaluation, evaluate, time_factors
from ridgeline_server.roofline.loops import RequestConstants, request_constants
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.posed import Posed
from ridgeline_server.roofline.requests import StepTimes, TimeFactors
from ridgeline_server.roofline.scenario import Scenario, Variant
from ridgeline_server.roofline.steps import Loads

Array = NDArray[np.float64]


class Where(NamedTuple):
    """A load's place: an evaluation, a scenario and a column of it."""

    evaluation: Evaluation
    row: int
    column: int


@dataclass(frozen=True, eq=False)
class Costed:
    """K loads costed beside `running` requests of shape (..., K): expected and ideal times of that shape, and
    the steps that one prompt of a loop goes through.
    """

    posed: Posed
    several: tuple[int, ...]
    evaluations: Sequence[Evaluation]
    times: StepTimes
    ideal_times: StepTimes
    prompt_steps: Array | None

    def where(self, load: int) -> Where:
        """Where a load stands, beside the first number of running requests that was given."""
        for layout, evaluation in zip(self.posed.layouts, self.evaluations, strict=True):
            (at,) = np.nonzero(layout.held == load)
            if len(at):
                return Where(evaluation, int(layout.row[at[0]]), int(layout.column[at[0]]))
        raise IndexError(load)

    def bounds(self, stage: Stage) -> Codes:
        """The bound that holds most of a step of each load's prefill, or of its shown decode step, beside the
        first number of running requests that was given; as BoundCode, (K,).
        """
        parts = []
        for evaluation in self.evaluations:
            if stage is Stage.PREFILL:
                parts.append(leading_bounds(evaluation.prefill))
            else:
                parts.append(leading_bounds(evaluation.decode)[:, evaluation.mean_steps :])
        codes = self.posed.read(parts, self.several).reshape(-1, self.posed.count)
        first: Codes = codes[0]
        return first


def cost_loads(
    model: Model,
    posed: Posed,
    running: Array,
    variants: Sequence[Variant] = (Variant.BEST,),
    *,
    shown: bool = False,
) -> Costed:
    """Costs loads beside running requests (..., K); with `shown` the steps too that are shown of them."""
    several = running.shape[:-1]

    def spread(figure: Array) -> Array:
        return np.broadcast_to(figure, running.shape)

    figures = (running, spread(posed.input_len), spread(posed.output_len), spread(posed.shown_keys))
    flat = [figure.reshape(-1, posed.count) if several else figure for figure in figures]
    evaluations = []
    for layout in posed.layouts:
        batch, input_len, output_len, keys = map(layout.laid, flat)
        loads = Loads(batch, input_len, output_len)
        evaluations.append(
            evaluate(
                model,
                layout.scenarios,
                loads,
                variants,
                shown_keys=keys if shown else None,
                in_loop=posed.load.is_loop,
            )
        )

    def read(parts: Sequence[Array | None]) -> Array | None:
        known = [part for part in parts if part is not None]
        return posed.read(known, several) if known else None

    def times(parts: Sequence[StepTimes]) -> StepTimes:
        prefill_s, added_prefill_s, decode_s = zip(*parts, strict=True)
        return StepTimes(posed.read(prefill_s, several), read(added_prefill_s), posed.read(decode_s, several))

    return Costed(
        posed=posed,
        several=several,
        evaluations=evaluations,
        times=times([evaluation.times for evaluation in evaluations]),
        ideal_times=times([evaluation.ideal_times for evaluation in evaluations]),
        prompt_steps=read([evaluation.prompt_steps for evaluation in evaluations]),
    )


def factors_of(model: Model, posed: Posed, variants: Sequence[Variant]) -> TimeFactors:
    """What whole times are multiplied by, each of shape (V, K)."""

    def factors(scenario: Scenario) -> Sequence[TimeFactors]:
        return time_factors(model, scenario, variants, in_loop=posed.load.is_loop)

    return TimeFactors(*posed.of_scenarios(factors).swapaxes(0, 1))


def request_constants_of(posed: Posed) -> RequestConstants:
    """What engines add to the steps of requests, each of shape (K,)."""
    return RequestConstants(*posed.of_scenarios(request_constants))
