"""W4A8: 4-bit integer weights with group scales, widened to 8 bits and multiplied by 8-bit inputs.

What it does: The matrices of the layers are stored as in weight-only-int4, 4.25 bits a weight. The kernel
widens them in registers to the 8-bit format of its inputs, FP8 where the device has the unit and INT8 where
it has not, and the unit multiplies 8 bits by 8. Attention, lm_head and what lies between the GEMMs stay
16-bit.

When it pays: Where prefill waits for arithmetic and decode for weight bytes: it has the arithmetic of 8 bits
and the bytes of 4. On an A100, which multiplies INT8, Llama-3.1-8B with 2,048 input tokens has its first
token 1.69x sooner and decodes 1.93x as fast at batch 1; with 64 sequences of 512 input tokens, where the
arithmetic of weight-only-int4 holds decode up, it still gains 1.45x in TPOT.

When it does not: On a device without an FP8 or INT8 unit. For a few short requests: widening the weights
takes what it takes weight-only-int4. Where 4-bit weights cost too much accuracy: on an H100 it gains 1.21x in
TTFT with 2,048 input tokens, no more than fp8-compute. On Blackwell, for which no engine that was looked up
has such kernels.
"""

from __future__ import annotations

from ridgeline_server.advisor.low_bit_compute import already_multiplied, engine_lacks, explain
from ridgeline_server.advisor.results import Effort, ReasonCode
from ridgeline_server.advisor.technique import Facts, NotApplicable, Part, Proposal, Technique
from ridgeline_server.advisor.weight_only import incompatible_with_sparsity, quantized_checkpoint
from ridgeline_server.domain.dtypes import DEFAULT_GROUP_SIZE, Dtype
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.roofline.operators.layer import Stage

GROUP = DEFAULT_GROUP_SIZE[Dtype.INT4]


def input_format(hardware: Hardware) -> Dtype | None:
    """The 8-bit format of the inputs: FP8 where a device has the unit, else INT8; None without either."""
    return next((dtype for dtype in (Dtype.FP8, Dtype.INT8) if hardware.unit_for(dtype) is not None), None)


def propose(facts: Facts) -> Proposal | NotApplicable:
    """4-bit weights and 8-bit GEMM inputs, where the device has a unit for these."""
    hardware = facts.scenario.hardware
    inputs = input_format(hardware)
    if inputs is None:
        units = ", ".join(hardware.peak_flops_per_s)
        return NotApplicable(
            ReasonCode.NO_COMPUTE_UNIT,
            f"no fp8 or int8 rate of {hardware.name} is known: it computes in {units}, so both operands "
            "would be widened to 16 bits; weight-only-int4 has the same bytes.",
            "It applies on a device with an FP8 or INT8 unit.",
        )
    return (
        already_multiplied(facts, Dtype.INT4, inputs)
        or engine_lacks(facts, "w4a8-compute")
        or quantized_checkpoint(facts)
        or incompatible_with_sparsity(facts, Dtype.INT4)
        or Proposal(
            facts.workload,
            facts.deployment.storing(Dtype.INT4, GROUP, inputs),
        )
    )


TECHNIQUE = Technique(
    id="w4a8-compute",
    title="4-bit weights, 8-bit compute (W4A8)",
    stage=Stage.PREFILL,
    metric="ttft_ms",
    effort=Effort.CALIBRATE,
    accuracy="Visible: 4-bit weights lose most of it, 8-bit inputs add little where outliers are smoothed.",
    requirements=(
        "an FP8 or INT8 unit",
        "an engine with W4A8 kernels for this device",
        "a calibration set, or a published W4A8 checkpoint",
    ),
    conflicts=(),
    assumptions=(
        (
            "W4A8: groups of 128 weights share an fp16 scale and zero point, 4.25 bits per weight; the "
            "layers' GEMMs read FP8 inputs, or INT8 ones where the device has no FP8 unit; lm_head, "
            "attention and all other activations stay 16-bit."
        ),
        (
            "No W4A8 kernels were timed: those whose weights have the inputs' format stand for them, and "
            "beside the arithmetic they take what widening the same weights to 16 bits takes at least."
        ),
    ),
    propose=propose,
    explain=explain,
    sets=Part.OPERANDS,
)
