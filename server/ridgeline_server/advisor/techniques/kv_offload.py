"""KV offloading: a share of the KV cache stays in the host's memory.

What it does: The offloaded keys and values are copied over the host's link for each decode step.

When it pays: To serve contexts at all whose cache the device cannot hold beside the weights. The smallest
share is proposed with which the rest fits, in steps of a twentieth, and it is never more than considered.

When it does not: Wherever the cache fits, since the host's link is tens of times slower than the device's
memory; a smaller cache format or fewer sequences are faster.
"""

from __future__ import annotations

from ridgeline_server.advisor.offloading import explain_offload, propose_offload
from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.technique import Part, Technique
from ridgeline_server.roofline.operators.layer import Stage

TECHNIQUE = Technique(
    id="kv-offload",
    title="KV cache in the host's memory",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.FLAG,
    accuracy="None: the same keys and values are read from elsewhere.",
    requirements=("host memory for what is offloaded", "an engine that offloads the KV cache"),
    conflicts=(),
    assumptions=("Offloading: copies run beside the arithmetic of a step, and the slower of both counts.",),
    propose=propose_offload("kv_share"),
    explain=explain_offload("kv_share"),
    lossless=True,
    sets=Part.OFFLOAD,
)
