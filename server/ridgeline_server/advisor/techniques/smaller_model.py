"""A smaller model: a sibling with fewer parameters, such as a distilled or a pruned one, in its place.

What it does: The same deployment serves another checkpoint, one of those that the question allows or else of
the model's own line in the catalog. Of the smaller ones that fit, the largest that keeps the SLO and gains
over 3% by the goal is proposed: it keeps as much of the model's ability as the limits leave room for. Where
none keeps the SLO it is the one that is best by the goal.

When it pays: Where a step waits for the weights or their arithmetic, which shrink with the parameters, and
the smaller model answers well enough: evaluate both on your task first.

When it does not: Where answers need the larger model. A smaller one answers differently, and by how much no
figure of the catalog tells: it is at most considered, and enters no plan. Ask about the smaller model by its
name to have plans for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ridgeline_server.advisor.effects import gain_on
from ridgeline_server.advisor.results import Effort, Goal, ReasonCode, Verdict
from ridgeline_server.advisor.technique import (
    GAIN,
    Explanation,
    Facts,
    NotApplicable,
    Outcome,
    Proposal,
    Technique,
)
from ridgeline_server.advisor.verdict import OBJECTIVE
from ridgeline_server.advisor.wording import change
from ridgeline_server.domain.gates import check_parallelism, check_techniques
from ridgeline_server.domain.model import Model
from ridgeline_server.roofline.metrics import meets_slo
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.serving import Simulation
from ridgeline_server.roofline.wording import gib

LARGEST = "the largest that keeps the limits and gains"
BEST = "the best by the goal, since none keeps the limits and gains"


def propose(facts: Facts) -> Proposal | NotApplicable:
    """The largest smaller model that keeps the SLO and gains, else the one that is best by the goal."""
    allowed = facts.freedom.models
    if allowed is None:
        return NotApplicable(
            ReasonCode.MODEL_FIXED,
            f"the question keeps {facts.model.name} with its {_billions(facts.model)} parameters.",
            "Allow a change of the model to have smaller ones compared.",
        )
    refused = {model.id: list(_refusals(facts, model)) for model in allowed}
    possible = [model for model in allowed if not refused[model.id]]
    if not possible:
        reasons = [reason for each in refused.values() for reason in each]
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"of the {len(allowed):,} models that may be taken none can serve in its place: {reasons[0]}."
            if reasons
            else f"the catalog has no smaller model of the line of {facts.model.name}.",
            "Name a smaller model to have it compared.",
        )
    simulated = [(model, _simulated(facts, model)) for model in possible]
    fitting = [(model, each) for model, each in simulated if each.memory.fits]
    if not fitting:
        least = min((each.memory for _, each in simulated), key=lambda memory: memory.total_bytes)
        return NotApplicable(
            ReasonCode.MEMORY_LIMIT,
            f"of the {len(possible):,} smaller models none fits either: the least takes "
            f"{gib(least.total_bytes)} of {gib(least.usable_bytes)}.",
            "Fewer bits for weights or KV cache, or more devices, make room.",
        )
    (today,) = facts.places([facts.candidate()])
    ideal, metric = facts.scenario.profiles is None, OBJECTIVE[facts.goal]
    gains = {model.id: gain_on(metric, today.simulation, each) for model, each in fitting}
    keeping = [model for model, each in fitting if meets_slo(each, ideal=ideal) and gains[model.id] > GAIN]
    chosen = (
        max(keeping, key=lambda model: model.parameter_count)
        if keeping
        else max((model for model, _ in fitting), key=lambda model: gains[model.id])
    )
    return Proposal(
        facts.workload,
        facts.deployment,
        note=f"of {len(possible):,} smaller models {len(fitting):,} fit, and it is "
        f"{LARGEST if keeping else BEST}",
        at_most=Verdict.CONSIDER,
        model=chosen,
        metric=metric,
    )


def _refusals(facts: Facts, model: Model) -> Iterator[str]:
    """Why a model cannot take the place of today's, in clauses."""
    deployment, longest = facts.deployment, model.max_context_len
    if model.parameter_count >= facts.model.parameter_count:
        yield f"{model.name} has {_billions(model)} parameters, {facts.model.name} {_billions(facts.model)}"
    if longest is not None and facts.workload.total_len > longest:
        yield f"the context of {model.name} ends at {longest:,} tokens of {facts.workload.total_len:,}"
    violations = list(check_parallelism(model, deployment.parallel))
    for violation in violations or check_techniques(deployment, model, facts.scenario.hardware):
        yield f"for {model.name} {violation.field.rpartition('.')[2]} {violation.description}"


def _simulated(facts: Facts, model: Model) -> Simulation:
    (found,) = replace(facts, model=model, place=None).simulate([facts.candidate()])
    return found


def _billions(model: Model) -> str:
    return f"{model.parameter_count / 1e9:,.3g} billion"


def explain(facts: Facts, outcome: Outcome) -> Explanation:
    """What the smaller model has fewer of, and what that gains."""
    other = outcome.after.model
    named = other.name if not other.id or other.id == other.name else f"{other.name} ({other.id})"
    sizes = f"{named} has {_billions(other)} parameters, {facts.model.name} {_billions(facts.model)}"
    if outcome.memory.fits and not facts.memory.fits:
        return Explanation(
            ReasonCode.MAKES_IT_FIT,
            f"today's deployment needs {gib(facts.memory.total_bytes)} of {gib(facts.memory.usable_bytes)}; "
            f"{sizes}, which bring it to {gib(outcome.memory.total_bytes)}, which fits; "
            f"{outcome.proposal.note}.",
            "",
        )
    gained = outcome.verdict.pays
    return Explanation(
        ReasonCode.FEWER_PARAMETERS if gained else ReasonCode.BOUND_NOT_ADDRESSED,
        f"{sizes}: {change(outcome.deciding)}; {outcome.proposal.note}.",
        "" if gained else "It pays where weights or their arithmetic hold more of a step.",
    )


TECHNIQUE = Technique(
    id="smaller-model",
    title="a smaller model",
    stage=Stage.DECODE,
    metric=OBJECTIVE[Goal.LATENCY],
    effort=Effort.OTHER_MODEL,
    accuracy="Another model answers differently, a smaller one mostly worse; evaluate it on your task.",
    requirements=("answers that are good enough for the task",),
    conflicts=(),
    assumptions=("A smaller model: served in the formats of today's deployment, on its devices.",),
    propose=propose,
    explain=explain,
    changes_model=True,
)
