"""W8A8: INT8 weights and GEMM inputs, multiplied by INT8 units (the class of SmoothQuant)."""

from __future__ import annotations

from ridgeline_server.advisor.effects import effect_on
from ridgeline_server.advisor.results import Effort, ReasonCode, Verdict
from ridgeline_server.advisor.technique import Explanation, Facts, NotApplicable, Outcome, Proposal, Technique
from ridgeline_server.advisor.weight_only import bits, quantized_checkpoint
from ridgeline_server.advisor.wording import change, makes_it_fit, spent_on
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.results import Bound
from ridgeline_server.roofline.wording import share

HALF = 0.5


def propose(facts: Facts) -> Proposal | NotApplicable:
    """Weights and GEMM inputs in INT8, where the device has the unit."""
    hardware, deployment = facts.scenario.hardware, facts.deployment
    if Dtype.INT8 not in hardware.peak_flops_per_s:
        units = ", ".join(hardware.peak_flops_per_s)
        known = Dtype.INT8 in hardware.unsupported_dtypes
        return NotApplicable(
            ReasonCode.NO_COMPUTE_UNIT,
            f"{hardware.lack_of(Dtype.INT8)}: it computes in {units}, so INT8 operands would be widened "
            "before they are multiplied.",
            "It applies on a device with an INT8 unit."
            if known
            else "If the device has an INT8 unit, give its rate with --set peaks.int8=...",
        )
    if deployment.gemm_dtype is Dtype.INT8:
        return NotApplicable(
            ReasonCode.ALREADY_APPLIED, "today's deployment multiplies INT8 weights by INT8 activations."
        )
    return quantized_checkpoint(facts) or Proposal(
        facts.workload,
        deployment.storing(Dtype.INT8, 0, Dtype.INT8),
    )


def explain(facts: Facts, outcome: Outcome) -> Explanation:
    """Arithmetic against everything else in prefill."""
    prefill, effect = facts.prefill, outcome.deciding
    if outcome.verdict is Verdict.APPLY and not facts.memory.fits:
        return makes_it_fit(facts, outcome, "INT8 weights")
    peaks = facts.scenario.hardware.peak_flops_per_s
    today = facts.deployment.gemm_dtype
    faster = peaks[Dtype.INT8] / peaks[today]
    rates = (
        f"{peaks[Dtype.INT8] / 1e12:,.4g} TOP/s in INT8 against {peaks[today] / 1e12:,.4g} TFLOP/s in {today}"
    )
    situation = (
        f"at {prefill.batch * prefill.query_len:,.0f} prompt tokens, {share(prefill.share(Bound.COMPUTE))} "
        "of prefill's time is compute-bound"
    )
    if outcome.verdict in (Verdict.APPLY, Verdict.CONSIDER):
        both = f"{change(effect)}; {change(effect_on(outcome.effects, 'tpot_ms'))}"
        if faster <= 1:
            return Explanation(
                ReasonCode.WEIGHT_BYTES_CUT,
                f"the device does no more than {rates}, so INT8 speeds no arithmetic up, but it cuts the "
                f"bytes of weights: {both}.",
                "",
            )
        if prefill.share(Bound.COMPUTE) < HALF:
            if bits(facts.deployment) <= bits(outcome.proposal.deployment):
                return Explanation(
                    ReasonCode.COMPUTE_SPED_UP,
                    f"{situation}; INT8 weights are no longer widened before they are multiplied: {both}.",
                    "",
                )
            weights = prefill.bytes_by_class.weights / prefill.bytes
            return Explanation(
                ReasonCode.WEIGHT_BYTES_CUT,
                f"{situation}, but weights are {share(weights)} of its bytes, and INT8 cuts them: {both}.",
                "",
            )
        return Explanation(
            ReasonCode.COMPUTE_SPED_UP, f"{situation}, and the device does {rates}: {both}.", ""
        )
    if faster <= 1:
        return Explanation(
            ReasonCode.BOUND_NOT_ADDRESSED,
            f"the device does no more than {rates}, so INT8 speeds no arithmetic up: {change(effect)}.",
            "It pays on a device whose INT8 rate is well above its 16-bit rate.",
        )
    harmful = outcome.verdict is Verdict.HARMFUL
    return Explanation(
        ReasonCode.OVERHEAD_EXCEEDS_GAIN if harmful else ReasonCode.BOUND_NOT_ADDRESSED,
        f"{situation} and {spent_on(prefill)}; the device does {rates}: {change(effect)}.",
        "It pays where arithmetic holds most of the time: longer prompts or a larger batch."
        if prefill.share(Bound.COMPUTE) < HALF
        else "",
    )


TECHNIQUE = Technique(
    id="int8-compute",
    title="INT8 compute (W8A8)",
    stage=Stage.PREFILL,
    metric="ttft_ms",
    effort=Effort.CALIBRATE,
    accuracy="Activations have outliers; methods of the SmoothQuant class move them into the weights first.",
    requirements=("an INT8 unit", "an engine with W8A8 kernels for this device", "a calibration set"),
    conflicts=("weight-only-int4", "weight-only-int8"),
    assumptions=(
        (
            "W8A8: the layers' GEMMs read INT8 weights and INT8 inputs; all other activations, attention "
            "and lm_head stay 16-bit."
        ),
    ),
    propose=propose,
    explain=explain,
)
