"""FP8 inputs for weights that are MXFP4 already (the class of gpt-oss), multiplied by units for FP4.

What it does: Matrices that a checkpoint has in MXFP4, such as the experts of gpt-oss, stay as they are; their
inputs take 8-bit floats in blocks with a scale, and a unit for FP4 multiplies both at its FP8 rate. Modules
that are stored otherwise, attention, and what lies between the GEMMs stay 16-bit.

When it pays: Where prefill waits for the arithmetic of such matrices on a device with an FP4 unit (NVIDIA
from Blackwell on, AMD from MI350 on): on a B200 gpt-oss-120b with 2,048 input tokens has its first token
1.70x sooner at batch 1.

When it does not: On a device without the unit, which widens the weights to 16 bits, such as an H100. In
decode, which waits for the bytes of the weights: they stay. Where the engine does so already: some choose the
inputs of MXFP4 experts by the device.
"""

from __future__ import annotations

from dataclasses import replace

from ridgeline_server.advisor.low_bit_compute import already_multiplied, engine_lacks, explain
from ridgeline_server.advisor.results import Effort, ReasonCode
from ridgeline_server.advisor.technique import Facts, NotApplicable, Part, Proposal, Technique
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.gates import multiplies
from ridgeline_server.roofline.operators.layer import Stage


def propose(facts: Facts) -> Proposal | NotApplicable:
    """FP8 inputs for MXFP4 weights as they are, where the device multiplies these."""
    hardware, deployment = facts.scenario.hardware, facts.deployment
    if deployment.weight_dtype is not Dtype.MXFP4:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"today's weights are {deployment.weight_dtype}: it changes the inputs of MXFP4 weights alone.",
            "It applies to a checkpoint with MXFP4 weights.",
        )
    if hardware.unit_for(Dtype.FP8) is None or not multiplies(Dtype.MXFP4, Dtype.FP8, hardware):
        lack = hardware.lack_of(Dtype.FP4, (Dtype.MXFP4,))
        return NotApplicable(
            ReasonCode.NO_COMPUTE_UNIT,
            f"{lack}, and others do not multiply MXFP4 weights by FP8 inputs: they are widened to 16 bits.",
            "It applies on a device with an FP4 unit.",
        )
    return (
        already_multiplied(facts, Dtype.MXFP4, Dtype.FP8)
        or engine_lacks(facts, "w4a8-mxfp4-compute")
        or Proposal(
            facts.workload,
            replace(deployment, activation_dtype=Dtype.FP8),
        )
    )


TECHNIQUE = Technique(
    id="w4a8-mxfp4-compute",
    title="FP8 inputs for MXFP4 weights (W4A8)",
    stage=Stage.PREFILL,
    metric="ttft_ms",
    effort=Effort.FLAG,
    accuracy="Not published: the weights stay as they are, and inputs take 8-bit floats in blocks.",
    requirements=("an FP4 unit", "an engine with kernels for MXFP4 weights and FP8 inputs on this device"),
    conflicts=(),
    assumptions=(
        (
            "W4A8: GEMMs of MXFP4 weights read FP8 inputs; modules that are stored otherwise, attention and "
            "all other activations stay 16-bit."
        ),
    ),
    propose=propose,
    explain=explain,
    sets=Part.OPERANDS,
)
