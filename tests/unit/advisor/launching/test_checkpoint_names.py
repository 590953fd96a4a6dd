"""Names of checkpoints that people serve: which settle the weights' format, and which only tell of one."""

from __future__ import annotations

import pytest

from ridgeline_server.advisor.launching.checkpoint_names import NamedFormat, named_format
from ridgeline_server.domain.dtypes import Dtype, weight_bits


@pytest.mark.parametrize(
    "name",
    [
        "meta-llama/Llama-3.1-8B",
        "Qwen/Qwen2.5-7B-Instruct",
        "deepseek-ai/DeepSeek-V3.1",
        "openai/gpt-oss-20b",
        "microsoft/Phi-3-mini-4k-instruct",
        "model-F16.gguf",
        "/models/llama.gguf",
    ],
)
def test_a_name_without_a_format_states_none(name: str) -> None:
    assert named_format(name) is None


@pytest.mark.parametrize(
    ("name", "marker"),
    [
        ("model-Q5_K_M.gguf", "gguf q5_k_m"),
        ("model-IQ3_XXS.gguf", "gguf iq3_xxs"),
        ("turboderp/Llama-3-8B-exl2", "exl2"),
        ("mlx-community/Llama-3-8B-4bit", "4bit"),
        ("org/Llama-3-8B-w8a8-int4", "w8a8 int4"),
        ("org/Llama-3-8B-int8", "int8"),
    ],
)
def test_a_name_that_tells_of_a_format_and_does_not_settle_it(name: str, marker: str) -> None:
    assert named_format(name) == NamedFormat(marker)


@pytest.mark.parametrize(
    ("name", "weight", "inputs", "bits"),
    [
        ("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4", Dtype.INT4, None, 4.25),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", Dtype.INT4, None, 4.25),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", Dtype.INT4, None, 4.25),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", Dtype.INT8, None, 8.25),
        ("TheBloke/Llama-2-7B_GPTQ", Dtype.INT4, None, 4.25),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", Dtype.INT4, None, 4.25),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", Dtype.INT8, Dtype.INT8, 8),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", Dtype.FP8, Dtype.FP8, 8),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", Dtype.FP8, Dtype.FP8, 8),
        ("nvidia/Llama-3.1-8B-Instruct-NVFP4", Dtype.NVFP4, Dtype.NVFP4, 4.5),
        ("unsloth/llama-3-8b-bnb-4bit", Dtype.INT4, None, 4.5),
        ("Llama-3.1-8B-Instruct-Q4_K_M.gguf", Dtype.INT4, None, 4.84),
        ("/models/llama-2-7b.Q8_0.gguf", Dtype.INT8, None, 8.5),
        ("llama-2-7b.Q4_0.gguf", Dtype.INT4, None, 4.5),
        ("bartowski/Llama-3.2-3B-Instruct-GGUF:Q8_0", Dtype.INT8, None, 8.5),
    ],
)
def test_the_usual_suffixes_settle_it(name: str, weight: Dtype, inputs: Dtype | None, bits: float) -> None:
    """Bits as AutoAWQ, GPTQModel and LLM Compressor make them by default, and as llama.cpp's blocks have."""
    found = named_format(name)
    assert found is not None
    assert (found.weight_dtype, found.activation_dtype) == (weight, inputs)
    assert weight_bits(weight, found.weight_group_size) == pytest.approx(bits, abs=0.01)
