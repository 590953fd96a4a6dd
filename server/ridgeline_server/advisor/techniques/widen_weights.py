"""16-bit weights again: back from a format that is widened before it is multiplied.

What it does: Weights that are stored in fewer bits than they are multiplied in, such as those of AWQ or GPTQ
checkpoints, are served from the 16-bit checkpoint that they were made from. Kernels unpack nothing any more.

When it pays: At large batches and in long prefills, whose time is arithmetic: there the bytes that narrow
weights save are few, and each product pays for unpacking them. The model's answers are those of the original.

When it does not: Where steps wait for weight bytes, as at small batches, and where memory does not hold the
wide weights beside the cache. Weights that are multiplied in the format that they are stored in need no
widening, and 4-bit ones that are widened to 8 bits have a rate that 16-bit ones have not.
"""

from __future__ import annotations

from dataclasses import replace

from ridgeline_server.advisor.flips import first_gaining, larger_batches, smaller_batches
from ridgeline_server.advisor.results import Effort, ReasonCode, Verdict
from ridgeline_server.advisor.technique import (
    Asking,
    Explanation,
    Facts,
    NotApplicable,
    Outcome,
    Part,
    Proposal,
    Technique,
)
from ridgeline_server.advisor.wording import called, changes, load_in_words, sequences, spent_on
from ridgeline_server.domain.deployment import QUANTIZED_MODULES, Deployment
from ridgeline_server.domain.dtypes import ELEMENT_BITS
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.tensors import ModuleClass
from ridgeline_server.roofline.memory.device import memory_of
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.wording import gib, share

WIDE_BITS = 16


def propose(facts: Facts) -> Proposal | NotApplicable:
    """The layers' weights in the format that they are multiplied in."""
    deployment = facts.deployment
    narrow = _narrow(facts.model, deployment)
    wide = deployment.compute_dtype
    if not narrow:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"today's weights are {deployment.weight_dtype}, no narrower than 16 bits.",
        )
    multiplied = [module for module in narrow if deployment.gemm_dtype_of(module) is not wide]
    if multiplied:
        dtype, inputs = deployment.format_of(multiplied[0]).dtype, deployment.gemm_dtype_of(multiplied[0])
        how = "multiplied as they are stored: nothing is widened"
        if inputs is not dtype:
            how = f"multiplied at the rate of {inputs}, which {wide} ones would not be"
        return NotApplicable(ReasonCode.NOTHING_TO_WORK_ON, f"today's {dtype} weights are {how}.")
    after = deployment.storing(wide, 0, wide)
    memory = memory_of(facts.model, replace(facts.scenario, deployment=after), facts.workload)
    if not memory.fits:
        return NotApplicable(
            ReasonCode.MEMORY_LIMIT,
            f"with {wide} weights it would need {gib(memory.total_bytes)} of {gib(memory.usable_bytes)} "
            f"(today {gib(facts.memory.total_bytes)}).",
            "Fewer bits for the KV cache or more devices make room.",
        )
    return Proposal(facts.workload, after)


def _narrow(model: Model, deployment: Deployment) -> list[ModuleClass]:
    """The module classes of a model whose weights have fewer than 16 bits."""
    present = [stored.module for stored in model.module_formats if stored.module in QUANTIZED_MODULES]
    return [each for each in present if ELEMENT_BITS[deployment.format_of(each).dtype] < WIDE_BITS]


def explain(facts: Facts, outcome: Outcome) -> Asking[Explanation]:
    """The bytes that narrow weights save against what their widening costs."""
    step, deployment = facts.step, outcome.proposal.deployment
    weights = step.bytes_by_class.weights / step.bytes
    prefill = "" if step is facts.prefill else f", and in prefill {spent_on(facts.prefill)}"
    reason = (
        f"at {sequences(facts, step)} with {step.keys:,.0f} keys, weights are {share(weights)} of the bytes "
        f"{called(step)} moves and {spent_on(step)}{prefill}; with "
        f"{deployment.weight_bits:.3g} instead of {facts.deployment.weight_bits:.3g} bits each nothing is "
        f"unpacked: {changes(outcome, 'ttft_ms', 'tpot_ms')}."
    )
    metric = outcome.deciding.metric
    if outcome.verdict.pays:
        smaller = yield from first_gaining(
            outcome.after, facts.deployment, smaller_batches(facts.workload), metric
        )
        flips = (
            f"At {load_in_words(smaller)} and below today's weights are faster by over 3%." if smaller else ""
        )
        return Explanation(ReasonCode.OVERHEAD_EXCEEDS_GAIN, reason, flips)
    larger = yield from first_gaining(facts, deployment, larger_batches(facts.workload), metric)
    return Explanation(
        ReasonCode.WEIGHT_BYTES_GROW
        if outcome.verdict is Verdict.HARMFUL
        else ReasonCode.BOUND_NOT_ADDRESSED,
        reason,
        f"It gains over 3% from {load_in_words(larger)} on." if larger else "",
    )


TECHNIQUE = Technique(
    id="widen-weights",
    title="16-bit weights",
    stage=Stage.DECODE,
    metric="e2e_latency_ms",
    effort=Effort.FLAG,
    accuracy="None: the model computes with the weights that it was trained with again.",
    requirements=("the 16-bit checkpoint that today's weights were made from", "memory for it"),
    conflicts=(),
    assumptions=(),
    propose=propose,
    explain=explain,
    lossless=True,
    sets=Part.OPERANDS,
)
