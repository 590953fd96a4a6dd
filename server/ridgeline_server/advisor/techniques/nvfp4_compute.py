"""W4A4: weights and GEMM inputs in blocks of 4-bit floats, multiplied by FP4 units.

What it does: NVFP4 keeps an FP8 scale for 16 elements, 4.5 bits each, and NVIDIA's FP4 units multiply the
blocks as they are; other vendors' units take MXFP4, a scale that is a power of two for 32 elements.
Attention, lm_head and what lies between the GEMMs stay 16-bit.

When it pays: Where prefill waits for arithmetic on a device with an FP4 unit (NVIDIA from Blackwell on, AMD
from MI350 on). A B200 does 9,000 TFLOP/s in FP4 against 2,250 in 16 bits: Llama-3.1-8B with 2,048 input
tokens has its first token 1.78x sooner at batch 1 and 2.04x at 16. Decode gains from fewer weight bytes:
1.53x at batch 1, 1.40x at 16.

When it does not: On a device without the unit: weight-only-int4 has fewer bytes still. Where accuracy matters
more than the last quarter of the time: fp8-compute gains 1.35x in TTFT on the same B200. Where attention,
which stays 16-bit, outweighs the GEMMs.
"""

from __future__ import annotations

from ridgeline_server.advisor.low_bit_compute import explain, propose_format
from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.technique import Facts, NotApplicable, Part, Proposal, Technique
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.roofline.operators.layer import Stage


def block_format(hardware: Hardware) -> Dtype:
    """The blocks that a device's FP4 unit takes: NVIDIA's NVFP4, elsewhere those of the OCP specification."""
    return Dtype.NVFP4 if hardware.vendor.lower() == "nvidia" else Dtype.MXFP4


def propose(facts: Facts) -> Proposal | NotApplicable:
    """Weights and GEMM inputs in 4-bit blocks, where the device has the unit."""
    return propose_format(facts, "nvfp4-compute", block_format(facts.scenario.hardware))


TECHNIQUE = Technique(
    id="nvfp4-compute",
    title="4-bit float compute (W4A4)",
    stage=Stage.PREFILL,
    metric="ttft_ms",
    effort=Effort.CALIBRATE,
    accuracy="Visible, more so for small models: inputs have 4 bits too, scaled in small blocks.",
    requirements=(
        "an FP4 unit",
        "an engine with NVFP4 GEMMs for this device (MXFP4 where the device is not NVIDIA's)",
        "a calibration set, or a published NVFP4 checkpoint",
    ),
    conflicts=(),
    assumptions=(
        (
            "W4A4: the layers' GEMMs read weights and inputs in NVFP4, an FP8 scale for 16 elements, 4.5 "
            "bits each (MXFP4: 4.25); all other activations, attention and lm_head stay 16-bit."
        ),
    ),
    propose=propose,
    explain=explain,
    sets=Part.OPERANDS,
)
