"""KV cache in FP8 with one scale per tensor.

What it does: Keys and values are stored as 8-bit floats instead of 16 bits, and widened by the attention
kernel as it reads them. A scale for a whole tensor costs no bits.

When it pays: Where a decode step reads more cache than weights: on an H100 Llama-3.1-8B gains 1.20x with 64
sequences of 2,048 input tokens and 1.45x with 16 of 32,000. It doubles the requests that fit.

When it does not: With few sequences and short contexts: at batch 1 and 2,048 input tokens the cache is under
2% of the bytes, and nothing changes. With layers that keep little: few KV heads, sliding windows, latent
attention. Kernels that were timed widen FP8 keys more slowly than integers, which costs a part of the gain.
"""

from ridgeline_server.advisor.kv_compression import explain, propose_format
from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.technique import Part, Technique
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.roofline.operators.layer import Stage

TECHNIQUE = Technique(
    id="kv-cache-fp8",
    title="FP8 KV cache",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.FLAG,
    accuracy="Small: 8-bit floats with one scale per tensor, better with calibrated scales than with 1.",
    requirements=("an engine with an FP8 KV cache for this device",),
    conflicts=(),
    assumptions=("KV FP8: one scale per tensor, 8 bits per element; attention computes in 16 bits.",),
    propose=propose_format(Dtype.FP8),
    explain=explain,
    sets=Part.CACHE_FORMAT,
)
