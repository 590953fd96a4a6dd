"""KV cache in INT4 with a scale and zero point per token and head.

What it does: Keys and values are stored in 4.25 bits at a head size of 128 instead of 16, and widened by the
attention kernel as it reads them.

When it pays: Where a decode step reads far more cache than weights: on an H100 Llama-3.1-8B gains 1.42x with
64 sequences of 2,048 input tokens and 2.22x with 16 of 32,000. It lets nearly four times as many requests
fit.

When it does not: With few sequences and short contexts: at batch 1 and 2,048 input tokens nothing changes.
With layers that keep little: few KV heads, sliding windows, latent attention. Where answers must not change:
8 bits lose far less.
"""

from ridgeline_server.advisor.kv_compression import explain, propose_format
from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.technique import Part, Technique
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
    conflicts=(),
    assumptions=(
        (
            "KV INT4: an fp16 scale and zero point per token and head, 4.25 bits per element at a head size "
            "of 128."
        ),
    ),
    propose=propose_format(Dtype.INT4),
    explain=explain,
    sets=Part.CACHE_FORMAT,
)
