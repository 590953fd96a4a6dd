"""Low-bit compute: what its techniques share. Weights and the GEMMs' inputs take a format that a unit
multiplies.
"""

from __future__ import annotations

from dataclasses import replace

from ridgeline_server.advisor.effects import effect_on
from ridgeline_server.advisor.launching.switches import lack_on_device
from ridgeline_server.advisor.results import ReasonCode, Verdict
from ridgeline_server.advisor.technique import Explanation, Facts, NotApplicable, Outcome, Proposal
from ridgeline_server.advisor.weight_only import bits, incompatible_with_sparsity, quantized_checkpoint
from ridgeline_server.advisor.wording import change, makes_it_fit, spent_on
from ridgeline_server.domain.dtypes import Dtype, weight_bits
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.roofline.results import Bound
from ridgeline_server.roofline.wording import share

HALF = 0.5


def propose_format(facts: Facts, technique_id: str, dtype: Dtype) -> Proposal | NotApplicable:
    """Weights and GEMM inputs in a format, where the device has the unit. Weights that have it stay."""
    hardware, deployment = facts.scenario.hardware, facts.deployment
    if hardware.unit_for(dtype) is None:
        return _no_unit(facts, dtype)
    refused = already_multiplied(facts, dtype, dtype) or engine_lacks(facts, technique_id)
    if refused:
        return refused
    if deployment.weight_dtype is dtype:
        return Proposal(facts.workload, replace(deployment, activation_dtype=dtype))
    refused = quantized_checkpoint(facts) or incompatible_with_sparsity(facts, dtype)
    return refused or Proposal(facts.workload, deployment.storing(dtype, 0, dtype))


def already_multiplied(facts: Facts, weight: Dtype, inputs: Dtype) -> NotApplicable | None:
    """Why a deployment that multiplies these operands already is left as it is."""
    deployment = facts.deployment
    if (deployment.weight_dtype, deployment.gemm_dtype) != (weight, inputs):
        return None
    return NotApplicable(
        ReasonCode.ALREADY_APPLIED,
        f"today's deployment multiplies {weight.upper()} weights by {inputs.upper()} activations.",
    )


def engine_lacks(facts: Facts, technique_id: str) -> NotApplicable | None:
    """Why the stated engine, which has a technique's kernels elsewhere, has none on this device."""
    hardware = facts.scenario.hardware
    lack = lack_on_device(facts.engine, technique_id, hardware)
    if not lack:
        return None
    return NotApplicable(
        ReasonCode.ENGINE_LACKS_IT,
        f"{hardware.name}: {lack}",
        f"It applies with an engine that has such kernels for {hardware.name}.",
    )


def _no_unit(facts: Facts, dtype: Dtype) -> NotApplicable:
    """What the device computes in, and what the format would still save on it."""
    hardware, label = facts.scenario.hardware, dtype.upper()
    units = ", ".join(hardware.peak_flops_per_s)
    family = _units_of(dtype)
    unit = family[0]
    known = not hardware.unsupported_dtypes.isdisjoint(family)
    today, stored = bits(facts.deployment), weight_bits(dtype, 0)
    bytes_alone = (
        f"; the format would save bytes alone, {stored:.3g} instead of {today:.3g} bits each, as weight-only "
        "quantization does"
        if stored < today
        else ""
    )
    return NotApplicable(
        ReasonCode.NO_COMPUTE_UNIT,
        f"{hardware.lack_of(dtype, family)}: it computes in {units}, so {label} operands would be widened "
        f"before they are multiplied{bytes_alone}.",
        f"It applies on a device with an {unit.upper()} unit."
        if known
        else f"If the device has an {unit.upper()} unit, give its rate with --set peaks.{unit}=...",
    )


def _units_of(dtype: Dtype) -> tuple[Dtype, ...]:
    """The units that multiply in a format, the usual name first."""
    return (Dtype.FP4, dtype) if dtype in (Dtype.NVFP4, Dtype.MXFP4) else (dtype,)


