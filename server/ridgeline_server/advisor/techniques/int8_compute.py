"""W8A8: INT8 weights and GEMM inputs, multiplied by INT8 units (the class of SmoothQuant).

What it does: Weights have a scale for each channel, inputs one for each token, and an INT8 unit multiplies
them. Attention, lm_head and what lies between the GEMMs stay 16-bit.

When it pays: Where prefill waits for arithmetic and the unit is faster: an A100 does 624 TOP/s in INT8
against 312 TFLOP/s in 16 bits, and Llama-3.1-8B with 2,048 input tokens has its first token 1.70x sooner.
Decode gains too, from half of the weight bytes: 1.71x at batch 1.

When it does not: Where the unit is missing or slow: a B300 does 153.5 TOP/s in INT8 against 2,250 TFLOP/s in
16 bits, and the first token takes ten times as long. Where attention, which stays 16-bit, outweighs the
GEMMs: prompts of tens of thousands of tokens. On an H100 fp8-compute gains more: 1.23x against 1.14x in TTFT
with 2,048 input tokens.
"""

from __future__ import annotations

from ridgeline_server.advisor.low_bit_compute import explain, propose_format
from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.technique import Facts, NotApplicable, Part, Proposal, Technique
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.roofline.operators.layer import Stage


def propose(facts: Facts) -> Proposal | NotApplicable:
    """Weights and GEMM inputs in INT8, where the device has the unit."""
    return propose_format(facts, "int8-compute", Dtype.INT8)


TECHNIQUE = Technique(
    id="int8-compute",
    title="INT8 compute (W8A8)",
    stage=Stage.PREFILL,
    metric="ttft_ms",
    effort=Effort.CALIBRATE,
    accuracy="Activations have outliers; methods of the SmoothQuant class move them into the weights first.",
    requirements=("an INT8 unit", "an engine with W8A8 kernels for this device", "a calibration set"),
    conflicts=(),
    assumptions=(
        (
            "W8A8: the layers' GEMMs read INT8 weights and INT8 inputs; all other activations, attention "
            "and lm_head stay 16-bit."
        ),
    ),
    propose=propose,
    explain=explain,
    sets=Part.OPERANDS,
)
