"""Speculative decoding: what its techniques share. Tokens are drafted, and one step verifies them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from ridgeline_server.advisor.asking import both, side_by_side
from ridgeline_server.advisor.flips import gains_until
from ridgeline_server.advisor.knobs import TRIED, break_even, knob
from ridgeline_server.advisor.results import ReasonCode
from ridgeline_server.advisor.technique import (
    Asking,
    Explanation,
    Facts,
    NotApplicable,
    Outcome,
    Proposal,
)
from ridgeline_server.advisor.wording import change, counted, sequences, spent_on
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.gates import check_techniques
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.speculation import PUBLISHED_RATES, Draft, PublishedRate, Speculation
from ridgeline_server.roofline.metrics import best_value
from ridgeline_server.roofline.wording import ms, share

LENGTHS = (1, 2, 3, 5)
"""How many drafted tokens are tried; the number with the shortest TPOT is proposed. Longer drafts add little
at the published rates: at 0.85 five drafted tokens give 4.2 a step, eight give 5.1.
"""
RATE_OF = {
    Draft.MODEL: "draft_model_acceptance_rate",
    Draft.HEADS: "heads_acceptance_rate",
    Draft.NGRAM: "ngram_acceptance_rate",
}
"""The figure that is assumed for each kind of draft."""
MTP_RATE = "mtp_acceptance_rate"
"""The figure that is assumed of the heads that a model is published with."""


def nothing_to_draft(facts: Facts) -> NotApplicable | None:
    """Why nothing is drafted, whatever drafts."""
    today = facts.deployment.speculation
    if today is not None:
        return NotApplicable(
            ReasonCode.ALREADY_APPLIED,
            f"today's deployment drafts {today.tokens} tokens for each step.",
        )
    if facts.workload.output_len == 1:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            "a request of one output token has no decode step that could give more than one.",
        )
    return None


def layers_of(model: Model) -> str:
    """The layers for multi-token prediction that a model is published with, in words."""
    return f"{counted(model.prediction_layers, 'layer')} for multi-token prediction"


def rate_of(model: Model, draft: Draft) -> str:
    """The figure that is assumed where something drafts for a model."""
    return MTP_RATE if draft is Draft.HEADS and model.prediction_layers else RATE_OF[draft]


def propose_at_rate(
    facts: Facts, draft: Draft, stated: float | None, model: Model | None = None
) -> Proposal | NotApplicable:
    """Drafting at the stated acceptance rate, else at the published one, which no plan is built on."""
    rate = PUBLISHED_RATES[draft].acceptance_rate if stated is None else stated
    found = propose_drafting(facts, Speculation(draft, 1, rate, model))
    if stated is not None or isinstance(found, NotApplicable):
        return found
    return replace(found, assumed=RATE_OF[draft])


def propose_drafting(
    facts: Facts, speculation: Speculation, lengths: Sequence[int] = LENGTHS
) -> Proposal | NotApplicable:
    """Drafting with the number of tokens, of some `lengths`, that makes TPOT shortest."""
    variants = [replace(speculation, tokens=tokens) for tokens in lengths]
    deployments = [replace(facts.deployment, speculation=variant) for variant in variants]
    violations = list(check_techniques(deployments[0], facts.model, facts.scenario.hardware))
    if violations:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"what drafts cannot be served beside the model: {violations[0].description}.",
        )
    simulations = facts.simulate([facts.candidate(deployment=deployment) for deployment in deployments])
    times = [best_value(simulation, "tpot_ms") for simulation in simulations]
    return Proposal(facts.workload, deployments[times.index(min(times))])


def explain(facts: Facts, outcome: Outcome) -> Asking[Explanation]:
    """Tokens kept against what drafting and verifying cost."""
    deployment = outcome.proposal.deployment
    speculation = deployment.speculation
    assert speculation is not None  # what was proposed
    metric = outcome.deciding.metric
    rate = speculation.acceptance_rate
    (drafting, ends), pays = yield from both(
        side_by_side(cost_of_drafting(facts, outcome.after), gains_until(facts, outcome)),
        break_even(facts, lambda value: accepting(deployment, value), metric),
    )
    reason = f"at {sequences(facts, facts.decode)}, {drafting}: {change(outcome.deciding)}"
    name = rate_of(facts.model, speculation.draft)
    default = PUBLISHED_RATES.get(speculation.draft, PublishedRate(rate, ""))
    found = knob(name, getattr(facts.assumed, name), *default, pays)
    needed = needed_rate(speculation.tokens, pays)
    code = ReasonCode.MORE_TOKENS_PER_STEP
    if not outcome.verdict.pays:
        code = ReasonCode.DRAFTING_EXCEEDS_GAIN
        reason += f"; of such a step {spent_on(outcome.after.decode).replace('its time', 'the time')}"
    return Explanation(code, f"{reason}.", f"{needed} {ends}".strip(), (found,))


def cost_of_drafting(plain: Facts, drafting: Facts) -> Asking[str]:
    """What drafting and verifying take, and the tokens that they give, as a clause."""
    speculation = drafting.deployment.speculation
    assert speculation is not None
    costs = (
        f"verifying {speculation.tokens + 1} tokens makes a decode step {ms(drafting.decode.time_ms)} "
        f"instead of {ms(plain.decode.time_ms)}"
    )
    drafting_share = yield from _share_of_drafting(plain, drafting.deployment)
    return (
        f"{costs}{drafting_share}; at an acceptance rate of {speculation.acceptance_rate:.2g} a step gives "
        f"{speculation.expected_tokens:.2f} tokens"
    )


@lru_cache(maxsize=TRIED)
def accepting(deployment: Deployment, rate: float) -> Deployment:
    """A deployment that drafts, with another acceptance rate."""
    assert deployment.speculation is not None
    return replace(deployment, speculation=replace(deployment.speculation, acceptance_rate=rate))


def needed_rate(tokens: int, pays: float | None) -> str:
    """From which acceptance rate on it pays to draft so many tokens, in a sentence."""
    drafted = f"With {counted(tokens, 'drafted token')}"
    if pays is None:
        return f"{drafted} not even an acceptance rate of 1 gains over 3%."
    return f"{drafted} it gains over 3% from an acceptance rate of {pays:.2f} on."


def _share_of_drafting(facts: Facts, deployment: Deployment) -> Asking[str]:
    """The share of a step's time that drafting takes, which a free draft would save, as a clause."""
    assert deployment.speculation is not None
    free = replace(deployment.speculation, draft=Draft.NGRAM, model=None)
    both = deployment, replace(deployment, speculation=free)
    places = yield [facts.candidate(deployment=each) for each in both]
    paid, unpaid = (place.simulation for place in places)
    taken = 1 - unpaid.decode_s / paid.decode_s
    return f", and drafting takes {share(taken)} of the time" if taken else ""
