"""W8A8 in FP8: FP8 weights and GEMM inputs, multiplied by FP8 units.

What it does: Weights have a scale for each channel, inputs one for each token that is made as they are
written, and an FP8 unit multiplies them. Attention, lm_head and what lies between the GEMMs stay 16-bit.

When it pays: Where prefill waits for arithmetic on a device with an FP8 unit (NVIDIA from Ada and Hopper on,
AMD from MI300 on). The unit is twice as fast by the data sheet; of that, kernels leave 1.1 to 1.7x: on an
H100 Llama-3.1-8B with 2,048 input tokens has its first token 1.23x sooner at batch 1 and 1.26x at 16. Decode
gains from half of the weight bytes: 1.47x at batch 1.

When it does not: On a device without the unit, such as an A100, which would widen both operands: there
weight-only-fp8 has the same bytes. Where launches hold the time: gpt2 on an H100 loses 6% of TTFT. Where
attention, which stays 16-bit, outweighs the GEMMs.
"""

from __future__ import annotations

from ridgeline_server.advisor.low_bit_compute import explain, propose_format
from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.technique import Facts, NotApplicable, Part, Proposal, Technique
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.roofline.operators.layer import Stage


def propose(facts: Facts) -> Proposal | NotApplicable:
    """Weights and GEMM inputs in FP8, where the device has the unit."""
    return propose_format(facts, "fp8-compute", Dtype.FP8)


TECHNIQUE = Technique(
    id="fp8-compute",
    title="FP8 compute (W8A8)",
    stage=Stage.PREFILL,
    metric="ttft_ms",
    effort=Effort.REQUANTIZE,
    accuracy="Small: 8-bit floats keep outliers, and inputs are scaled token by token.",
    requirements=("an FP8 unit", "an engine with FP8 GEMMs for this device"),
    conflicts=(),
    assumptions=(
        (
            "W8A8: the layers' GEMMs read FP8 weights and FP8 inputs, scaled per channel and per token; all "
            "other activations, attention and lm_head stay 16-bit."
        ),
    ),
    propose=propose,
    explain=explain,
    sets=Part.OPERANDS,
)
