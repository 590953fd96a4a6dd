"""Fused attention (FlashAttention): one kernel in place of three, which never writes the scores to memory.

What it does: Scores stay on the chip, and the masked half of a causal prefill is skipped.

When it pays: Wherever attention is unfused today; the more, the longer the prompts, since scores grow with
the square of their length.

When it does not: Where the engine's kernel is fused already, which it is by default in current engines.
"""

from __future__ import annotations

from dataclasses import replace

from ridgeline_server.advisor.effects import effect_on
from ridgeline_server.advisor.results import Effort, ReasonCode
from ridgeline_server.advisor.technique import Explanation, Facts, NotApplicable, Outcome, Proposal, Technique
from ridgeline_server.advisor.wording import called, change, makes_it_fit
from ridgeline_server.domain.deployment import AttentionKernel
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.results import StageAnalysis
from ridgeline_server.roofline.wording import share

UNFUSED_OPERATORS = frozenset({"qk_matmul", "softmax", "sv_matmul"})


def propose(facts: Facts) -> Proposal | NotApplicable:
    """The fused kernel, where today's is not."""
    if facts.model.attention is None:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON, f"no layer of {facts.model.name} has attention with scores."
        )
    if facts.deployment.attention is AttentionKernel.FUSED:
        return NotApplicable(ReasonCode.ALREADY_APPLIED, "attention is computed by a fused kernel today.")
    return Proposal(facts.workload, replace(facts.deployment, attention=AttentionKernel.FUSED))


def explain(facts: Facts, outcome: Outcome) -> Explanation:
    """What the three kernels take of each stage today."""
    if outcome.memory.fits and not facts.memory.fits:
        return makes_it_fit(facts, outcome, "scores that are not kept")
    stages = " and ".join(f"{share(_spent(step))} of {called(step)}" for step in map(facts.described, Stage))
    gained = outcome.verdict.pays
    return Explanation(
        ReasonCode.SCORES_KEPT_ON_CHIP if gained else ReasonCode.BYTES_NOT_DOMINANT,
        f"unfused attention takes {stages}, and writes and reads all scores between its kernels: "
        f"{change(outcome.deciding)}; {change(effect_on(outcome.effects, 'e2e_latency_ms'))}.",
        "" if gained else "It pays with longer prompts.",
    )


def _spent(step: StageAnalysis) -> float:
    return sum(o.time_share for o in step.operators if o.name in UNFUSED_OPERATORS)


TECHNIQUE = Technique(
    id="flash-attention",
    title="fused attention",
    stage=Stage.PREFILL,
    metric="ttft_ms",
    effort=Effort.FLAG,
    accuracy="None but the order of sums.",
    requirements=("an engine with a fused attention kernel for this device",),
    conflicts=(),
    assumptions=(),
    propose=propose,
    explain=explain,
    lossless=True,
)
