"""W8A16: layer weights in INT8 with one scale per channel, arithmetic in 16 bits.

What it does: The matrices of the layers are stored in 8 bits with a scale for each output channel. The kernel
widens them in registers and multiplies in 16 bits; lm_head, embedding and norms stay wide.

When it pays: Where a decode step waits for weight bytes and 4 bits would cost too much accuracy. No
calibration data are needed. On the datasheet roofline of an H100 the weight GEMMs of Llama-3.1-8B turn
compute-bound at batch 167 instead of 333. With 512 input tokens it gains 1.41x at batch 1, 1.34x at 16 and
1.20x at 64.

When it does not: Beyond that batch (1.04x at batch 256); where the KV cache outweighs the weights; in
prefill. A device with an INT8 unit has the same bytes and faster arithmetic from int8-compute.
"""

from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.technique import Part, Technique
from ridgeline_server.advisor.weight_only import explain, propose_format
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.roofline.operators.layer import Stage

TECHNIQUE = Technique(
    id="weight-only-int8",
    title="8-bit weights (W8A16)",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.REQUANTIZE,
    accuracy="Rounding to 8 bits per channel; usually within the noise of benchmarks.",
    requirements=("an engine with W8A16 kernels for this device",),
    conflicts=(),
    assumptions=("W8A16: one 16-bit scale per output channel; lm_head, embedding and norms stay 16-bit.",),
    propose=propose_format(Dtype.INT8),
    explain=explain,
    sets=Part.OPERANDS,
)