def explain(facts: Facts, outcome: Outcome) -> Explanation:
    """Arithmetic against everything else in prefill."""
    prefill, effect = facts.prefill, outcome.deciding
    dtype, today = outcome.proposal.deployment.gemm_dtype, facts.deployment.gemm_dtype
    label, stored = dtype.upper(), outcome.proposal.deployment.weight_dtype.upper()
    if outcome.memory.fits and not facts.memory.fits:
        return makes_it_fit(facts, outcome, f"{stored} weights")
    hardware = facts.scenario.hardware
    faster = _peak(hardware, dtype) / _peak(hardware, today)
    rates = f"{_rate(hardware, dtype)} in {label} against {_rate(hardware, today)} in {today}"
    situation = (
        f"at {prefill.batch * prefill.query_len:,.0f} prompt tokens, {share(prefill.share(Bound.COMPUTE))} "
        "of prefill's time is compute-bound"
    )
    if outcome.verdict.pays:
        both = f"{change(effect)}; {change(effect_on(outcome.effects, 'tpot_ms'))}"
        fewer_bits = bits(outcome.proposal.deployment) < bits(facts.deployment)
        if faster <= 1 and fewer_bits:
            return Explanation(
                ReasonCode.WEIGHT_BYTES_CUT,
                f"the device does no more than {rates}, so {label} speeds no arithmetic up, but {stored} "
                f"cuts the bytes of weights: {both}.",
                "",
            )
        if faster <= 1:
            return Explanation(
                ReasonCode.COMPUTE_SPED_UP,
                f"the device does no more than {rates}, but {label} kernels reach more of it: {both}.",
                "",
            )
        if prefill.share(Bound.COMPUTE) < HALF:
            if not fewer_bits:
                widened = (
                    f"{label} weights are no longer widened before they are multiplied"
                    if stored == label
                    else f"{stored} weights are widened to {label} instead of {today.upper()}"
                )
                return Explanation(ReasonCode.COMPUTE_SPED_UP, f"{situation}; {widened}: {both}.", "")
            weights = prefill.bytes_by_class.weights / prefill.bytes
            return Explanation(
                ReasonCode.WEIGHT_BYTES_CUT,
                f"{situation}, but weights are {share(weights)} of its bytes, and {stored} cuts them: "
                f"{both}.",
                "",
            )
        return Explanation(
            ReasonCode.COMPUTE_SPED_UP, f"{situation}, and the device does {rates}: {both}.", ""
        )
    if faster <= 1:
        return Explanation(
            ReasonCode.BOUND_NOT_ADDRESSED,
            f"the device does no more than {rates}, so {label} speeds no arithmetic up: {change(effect)}.",
            f"It pays on a device whose {label} rate is well above its {today} rate.",
        )
    harmful = outcome.verdict is Verdict.HARMFUL
    return Explanation(
        ReasonCode.OVERHEAD_EXCEEDS_GAIN if harmful else ReasonCode.BOUND_NOT_ADDRESSED,
        f"{situation} and {spent_on(prefill)}; the device does {rates}: {change(effect)}.",
        "It pays where arithmetic holds most of the time: longer prompts or a larger batch."
        if prefill.share(Bound.COMPUTE) < HALF
        else "",
    )


def _peak(hardware: Hardware, dtype: Dtype) -> float:
    unit = hardware.unit_for(dtype)
    assert unit is not None  # nothing is served or proposed in a format without a unit
    return hardware.peak_flops_per_s[unit]


def _rate(hardware: Hardware, dtype: Dtype) -> str:
    """The peak of a unit, in operations for integers."""
    unit = "TOP/s" if dtype is Dtype.INT8 else "TFLOP/s"
    tera = _peak(hardware, dtype) / 1e12
    return f"{tera:,.0f} {unit}" if tera >= 1000 else f"{tera:.4g} {unit}"
