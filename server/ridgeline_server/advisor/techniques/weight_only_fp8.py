"""W8A16 in FP8: layer weights in FP8 with one scale per channel, arithmetic in 16 bits.

What it does: The matrices of the layers are stored as 8-bit floats with a scale for each output channel. The
kernel widens them in registers and multiplies in 16 bits, so that no FP8 unit is needed: an A100 can do it.

When it pays: Where a decode step waits for weight bytes on a device without an FP8 unit, or where the inputs
of the GEMMs must stay 16-bit. It moves as many bytes as INT8 weights: on an A100's datasheet roofline the
weight GEMMs of Llama-3.1-8B turn compute-bound at batch 82 instead of 163. With 512 input tokens on an H100
it gains 1.41x at batch 1 and 1.20x at 64.

When it does not: Beyond that batch (1.04x at batch 256 on the H100); where the KV cache outweighs the
weights; in prefill. A device with an FP8 unit has the same bytes and faster arithmetic from fp8-compute.
"""

from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.technique import Part, Technique
from ridgeline_server.advisor.weight_only import explain, propose_format
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.roofline.operators.layer import Stage

TECHNIQUE = Technique(
    id="weight-only-fp8",
    title="FP8 weights (W8A16)",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.REQUANTIZE,
    accuracy="Rounding to 8-bit floats per channel; usually within the noise of benchmarks.",
    requirements=("an engine with W8A16 kernels for FP8 weights on this device",),
    conflicts=(),
    assumptions=(
        "W8A16: one scale per output channel; lm_head, embedding and norms stay 16-bit.",
        "Kernels widen FP8 weights at the cost that was timed for INT8 ones.",
    ),
    propose=propose_format(Dtype.FP8),
    explain=explain,
    sets=Part.OPERANDS,
)
