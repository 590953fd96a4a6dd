"""One layer, the rest, and the KV elements of a token, worked by hand for a model of each family."""

from __future__ import annotations

import pytest

from ridgeline_server.domain.config_reader import read_config
from tests.unit.domain.model_configs import config, read

HAND_WORKED = {
    # q and o 4096 x 4096, k and v alike (32 key-value heads of 128), gate, up, down, two gains.
    "meta-llama/Llama-2-7b-hf": (
        4 * 4096 * 4096 + 3 * 11008 * 4096 + 2 * 4096,
        2 * 32000 * 4096 + 4096,
        32 * 2 * 32 * 128,
    ),
    # 8 key-value heads of 128: k and v are 1024 wide.
    "mistralai/Mistral-7B-v0.1": (
        2 * 4096 * 4096 + 2 * 1024 * 4096 + 3 * 14336 * 4096 + 2 * 4096,
        2 * 32000 * 4096 + 4096,
        32 * 2 * 8 * 128,
    ),
    # intermediate_size 22016 is that of gate and up together; biases on q, k and v only.
    "Qwen/Qwen-7B-Chat": (
        4 * 4096 * 4096 + 3 * 4096 + 3 * 11008 * 4096 + 2 * 4096,
        2 * 151936 * 4096 + 4096,
        32 * 2 * 32 * 128,
    ),
    # 28 heads and 4 key-value heads of 128, biases on q, k and v.
    "Qwen/Qwen2.5-7B": (
        (3584 + 2 * 512) * (3584 + 1) + 3584 * 3584 + 3 * 18944 * 3584 + 2 * 3584,
        2 * 152064 * 3584 + 3584,
        28 * 2 * 4 * 128,
    ),
    # 32 heads of 128 on a hidden size of 2560: q is 4096 wide; gains of 128 for q and for k; tied.
    "Qwen/Qwen3-4B": (
        (4096 + 2 * 1024) * 2560 + 2560 * 4096 + 2 * 128 + 3 * 9728 * 2560 + 2 * 2560,
        151936 * 2560 + 2560,
        36 * 2 * 8 * 128,
    ),
    # 16 heads of 256 on a hidden size of 3072.
    "google/gemma-7b": (
        3 * 4096 * 3072 + 3072 * 4096 + 3 * 24576 * 3072 + 2 * 3072,
        256000 * 3072 + 3072,
        28 * 2 * 16 * 256,
    ),
    # Four norms a layer.
    "google/gemma-2-2b-it": (
        (2048 + 2 * 1024) * 2304 + 2304 * 2048 + 3 * 9216 * 2304 + 4 * 2304,
        256000 * 2304 + 2304,
        26 * 2 * 4 * 256,
    ),
    # Four norms a layer, and a gain of 256 each for q and k.
    "google/gemma-3-1b-it": (
        (1024 + 2 * 256) * 1152 + 1152 * 1024 + 2 * 256 + 3 * 6912 * 1152 + 4 * 1152,
        262144 * 1152 + 1152,
        26 * 2 * 1 * 256,
    ),
    # Biases everywhere, LayerNorms of two vectors, 2048 + 2 positions.
    "facebook/opt-6.7b": (
        4 * 4096 * (4096 + 1) + 16384 * (4096 + 1) + 4096 * (16384 + 1) + 2 * 2 * 4096,
        50272 * 4096 + 2050 * 4096 + 2 * 4096,
        32 * 2 * 32 * 128,
    ),
    # One norm for attention and MLP; lm_head has a bias of 51200.
    "microsoft/phi-2": (
        4 * 2560 * (2560 + 1) + 10240 * (2560 + 1) + 2560 * (10240 + 1) + 2 * 2560,
        2 * 51200 * 2560 + 51200 + 2 * 2560,
        32 * 2 * 32 * 80,
    ),
    # The fused qkv_proj is (40 + 2 * 10) heads of 128 wide, gate_up_proj twice 17920.
    "microsoft/phi-4": (
        (5120 + 2 * 1280) * 5120 + 5120 * 5120 + 2 * 17920 * 5120 + 5120 * 17920 + 2 * 5120,
        2 * 100352 * 5120 + 5120,
        40 * 2 * 10 * 128,
    ),
    # c_attn holds q, k and v; the MLP is 4 x 768 wide.
    "openai-community/gpt2": (
        2304 * (768 + 1) + 768 * (768 + 1) + 3072 * (768 + 1) + 768 * (3072 + 1) + 2 * 2 * 768,
        50257 * 768 + 1024 * 768 + 2 * 768,
        12 * 2 * 12 * 64,
    ),
    # One norm, no biases in attention, biases in the MLP and in lm_head.
    "EleutherAI/gpt-j-6b": (
        4 * 4096 * 4096 + 16384 * (4096 + 1) + 4096 * (16384 + 1) + 2 * 4096,
        2 * 50400 * 4096 + 50400 + 2 * 4096,
        28 * 2 * 16 * 256,
    ),
    # Parallel, yet with two norms.
    "EleutherAI/gpt-neox-20b": (
        4 * 6144 * (6144 + 1) + 24576 * (6144 + 1) + 6144 * (24576 + 1) + 2 * 2 * 6144,
        2 * 50432 * 6144 + 2 * 6144,
        44 * 2 * 64 * 96,
    ),
    # 71 heads of 64 share one key-value head; one norm.
    "tiiuae/falcon-7b": (
        (4544 + 2 * 64) * 4544 + 4544 * 4544 + 2 * 4 * 4544 * 4544 + 2 * 4544,
        65024 * 4544 + 2 * 4544,
        32 * 2 * 1 * 64,
    ),
    # A LayerNorm after the embedding and one at the end.
    "bigscience/bloom": (
        4 * 14336 * (14336 + 1) + 57344 * (14336 + 1) + 14336 * (57344 + 1) + 2 * 2 * 14336,
        250880 * 14336 + 2 * 14336 + 2 * 14336,
        70 * 2 * 112 * 128,
    ),
    # No bias at all, not even in the norms.
    "mosaicml/mpt-7b": (
        4 * 4096 * 4096 + 2 * 16384 * 4096 + 2 * 4096,
        50432 * 4096 + 4096,
        32 * 2 * 32 * 128,
    ),
    # Two key-value heads of 128, biases, a plain MLP.
    "bigcode/starcoder2-3b": (
        (3072 + 2 * 256 + 3072) * (3072 + 1) + 12288 * (3072 + 1) + 3072 * (12288 + 1) + 2 * 2 * 3072,
        49152 * 3072 + 2 * 3072,
        30 * 2 * 2 * 128,
    ),
    # 48 heads share one key-value head of 128; 8192 learned positions.
    "bigcode/starcoder": (
        (6144 + 2 * 128 + 6144) * (6144 + 1) + 24576 * (6144 + 1) + 6144 * (24576 + 1) + 2 * 2 * 6144,
        49152 * 6144 + 8192 * 6144 + 2 * 6144,
        40 * 2 * 1 * 128,
    ),
    # Norms without parameters.
    "allenai/OLMo-7B-hf": (
        4 * 4096 * 4096 + 3 * 11008 * 4096,
        2 * 50304 * 4096,
        32 * 2 * 32 * 128,
    ),
    # Norms after attention and MLP, and gains over the whole of q and of k.
    "allenai/OLMo-2-1124-7B": (
        4 * 4096 * 4096 + 2 * 4096 + 3 * 11008 * 4096 + 2 * 4096,
        2 * 100352 * 4096 + 4096,
        32 * 2 * 32 * 128,
    ),
    "allenai/Olmo-3-7B": (
        4 * 4096 * 4096 + 2 * 4096 + 3 * 11008 * 4096 + 2 * 4096,
        2 * 100278 * 4096 + 4096,
        32 * 2 * 32 * 128,
    ),
    # Biases on q, k, v and o.
    "internlm/internlm-chat-7b": (
        4 * 4096 * (4096 + 1) + 3 * 11008 * 4096 + 2 * 4096,
        2 * 103168 * 4096 + 4096,
        32 * 2 * 32 * 128,
    ),
    # wqkv holds 32 query heads and twice 8 key-value heads of 128.
    "internlm/internlm2-chat-7b": (
        (4096 + 2 * 1024) * 4096 + 4096 * 4096 + 3 * 14336 * 4096 + 2 * 4096,
        2 * 92544 * 4096 + 4096,
        32 * 2 * 8 * 128,
    ),
    "baichuan-inc/Baichuan2-7B-Chat": (
        4 * 4096 * 4096 + 3 * 11008 * 4096 + 2 * 4096,
        2 * 125696 * 4096 + 4096,
        32 * 2 * 32 * 128,
    ),
    # LayerNorms with biases around a llama layer.
    "stabilityai/stablelm-3b-4e1t": (
        4 * 2560 * 2560 + 3 * 6912 * 2560 + 2 * 2 * 2560,
        2 * 50304 * 2560 + 2 * 2560,
        32 * 2 * 32 * 80,
    ),
    "OrionStarAI/Orion-14B-Chat": (
        4 * 5120 * 5120 + 3 * 15360 * 5120 + 2 * 2 * 5120,
        2 * 84608 * 5120 + 2 * 5120,
        40 * 2 * 40 * 128,
    ),
    # One LayerNorm of one vector, and gains over the whole of q (96 heads) and k (8 heads).
    "CohereForAI/c4ai-command-r-plus": (
        (12288 + 2 * 1024) * 12288 + 12288 * 12288 + (12288 + 1024) + 3 * 33792 * 12288 + 12288,
        256000 * 12288 + 12288,
        64 * 2 * 8 * 128,
    ),
    # Two key-value groups of 128, biases on q, k and v; the vocabulary is the padded one.
    "THUDM/glm-4-9b-chat": (
        (4096 + 2 * 256) * (4096 + 1) + 4096 * 4096 + 3 * 13696 * 4096 + 2 * 4096,
        2 * 151552 * 4096 + 4096,
        40 * 2 * 2 * 128,
    ),
    "openbmb/MiniCPM-2B-dpo-bf16": (
        4 * 2304 * 2304 + 3 * 5760 * 2304 + 2 * 2304,
        2 * 122760 * 2304 + 2304,
        40 * 2 * 36 * 64,
    ),
    # 32 heads of 128 on a hidden size of 3072; tied.
    "mistralai/Ministral-3-3B-Instruct-2512": (
        (4096 + 2 * 1024) * 3072 + 3072 * 4096 + 3 * 9216 * 3072 + 2 * 3072,
        131072 * 3072 + 3072,
        26 * 2 * 8 * 128,
    ),
    # As Qwen2 with a head of its own; the multi-token-prediction layer is left out.
    "XiaomiMiMo/MiMo-7B-Base": (
        (4096 + 2 * 1024) * (4096 + 1) + 4096 * 4096 + 3 * 11008 * 4096 + 2 * 4096,
        2 * 151680 * 4096 + 4096,
        36 * 2 * 8 * 128,
    ),
}


@pytest.mark.parametrize("model", HAND_WORKED)
def test_layers_and_the_rest_hold_what_is_worked_out_by_hand(model: str) -> None:
    per_layer, rest, kv_elements = HAND_WORKED[model]
    found = read(model)
    assert {kind.parameters for kind in found.layer_kinds} == {per_layer}
    assert sum(tensor.parameters for tensor in found.tensors) == rest
    assert found.kv_elements_per_token == kv_elements


def test_kv_elements_of_a_token_are_those_known_from_papers() -> None:
    # arXiv:2309.06180, section 4: 800 KB a token for OPT-13B in fp16.
    opt = config("facebook/opt-6.7b", hidden_size=5120, num_hidden_layers=40, num_attention_heads=40)
    opt |= {"ffn_dim": 20480, "word_embed_proj_dim": 5120}
    assert 2 * read_config(opt).kv_elements_per_token == 800 * 1024
    # Llama 3 70B: 320 KiB a token in bf16, 80 layers of 8 key-value heads instead of 64.
    assert 2 * read("meta-llama/Llama-3.3-70B-Instruct").kv_elements_per_token == 320 * 1024
    assert 2 * read("meta-llama/Meta-Llama-3-8B").kv_elements_per_token == 128 * 1024
