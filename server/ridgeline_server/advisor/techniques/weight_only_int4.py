"""W4A16: layer weights in INT4 with group scales (the class of AWQ and GPTQ), arithmetic in 16 bits.

What it does: The matrices of the layers are stored in 4 bits, and each group of 128 weights shares a 16-bit
scale and zero point: 4.25 bits a weight instead of 16. The kernel widens them in registers and multiplies in
16 bits; lm_head, embedding and norms stay wide.

When it pays: Where a decode step waits for weight bytes: few sequences, short contexts, a large model. On the
datasheet roofline of an H100 the weight GEMMs of Llama-3.1-8B turn compute-bound at batch 89 instead of 333,
and the gain shrinks up to there. With 512 input tokens it gains 1.71x at batch 1, 1.57x at 16 and 1.32x at
64; on an RTX A6000, whose bandwidth is lower, 2.76x at batch 1.

When it does not: Beyond that batch, since the arithmetic stays 16-bit (1.07x at batch 256); where the KV
cache outweighs the weights; in prefill, which is bound by arithmetic; and for a small model on a fast device,
whose steps are launches: gpt2 on an H100 loses 2%.
"""

from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.technique import Part, Technique
from ridgeline_server.advisor.weight_only import explain, propose_format
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.roofline.operators.layer import Stage

TECHNIQUE = Technique(
    id="weight-only-int4",
    title="4-bit weights (W4A16)",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.CALIBRATE,
    accuracy="Visible on hard benchmarks, more so for small models; AWQ and GPTQ lose least.",
    requirements=(
        "an engine with W4A16 kernels for this device",
        "a calibration set, or a published AWQ or GPTQ checkpoint",
    ),
    conflicts=(),
    assumptions=(
        (
            "W4A16: groups of 128 weights share an fp16 scale and zero point, 4.25 bits per weight; "
            "lm_head, embedding and norms stay 16-bit."
        ),
    ),
    propose=propose_format(Dtype.INT4),
    explain=explain,
    sets=Part.OPERANDS,
)
