"""Speculative decoding: what its techniques share. Tokens are drafted, and one step verifies them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ridgeline_server.advisor.flips import first_gaining, gain_ends, smaller_batches
from ridgeline_server.advisor.knobs import break_even, knob
from ridgeline_server.advisor.results import ReasonCode, Verdict
from ridgeline_server.advisor.technique import Explanation, Facts, NotApplicable, Outcome, Proposal
from ridgeline_server.advisor.wording import change, sequences, spent_on
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.gates import check_techniques
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.speculation import PUBLISHED_RATES, Draft, PublishedRate, Speculation
from ridgeline_server.roofline.metrics import metric_values
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


def refused(facts: Facts) -> NotApplicable | None:
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
    count = model.prediction_layers
    return f"{count} layer{'s' if count > 1 else ''} for multi-token prediction"


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
    ideal = facts.scenario.profiles is None
    times = [metric_values(simulation, ideal=ideal)["tpot_ms"][0] for simulation in simulations]
    return Proposal(facts.workload, deployments[times.index(min(times))])


def explain(facts: Facts, outcome: Outcome) -> Explanation:
    """Tokens kept against what drafting and verifying cost."""
    deployment = outcome.proposal.deployment
    speculation = deployment.speculation
    assert speculation is not None  # what was proposed
    metric = outcome.deciding.metric
    verified = outcome.after.decode
    rate = speculation.acceptance_rate
    drafting = _drafting_share(facts, deployment)
    costs = (
        f"verifying {speculation.tokens + 1} tokens makes a decode step {ms(verified.time_ms)} instead of "
    )
    costs += ms(facts.decode.time_ms)
    if drafting:
        costs += f", and drafting takes {share(drafting)} of the time"
    reason = (
        f"at {sequences(facts, facts.decode)}, {costs}; at an acceptance rate of {rate:.2g} a step gives "
        f"{speculation.expected_tokens:.2f} tokens: {change(outcome.deciding)}"
    )
    pays = break_even(facts, lambda value: accepting(deployment, value), metric)
    name = rate_of(facts.model, speculation.draft)
    default = PUBLISHED_RATES.get(speculation.draft, PublishedRate(rate, ""))
    found = knob(name, getattr(facts.assumed, name), *default, pays)
    needed = needed_rate(speculation.tokens, pays)
    if outcome.verdict in (Verdict.APPLY, Verdict.CONSIDER):
        code, flips = ReasonCode.MORE_TOKENS_PER_STEP, f"{needed} {gain_ends(facts, outcome)}"
    else:
        smaller = first_gaining(facts, deployment, smaller_batches(facts.workload), metric)
        code, flips = ReasonCode.DRAFTING_EXCEEDS_GAIN, needed
        reason += f"; of such a step {spent_on(verified).replace('its time', 'the time')}"
        if smaller:
            flips += f" It gains over 3% at batch {smaller.batch:,} and below."
    return Explanation(code, f"{reason}.", flips.strip(), (found,))


def accepting(deployment: Deployment, rate: float) -> Deployment:
    """A deployment that drafts, with another acceptance rate."""
    assert deployment.speculation is not None
    return replace(deployment, speculation=replace(deployment.speculation, acceptance_rate=rate))


def needed_rate(tokens: int, pays: float | None) -> str:
    """From which acceptance rate on it pays to draft so many tokens, in a sentence."""
    drafted = f"With {tokens} drafted {'token' if tokens == 1 else 'tokens'}"
    if pays is None:
        return f"{drafted} not even an acceptance rate of 1 gains over 3%."
    return f"{drafted} it gains over 3% from an acceptance rate of {pays:.2f} on."


def _drafting_share(facts: Facts, deployment: Deployment) -> float:
    """The share of a step's time that drafting takes: what a draft that costs nothing would save."""
    assert deployment.speculation is not None
    free = replace(deployment.speculation, draft=Draft.NGRAM, model=None)
    paid, unpaid = facts.simulate(
        [facts.candidate(deployment=each) for each in (deployment, replace(deployment, speculation=free))]
    )
    if facts.scenario.profiles is None:
        return 1 - unpaid.times.ideal_decode_s / paid.times.ideal_decode_s
    return 1 - unpaid.times.decode_s[0] / paid.times.decode_s[0]
