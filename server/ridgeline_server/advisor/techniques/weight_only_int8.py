"""W8A16: layer weights in INT8 with one scale per channel, arithmetic in 16 bits."""

from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.technique import Technique
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
    conflicts=("weight-only-int4", "int8-compute"),
    assumptions=("W8A16: one 16-bit scale per output channel; lm_head, embedding and norms stay 16-bit.",),
    propose=propose_format(Dtype.INT8),
    explain=explain,
)
