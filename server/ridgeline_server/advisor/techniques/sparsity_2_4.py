"""2:4 sparsity: two of each four weights are zero, and a unit skips them.

What it does: Of each four neighbours in a row of a matrix the two smallest weights are removed. The others
are stored with a 2-bit position each, 9 bits a weight instead of 16, and a unit multiplies only them: twice
the rate. The model is trained further to make up for what was removed.

When it pays: Where prefill waits for arithmetic or decode for weight bytes, on NVIDIA GPUs from Ampere on, if
somebody trained such a checkpoint. If sparse kernels attain the share of the peak that dense ones do,
Llama-3.1-8B with 512 input tokens on an H100 gains 1.42x in TPOT and 1.50x in TTFT at batch 1.

When it does not: Without training: half of the weights are gone. Where 4-bit weights will do: they take fewer
bytes, need no training, and are not combined with sparsity here. No timings of sparse kernels are known to
the catalog, and the training is the user's: therefore it is at most considered, and enters no plan.
"""

from __future__ import annotations

from dataclasses import replace

from ridgeline_server.advisor.results import Effort, ReasonCode
from ridgeline_server.advisor.technique import Facts, NotApplicable, Proposal, Technique
from ridgeline_server.advisor.weight_only import explain
from ridgeline_server.domain.gates import dense_only, skips_zeros
from ridgeline_server.roofline.operators.layer import Stage


def propose(facts: Facts) -> Proposal | NotApplicable:
    """Sparse weights in today's formats, where the device has units that skip the zeros."""
    hardware, deployment = facts.scenario.hardware, facts.deployment
    if deployment.sparse_weights:
        return NotApplicable(
            ReasonCode.ALREADY_APPLIED,
            f"today's weights are 2:4 sparse already, {deployment.weight_bits:.3g} bits each.",
        )
    if not skips_zeros(hardware):
        return NotApplicable(
            ReasonCode.NO_COMPUTE_UNIT,
            f"no unit of {hardware.name} is known that skips two zeros of four, so the zeros would be "
            "multiplied like other weights.",
            "It applies on NVIDIA GPUs from Ampere on.",
        )
    dense = dense_only(deployment, facts.model)
    if dense:
        return NotApplicable(
            ReasonCode.INCOMPATIBLE_FORMATS,
            f"today's weights are {' and '.join(dense)}, and 2:4 kernels take 16-bit, fp8 and int8 ones.",
            "It applies to weights of 16 or 8 bits.",
        )
    return Proposal(facts.workload, replace(deployment, sparse_weights=True))


TECHNIQUE = Technique(
    id="sparsity-2-4",
    title="2:4 sparse weights",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.RETRAIN,
    accuracy="Large without further training: half of the weights are gone; training recovers most of it.",
    requirements=(
        "an NVIDIA GPU from Ampere on",
        "an engine with 2:4 kernels for this device",
        "a checkpoint that was pruned to 2:4 and trained further",
    ),
    conflicts=("nvfp4-compute", "weight-only-int4", "w4a8-compute", "w4a8-mxfp4-compute"),
    assumptions=(
        "2:4: each weight that is kept stores a 2-bit position; lm_head, embedding and norms stay dense.",
        "Sparse kernels reach the share of their peak that was timed for dense ones.",
    ),
    propose=propose,
    explain=explain,
)
