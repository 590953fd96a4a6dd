"""Weight-only quantization: what its techniques share. The weights shrink, the arithmetic stays 16-bit."""

from __future__ import annotations

from collections.abc import Callable

from ridgeline_server.advisor.asking import side_by_side
from ridgeline_server.advisor.effects import effect_on
from ridgeline_server.advisor.flips import gains_until
from ridgeline_server.advisor.results import ReasonCode, Verdict
from ridgeline_server.advisor.technique import (
    GAIN,
    Asking,
    Explanation,
    Facts,
    NotApplicable,
    Outcome,
    Proposal,
    facts_of,
)
from ridgeline_server.advisor.wording import called, change, makes_it_fit, ridge, sequences, spent_on
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.dtypes import DEFAULT_GROUP_SIZE, Dtype, weight_bits
from ridgeline_server.domain.gates import SPARSE_WEIGHT_DTYPES
from ridgeline_server.roofline.results import Bound, StepFigures
from ridgeline_server.roofline.wording import share


def bits(deployment: Deployment) -> float:
    """Bits per layer weight, scales included."""
    return deployment.weight_bits


def quantized_checkpoint(facts: Facts) -> NotApplicable | None:
    """Why a quantised checkpoint's weights are not quantised again."""
    model, deployment = facts.model, facts.deployment
    if not model.quantized or deployment.weight_dtype is not model.weight_dtype:
        return None
    return NotApplicable(
        ReasonCode.ALREADY_APPLIED,
        f"the checkpoint's weights are {model.weight_dtype} already ({bits(deployment):.3g} bits each); "
        "quantising them again would stack two errors.",
        f"Start from the {model.dtype} checkpoint to compare other formats.",
    )


def already_as_small(facts: Facts, technique_bits: float) -> NotApplicable | None:
    """Why a format that is not smaller than today's is not proposed."""
    today = bits(facts.deployment)
    if today > technique_bits:
        return None
    return NotApplicable(
        ReasonCode.ALREADY_APPLIED,
        f"today's weights take {today:.3g} bits each, no more than the {technique_bits:.3g} of this format.",
    )


def incompatible_with_sparsity(facts: Facts, dtype: Dtype) -> NotApplicable | None:
    """Why weights that are 2:4 sparse are not stored in a format that no sparse kernel takes."""
    if not facts.deployment.sparse_weights or dtype in SPARSE_WEIGHT_DTYPES:
        return None
    return NotApplicable(
        ReasonCode.INCOMPATIBLE_FORMATS,
        f"today's weights are 2:4 sparse, and 2:4 kernels take 16-bit, fp8 and int8 weights, not {dtype}.",
        "It applies to dense weights.",
    )


def propose_format(dtype: Dtype) -> Callable[[Facts], Proposal | NotApplicable]:
    """Proposes to store the layers' weights in a format, with activations in the compute format."""
    group = DEFAULT_GROUP_SIZE.get(dtype, 0)

    def propose(facts: Facts) -> Proposal | NotApplicable:
        refused = (
            quantized_checkpoint(facts)
            or incompatible_with_sparsity(facts, dtype)
            or already_as_small(facts, weight_bits(dtype, group))
        )
        if refused:
            return refused
        deployment = facts.deployment
        return Proposal(facts.workload, deployment.storing(dtype, group, deployment.compute_dtype))

    return propose


def explain(facts: Facts, outcome: Outcome) -> Asking[Explanation]:
    """Weight bytes against everything else that a decode step moves, and the ridge that fewer bits move."""
    step, effect = facts.step, outcome.deciding
    deployment = outcome.proposal.deployment
    fewer = f"{bits(deployment):.3g} instead of {bits(facts.deployment):.3g} bits each"
    if outcome.memory.fits and not facts.memory.fits:
        return makes_it_fit(facts, outcome, f"weights of {fewer}")
    after = outcome.after
    alone, flips_when = yield from side_by_side(_cut_alone(facts, deployment), gains_until(facts, outcome))
    weights = step.bytes_by_class.weights / step.bytes
    situation = (
        f"at {sequences(facts, step)} with {step.keys:,.0f} keys, weights are {share(weights)} of the bytes "
        f"{called(step)} moves"
    )
    cut = f"{fewer} cut these bytes by {share(_cut(step, after.step))}{alone}"
    capped = ridge(facts, step, after.step)
    if outcome.verdict.pays:
        return Explanation(
            ReasonCode.WEIGHT_BYTES_CUT,
            f"{situation}; {cut}: {change(effect)}{_prefill(outcome)}; {capped}.",
            flips_when,
        )
    if outcome.verdict is Verdict.HARMFUL:
        return Explanation(
            ReasonCode.OVERHEAD_EXCEEDS_GAIN,
            f"{situation} and {spent_on(step)}; {fewer} save less than the kernels that unpack them cost: "
            f"{change(effect)}.",
            flips_when,
        )
    code = ReasonCode.BYTES_NOT_DOMINANT if step.bound is Bound.MEMORY else ReasonCode.BOUND_NOT_ADDRESSED
    return Explanation(
        code, f"{situation} and {spent_on(step)}; {cut}: {change(effect)}; {capped}.", flips_when
    )


def _cut_alone(facts: Facts, deployment: Deployment) -> Asking[str]:
    """The share of bytes that fewer bits save a request that runs alone, where several run."""
    if facts.workload.batch == 1:
        return ""
    alone = facts.workload.at_batch(1)
    places = yield [facts.candidate(alone), facts.candidate(alone, deployment)]
    before, after = (facts_of(facts.model, *place).step for place in places)
    return f" (for a single request by {share(_cut(before, after))})"


def _cut(before: StepFigures, after: StepFigures) -> float:
    """The share of a step's bytes that a change of the weights saves, however many sequences run after it."""
    return (before.bytes_by_class.weights - after.bytes_by_class.weights) / before.bytes


def _prefill(outcome: Outcome) -> str:
    """What happens to TTFT, when that is noticeable."""
    ttft = effect_on(outcome.effects, "ttft_ms")
    if outcome.deciding == ttft:
        return ""
    if 1 / GAIN <= ttft.speedup <= GAIN:
        return "; TTFT stays"
    return f"; {change(ttft)}"
