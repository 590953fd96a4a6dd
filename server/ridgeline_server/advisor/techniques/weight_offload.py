"""Weight offloading: a share of the layers' weights stays in the host's memory.

What it does: The offloaded weights are copied over the host's link whenever a step needs them, beside its
arithmetic, so that a step takes the longer of both.

When it pays: To run a model at all whose weights the device cannot hold, with many sequences sharing each
copy. The smallest share is proposed with which the rest fits, and it is never more than considered.

When it does not: Wherever the model fits, since the host's link is tens of times slower than the device's
memory; smaller weights or more devices are faster.
"""

from __future__ import annotations

from ridgeline_server.advisor.offloading import explain_offload, propose_offload
from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.technique import Part, Technique
from ridgeline_server.roofline.operators.layer import Stage

TECHNIQUE = Technique(
    id="weight-offload",
    title="weights in the host's memory",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.FLAG,
    accuracy="None: the same weights are read from elsewhere.",
    requirements=("host memory for what is offloaded", "an engine that offloads weights"),
    conflicts=(),
    assumptions=("Offloading: copies run beside the arithmetic of a step, and the slower of both counts.",),
    propose=propose_offload("weight_share"),
    explain=explain_offload("weight_share"),
    lossless=True,
    sets=Part.OFFLOAD,
)
