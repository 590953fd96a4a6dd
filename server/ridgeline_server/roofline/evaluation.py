"""Steps of loads, costed for many deployments at once: prefills, decode steps, what they add to others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.efficiency import Estimate, FurtherConstant, OperatorClass
from ridgeline_server.domain.errors import MissingProfileError
from ridgeline_server.domain.model import Model
from ridgeline_server.roofline.constants import UsedProfile, time_factor
from ridgeline_server.roofline.cost import Cost, cost_steps
from ridgeline_server.roofline.drafts import draft_deployment, draft_of
from ridgeline_server.roofline.loops import added_prefill
from ridgeline_server.roofline.operators.layer import Placement, Stage
from ridgeline_server.roofline.operators.table import operator_table
from ridgeline_server.roofline.operators.variables import joined
from ridgeline_server.roofline.requests import StepTimes, TimeFactors
from ridgeline_server.roofline.scenario import LEVELS, Scenario, Variant
from ridgeline_server.roofline.steps import (
    Attended,
    Loads,
    attended,
    decode,
    prefill,
    prompts_at_once,
    tokens_of_steps,
    tokens_per_step,
)

Array = NDArray[np.float64]

FACTOR_ENDS = {Variant.ALL_FAST: "low", Variant.ALL_SLOW: "high"}
"""Which end of a time factor a variant takes."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """N loads under S scenarios whose operators are the same: costs of one prefill step, and of decode steps:
    the N mean ones, then as many that were asked to be shown. `times`, `ideal_times` and the `prompt_steps`
    that one prompt of a loop goes through have shape (S, N). `factors` are those of each scenario at each
    variant, which times leave out: ranges of whole times cost nothing.
    """

    prefill: Cost
    decode: Cost
    times: StepTimes
    ideal_times: StepTimes
    prompt_steps: Array | None
    factors: Sequence[Sequence[TimeFactors]]

    @property
    def mean_steps(self) -> int:
        """How many mean decode steps stand before those that are shown."""
        return int(self.times.decode_s.shape[-1])


def evaluate(
    model: Model,
    scenarios: Sequence[Scenario],
    loads: Loads,
    variants: Sequence[Variant] = LEVELS,
    *,
    shown_keys: Array | None = None,
    in_loop: bool = False,
) -> Evaluation:
    """Costs N loads under S scenarios in one evaluation.

    The scenarios share parallelism and attention kernel, hence an operator table, and all or none has
    profiles. `shown_keys`, of the loads' shape, names a further decode step for each load. In a loop the
    prefill is that of one prompt, and what it adds to running decodes is costed too.
    """
    deployments = [scenario.deployment for scenario in scenarios]
    shape = (len(scenarios), loads.batch.shape[1])
    sequences, groups = (
        _rows(figure, shape) for figure in attended(deployments[0], loads.batch, in_loop=in_loop)
    )
    input_len = _rows(loads.input_len, shape)
    tables = {stage: operator_table(model, scenarios[0].placement(stage)) for stage in Stage}
    prompts = prefill(deployments, prompts_at_once(sequences, in_loop=in_loop), input_len, groups)
    cost = cost_steps(tables[Stage.PREFILL], scenarios, Stage.PREFILL, prompts.steps)
    span = _rows(np.maximum(loads.output_len - 2, 0.0), shape)
    steps = decode(deployments, sequences, input_len + 1, span, groups)
    if shown_keys is not None:
        keys = _rows(shown_keys, shape)
        steps = joined(steps, decode(deployments, sequences, keys, np.zeros(shape), groups))
    decode_cost = cost_steps(tables[Stage.DECODE], scenarios, Stage.DECODE, steps)
    width = shape[1]
    step_s, ideal_step_s = decode_cost.expected_step_s[:, :width], decode_cost.ideal_step_s[:, :width]
    if any(d.speculation is not None for d in deployments):
        drafted_s, ideal_drafted_s = _drafting(model, scenarios, Attended(sequences, groups), input_len, span)
        step_s, ideal_step_s = step_s + drafted_s, ideal_step_s + ideal_drafted_s
    added_s = ideal_added_s = prompt_steps = None
    if in_loop:
        running = Loads(sequences, input_len, _rows(loads.output_len, shape))
        added_s, ideal_added_s, prompt_steps = added_prefill(
            tables[Stage.PREFILL], scenarios, running, groups, (step_s, ideal_step_s)
        )
    given = tokens_of_steps(tokens_per_step(deployments), loads.output_len)
    return Evaluation(
        prefill=cost,
        decode=decode_cost,
        times=StepTimes(cost.expected_step_s * prompts.count, added_s, step_s / given),
        ideal_times=StepTimes(cost.ideal_step_s * prompts.count, ideal_added_s, ideal_step_s / given),
        prompt_steps=prompt_steps,
        factors=[time_factors(model, each, variants, in_loop=in_loop) for each in scenarios],
    )


def time_factors(
    model: Model, scenario: Scenario, variants: Sequence[Variant], *, in_loop: bool
) -> Sequence[TimeFactors]:
    """What whole times are multiplied by at each variant."""
    if scenario.profiles is None:
        return [TimeFactors()]
    first_token = OperatorClass.FIRST_TOKEN_TIME if in_loop else OperatorClass.PREFILL_TIME
    classes = (OperatorClass.PREFILL_TIME, OperatorClass.DECODE_TIME, first_token)
    used = tuple(time_factor(scenario, model, operator_class) for operator_class in classes)
    return _factors(classes, used, tuple(variants))


@lru_cache(maxsize=256)
def _factors(
    classes: tuple[OperatorClass, ...], used: tuple[UsedProfile | None, ...], variants: tuple[Variant, ...]
) -> Sequence[TimeFactors]:
    """Raises MissingProfileError where a range is asked for and the catalog has none."""
    ends = []
    for operator_class, profile in zip(classes, used, strict=True):
        if profile is None and not FACTOR_ENDS.keys().isdisjoint(variants):
            raise MissingProfileError(operator_class)
        factor = ONE if profile is None else profile.profile.constant(FurtherConstant.TIME_FACTOR)
        ends.append([getattr(factor, FACTOR_ENDS.get(variant, "value")) for variant in variants])
    return tuple(TimeFactors(*of_variant) for of_variant in zip(*ends, strict=True))


ONE = Estimate(1.0, 1.0, 1.0)


def _rows(figures: Array, shape: tuple[int, int]) -> Array:
    """Figures of loads, one row for each scenario."""
    return figures if figures.shape == shape else np.broadcast_to(figures, shape)


def _drafting(
    model: Model,
    scenarios: Sequence[Scenario],
    running: Attended,
    input_len: Array,
    span: Array,
) -> tuple[Array, Array]:
    """Seconds that drafting adds to a decode step, expected and ideal, (S, N)."""
    expected, ideal = np.zeros(span.shape), np.zeros(span.shape)
    alike: dict[tuple[Model, Placement], list[int]] = {}
    served: dict[int, Scenario] = {}
    for index, scenario in enumerate(scenarios):
        draft = draft_of(model, scenario.deployment)
        if draft is not None:
            served[index] = replace(scenario, deployment=draft_deployment(scenario.deployment, draft))
            alike.setdefault((draft, served[index].placement(Stage.DECODE)), []).append(index)
    for (draft, placement), rows in alike.items():
        chosen = [served[row] for row in rows]
        steps = decode(
            [each.deployment for each in chosen],
            running.sequences[rows],
            input_len[rows] + 1,
            span[rows],
            running.groups[rows],
        )
        cost = cost_steps(operator_table(draft, placement), chosen, Stage.DECODE, steps)
        tokens = np.array([_drafted(scenarios[row]) for row in rows])
        expected[rows] = tokens[:, None] * cost.expected_step_s
        ideal[rows] = tokens[:, None] * cost.ideal_step_s
    return expected, ideal


def _drafted(scenario: Scenario) -> int:
    """Tokens that are drafted for each step."""
    speculation = scenario.deployment.speculation
    return 0 if speculation is None else speculation.tokens
