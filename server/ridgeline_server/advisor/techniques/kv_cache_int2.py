"""KV cache in INT2: keys per channel, values per token, in groups of 32 (the class of KIVI).

What it does: Keys and values are stored in 2 bits. 32 tokens of one channel of the keys, or 32 channels of
one token's values, share a 16-bit scale and zero point: 3 bits instead of 16. The attention kernel widens
them as it reads them.

When it pays: Where a decode step reads far more cache than weights: on an H100 Llama-3.1-8B gains 1.48x with
64 sequences of 2,048 input tokens and 2.55x with 16 of 32,000. It lets over five times as many requests fit.

When it does not: With few sequences and short contexts: at batch 1 and 2,048 input tokens nothing changes.
The newest tokens stay in 16 bits until a group is full, so that contexts of a few hundred tokens save less
than is told. Where keys and values are shared by many heads, 2 bits lose answers: 4 bits keep most of the
gain. None of the engines that were looked up has it: on devices of the vendors they run on it is considered
at most.
"""

from __future__ import annotations

from ridgeline_server.advisor.kv_compression import explain, propose_format
from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.technique import Part, Technique
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.roofline.operators.layer import Stage

TECHNIQUE = Technique(
    id="kv-cache-int2",
    title="2-bit KV cache",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.FLAG,
    accuracy="Visible: 2 bits, keys scaled per channel and values per token; worst for few KV heads.",
    requirements=(
        "an engine with a 2-bit KV cache for this device, which none of the looked-up engines has",
    ),
    conflicts=(),
    assumptions=(
        (
            "KV INT2: an fp16 scale and zero point for 32 elements, 3 bits per element. The newest tokens, "
            "up to 128 of which KIVI keeps in 16 bits, are counted like all others."
        ),
    ),
    propose=propose_format(Dtype.INT2),
    explain=explain,
    sets=Part.CACHE_FORMAT,
)
