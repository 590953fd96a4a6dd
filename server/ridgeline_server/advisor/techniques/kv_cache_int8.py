"""KV cache in INT8 with a scale and zero point per token and head.

What it does: Keys and values are stored in 8.25 bits at a head size of 128 instead of 16, and widened by the
attention kernel as it reads them.

When it pays: Where a decode step reads more cache than weights: many sequences or long contexts. On an H100
Llama-3.1-8B gains 1.24x with 64 sequences of 2,048 input tokens and 1.57x with 16 of 32,000. It nearly
doubles the requests that fit, which is worth more than the time where memory limits the batch.

When it does not: With few sequences and short contexts: at batch 1 and 2,048 input tokens the cache is under
2% of the bytes, and nothing changes. With layers that keep little: few KV heads, sliding windows, latent
attention. In prefill.
"""

from ridgeline_server.advisor.kv_compression import explain, propose_format
from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.technique import Part, Technique
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.roofline.operators.layer import Stage

TECHNIQUE = Technique(
    id="kv-cache-int8",
    title="8-bit KV cache",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.FLAG,
    accuracy="Small: 8 bits with a scale per token and head.",
    requirements=("an engine with an INT8 KV cache for this device",),
    conflicts=(),
    assumptions=(
        (
            "KV INT8: an fp16 scale and zero point per token and head, 8.25 bits per element at a head size "
            "of 128."
        ),
    ),
    propose=propose_format(Dtype.INT8),
    explain=explain,
    sets=Part.CACHE_FORMAT,
)
