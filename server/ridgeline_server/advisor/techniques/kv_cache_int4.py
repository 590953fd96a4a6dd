"""KV cache in INT4 with a scale and zero point per token and head."""

from ridgeline_server.advisor.kv_compression import explain, propose_format
from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.technique import Technique
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.roofline.operators.layer import Stage

TECHNIQUE = Technique(
    id="kv-cache-int4",
    title="4-bit KV cache",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.FLAG,
    accuracy="Visible: 4 bits with a scale per token and head.",
    requirements=("an engine with an INT4 KV cache for this device",),
    conflicts=("kv-cache-int8",),
    assumptions=(
        (
            "KV INT4: an fp16 scale and zero point per token and head, 4.25 bits per element at a head size "
            "of 128."
        ),
    ),
    propose=propose_format(Dtype.INT4),
    explain=explain,
)
