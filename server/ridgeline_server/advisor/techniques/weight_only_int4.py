"""W4A16: layer weights in INT4 with group scales (the class of AWQ and GPTQ), arithmetic in 16 bits."""

from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.technique import Technique
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
    conflicts=("weight-only-int8", "int8-compute"),
    assumptions=(
        (
            "W4A16: groups of 128 weights share an fp16 scale and zero point, 4.25 bits per weight; "
            "lm_head, embedding and norms stay 16-bit."
        ),
    ),
    propose=propose_format(Dtype.INT4),
    explain=explain,
)
