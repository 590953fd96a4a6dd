"""Reads the format of a checkpoint's weights from its name, where the field's usual suffixes settle it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType

from ridgeline_server.domain.dtypes import Dtype


@dataclass(frozen=True)
class NamedFormat:
    """What a name states of the layers' weights. `activation_dtype` is the format of the GEMMs' inputs, None
    where they stay wide. A `marker` without a `weight_dtype` tells that they are quantised, and not how.
    """

    marker: str
    weight_dtype: Dtype | None = None
    weight_group_size: int = 0
    activation_dtype: Dtype | None = None


_INT4, _INT8 = (Dtype.INT4, 128, None), (Dtype.INT8, 0, None)
_SETTLED: Mapping[str, tuple[Dtype, int, Dtype | None]] = MappingProxyType(
    {
        "awq": _INT4,
        "gptq": _INT4,
        "gptq int4": _INT4,
        "gptq 4bit": _INT4,
        "gptq int8": (Dtype.INT8, 128, None),
        "gptq 8bit": (Dtype.INT8, 128, None),
        "awq int4": _INT4,
        "awq 4bit": _INT4,
        "int4": _INT4,
        "w4a16": _INT4,
        "gptq w4a16": _INT4,
        "awq w4a16": _INT4,
        "w8a16": _INT8,
        "w8a8": (Dtype.INT8, 0, Dtype.INT8),
        "w4afp8": (Dtype.INT4, 128, Dtype.FP8),
        "fp8": (Dtype.FP8, 0, Dtype.FP8),
        "nvfp4": (Dtype.NVFP4, 0, Dtype.NVFP4),
        "mxfp4": (Dtype.MXFP4, 0, None),
        "bnb 4bit": (Dtype.INT4, 64, None),
        "gguf q4_k_m": (Dtype.INT4, 38, None),
        "gguf q4_0": (Dtype.INT4, 64, None),
        "gguf q8_0": (Dtype.INT8, 64, None),
    }
)
"""Formats by the markers of a name: what AutoAWQ, GPTQModel, LLM Compressor, Model Optimizer and
llama-quantize make unless they are told otherwise. Groups of GGUF are those whose 32 bits of scales cost what
its blocks do.
"""
_MARKER = re.compile(
    r"awq|gptq|bnb|fp8|nvfp4|mxfp4|fp4|int[234568]|[2-8]bit|w\da\d+|w4afp8|exl[23]|hqq|aqlm|quip|quark|"
    r"(?:iq|q|tq)\d_\w+|[\d.]+bpw"
)


def named_format(name: str) -> NamedFormat | None:
    """The format that a checkpoint's or a GGUF file's name states; None where it states none."""
    words = re.split(r"[-.\s:]|_(?=gptq|awq|fp8|int\d|w\da)", PurePosixPath(name.lower()).name)
    words = [re.sub(r"^(\d)[-_]?bits?$", r"\1bit", word) for word in words]
    found = list(dict.fromkeys(word for word in words if _MARKER.fullmatch(word)))
    if not found:
        return None
    marker = " ".join(["gguf"] * ("gguf" in words) + found)
    settled = _SETTLED.get(marker)
    return NamedFormat(marker) if settled is None else NamedFormat(marker, *settled)
