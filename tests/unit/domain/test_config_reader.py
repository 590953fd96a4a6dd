"""What a Hugging Face config.json is read as: parameters, tensors, windows, context and formats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.families import FAMILIES
from ridgeline_server.domain.mixers import Attention
from ridgeline_server.domain.mlps import Mlp
from ridgeline_server.domain.model import LayerKind, Model
from ridgeline_server.domain.tensors import TensorKind
from tests.unit.domain.model_configs import DENSE, TRANSFORMERS, config, small


def read(model: str, **changes: object) -> Model:
    return read_config(config(model, **changes), model)


def attention(kind: LayerKind) -> Attention:
    (mixer,) = kind.mixers
    assert isinstance(mixer, Attention)
    return mixer


def mlp(kind: LayerKind) -> Mlp:
    (found,) = kind.mlps
    assert isinstance(found, Mlp)
    return found


def stored(model: Model, operator: str) -> int:
    kinds = [*(kind.tensors for kind in model.layer_kinds), model.tensors]
    return sum(tensor.parameters for tensors in kinds for tensor in tensors if tensor.operator == operator)


def shapes(tensors: Any) -> dict[str, list[tuple[int, ...]]]:
    found: dict[str, list[tuple[int, ...]]] = {}
    for tensor in tensors:
        found.setdefault(tensor.operator, []).append(tensor.shape)
    return found


# Published parameter counts

EXACT = [model for model, entry in DENSE.items() if entry["verdict"] == "exact"]
BEYOND_THE_WEIGHTS: dict[str, Callable[[Any], int]] = {
    # What the published count holds besides the weights that operators read, and why.
    "published stores the tied lm_head twice (+V*H)": lambda m: m.vocab_size * m.hidden_size,
    "published adds rotary inv_freq buffers": lambda m: (
        m.layer_count * attention(m.layer_kinds[0]).head_dim // 2
    ),
    "published adds rotary inv_freq": lambda m: attention(m.layer_kinds[0]).rotary_dim // 2,
    "published adds causal-mask buffers (n_layer*n_ctx^2)": lambda m: m.layer_count * m.max_context_len**2,
    "published adds attention.bias/masked_bias/inv_freq buffers": lambda m: (
        m.layer_count * (m.max_context_len**2 + attention(m.layer_kinds[0]).rotary_dim // 2)
    ),
    # One fp32 scale for each block of 128 x 128 weights of the layers' matrices.
    "published adds FP8 block scales": lambda m: sum(
        kind.count * tensor.parameters // 128**2
        for kind in m.layer_kinds
        for tensor in kind.tensors
        if tensor.kind is TensorKind.MATRIX
    ),
    # The published checkpoint has 32,000 tokens, the copy of the config 32,016: 16 rows in two matrices.
    "within 0.01 %": lambda m: -16 * 2 * m.hidden_size,
}
EXPLAINED = [model for model, entry in DENSE.items() if entry["verdict"] in BEYOND_THE_WEIGHTS]


def test_over_fifty_models_have_an_exactly_published_count() -> None:
    assert len(EXACT) == 53
    assert len(EXPLAINED) == 17


@pytest.mark.parametrize("model", EXACT)
def test_parameters_are_those_published(model: str) -> None:
    assert read(model).parameter_count == DENSE[model]["published_total"]


@pytest.mark.parametrize("model", EXPLAINED)
def test_a_published_count_differs_by_what_it_holds_besides_the_weights(model: str) -> None:
    entry, found = DENSE[model], read(model)
    assert entry["published_total"] - found.parameter_count == BEYOND_THE_WEIGHTS[entry["verdict"]](found)


@pytest.mark.parametrize("model", DENSE)
def test_parameters_agree_with_a_count_made_from_the_modelling_code(model: str) -> None:
    assert read(model).parameter_count == DENSE[model]["computed_total"]


@pytest.mark.parametrize("entry", TRANSFORMERS, ids=lambda e: e["config"]["model_type"])
def test_small_models_have_as_many_parameters_as_transformers_allocates(entry: dict[str, Any]) -> None:
    assert read_config(entry["config"]).parameter_count == entry["parameters"]


# One layer, the rest, and the KV elements of a token, worked by hand for a model of each family

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


def test_every_family_is_compared_with_a_count_from_elsewhere() -> None:
    published = {entry["config"]["model_type"] for entry in DENSE.values()}
    allocated = {entry["config"]["model_type"] for entry in TRANSFORMERS}
    assert set(FAMILIES) - published - allocated == {"RefinedWeb", "RefinedWebModel"}


def test_kv_elements_of_a_token_are_those_known_from_papers() -> None:
    # arXiv:2309.06180, section 4: 800 KB a token for OPT-13B in fp16.
    opt = config("facebook/opt-6.7b", hidden_size=5120, num_hidden_layers=40, num_attention_heads=40)
    opt |= {"ffn_dim": 20480, "word_embed_proj_dim": 5120}
    assert 2 * read_config(opt).kv_elements_per_token == 800 * 1024
    # Llama 3 70B: 320 KiB a token in bf16, 80 layers of 8 key-value heads instead of 64.
    assert 2 * read("meta-llama/Llama-3.3-70B-Instruct").kv_elements_per_token == 320 * 1024
    assert 2 * read("meta-llama/Meta-Llama-3-8B").kv_elements_per_token == 128 * 1024


# Shapes

LLAMA_SHAPES = {
    "attn_norm": [(64,)],
    "q_proj": [(64, 64)],
    "k_proj": [(16, 64)],
    "v_proj": [(16, 64)],
    "o_proj": [(64, 64)],
    "mlp_norm": [(64,)],
    "gate_proj": [(160, 64)],
    "up_proj": [(160, 64)],
    "down_proj": [(64, 160)],
}


def test_a_llama_layer_has_these_tensors_and_no_others() -> None:
    (kind,) = read_config(small()).layer_kinds
    assert shapes(kind.tensors) == LLAMA_SHAPES
    assert (kind.name, kind.count, attention(kind).window, kind.parallel) == ("all", 3, None, False)
    assert attention(kind) == Attention(8, 2, head_dim=8, value_head_dim=8, rotary_dim=8)
    assert mlp(kind) == Mlp(160, gated=True, activation="silu")
    assert kind.norms == ("attn_norm", "mlp_norm")
    assert {t.operator for t in kind.tensors if t.kind is TensorKind.MATRIX} == {
        operator for operator in LLAMA_SHAPES if operator.endswith("proj")
    }


def test_a_head_dim_of_its_own_widens_q_and_narrows_nothing_else() -> None:
    (kind,) = read_config(small(head_dim=32)).layer_kinds
    assert shapes(kind.tensors) == {
        **LLAMA_SHAPES,
        "q_proj": [(256, 64)],
        "k_proj": [(64, 64)],
        "v_proj": [(64, 64)],
        "o_proj": [(64, 256)],
    }


def test_biases_are_vectors_of_the_operator_that_adds_them() -> None:
    (kind,) = read_config(small(attention_bias=True, mlp_bias=True)).layer_kinds
    found = shapes(kind.tensors)
    assert found["k_proj"] == [(16, 64), (16,)]
    assert found["o_proj"] == [(64, 64), (64,)]
    assert found["down_proj"] == [(64, 160), (64,)]
    assert {t.kind for t in kind.tensors if len(t.shape) == 1} == {TensorKind.VECTOR}


def test_a_gpt2_layer_has_a_plain_mlp_and_the_model_a_table_of_positions() -> None:
    gpt2 = read("openai-community/gpt2")
    (kind,) = gpt2.layer_kinds
    assert shapes(kind.tensors) == {
        "attn_norm": [(768,), (768,)],
        "q_proj": [(768, 768), (768,)],
        "k_proj": [(768, 768), (768,)],
        "v_proj": [(768, 768), (768,)],
        "o_proj": [(768, 768), (768,)],
        "mlp_norm": [(768,), (768,)],
        "up_proj": [(3072, 768), (3072,)],
        "down_proj": [(768, 3072), (768,)],
    }
    assert shapes(gpt2.tensors) == {
        "embedding": [(50257, 768)],
        "position_embedding": [(1024, 768)],
        "final_norm": [(768,), (768,)],
        "lm_head": [(50257, 768)],
    }
    assert [t.kind for t in gpt2.tensors if len(t.shape) == 2] == [
        TensorKind.TABLE,
        TensorKind.TABLE,
        TensorKind.MATRIX,
    ]
    assert (mlp(kind).gated, mlp(kind).activation, attention(kind).rotary_dim) == (False, "gelu_new", 0)


@pytest.mark.parametrize(("stated", "tied"), [(True, True), (False, False), (None, False)])
def test_lm_head_is_read_whether_it_is_tied_or_not_and_stored_once(stated: bool | None, tied: bool) -> None:
    model = read_config(small(tie_word_embeddings=stated))
    (lm_head,) = [tensor for tensor in model.tensors if tensor.operator == "lm_head"]
    assert (lm_head.shape, lm_head.kind, lm_head.shared) == ((101, 64), TensorKind.MATRIX, tied)
    assert stored(model, "embedding") + stored(model, "lm_head") == (1 if tied else 2) * 101 * 64


@pytest.mark.parametrize(
    ("model", "norms", "parallel"),
    [
        ("meta-llama/Llama-2-7b-hf", ("attn_norm", "mlp_norm"), False),
        ("Qwen/Qwen3-8B", ("attn_norm", "mlp_norm"), False),
        ("google/gemma-2-2b-it", ("attn_norm", "attn_post_norm", "mlp_norm", "mlp_post_norm"), False),
        (
            "google/gemma-3-1b-it",
            ("attn_norm", "attn_post_norm", "mlp_norm", "mlp_post_norm"),
            False,
        ),
        ("allenai/OLMo-2-1124-7B", ("attn_post_norm", "mlp_post_norm"), False),
        ("allenai/OLMo-7B-hf", ("attn_norm", "mlp_norm"), False),
        ("microsoft/phi-2", ("attn_norm",), True),
        ("EleutherAI/gpt-j-6b", ("attn_norm",), True),
        ("EleutherAI/gpt-neox-20b", ("attn_norm", "mlp_norm"), True),
        ("togethercomputer/RedPajama-INCITE-Chat-3B-v1", ("attn_norm", "mlp_norm"), False),
        ("CohereForAI/aya-23-8B", ("attn_norm",), True),
        ("CohereForAI/c4ai-command-r-plus", ("attn_norm",), True),
        ("tiiuae/falcon-7b", ("attn_norm",), True),
    ],
)
def test_norms_run_where_the_family_has_them(model: str, norms: tuple[str, ...], parallel: bool) -> None:
    for kind in read(model).layer_kinds:
        assert (kind.norms, kind.parallel) == (norms, parallel)


def test_norms_without_parameters_are_operators_without_tensors() -> None:
    (kind,) = read("allenai/OLMo-7B-hf").layer_kinds
    assert not [tensor for tensor in kind.tensors if tensor.kind is TensorKind.VECTOR]


@pytest.mark.parametrize(
    ("model", "rotary_dim"),
    [
        ("meta-llama/Llama-2-7b-hf", 128),
        ("microsoft/phi-2", 32),
        ("EleutherAI/gpt-j-6b", 64),
        ("EleutherAI/gpt-neox-20b", 24),
        ("togethercomputer/RedPajama-INCITE-Chat-3B-v1", 80),
        ("stabilityai/stablelm-3b-4e1t", 20),
        ("microsoft/Phi-4-mini-instruct", 96),
        ("THUDM/chatglm3-6b", 64),
        ("bigscience/bloom", 0),
        ("facebook/opt-66b", 0),
    ],
)
def test_the_rotated_part_of_a_head_is_that_of_the_model(model: str, rotary_dim: int) -> None:
    assert attention(read(model).layer_kinds[0]).rotary_dim == rotary_dim


@pytest.mark.parametrize(
    "entry", [entry for entry in TRANSFORMERS if entry["rotary_dim"]], ids=lambda e: e["config"]["model_type"]
)
def test_as_much_of_a_head_is_rotated_as_in_transformers(entry: dict[str, Any]) -> None:
    assert {attention(kind).rotary_dim for kind in read_config(entry["config"]).layer_kinds} == {
        entry["rotary_dim"]
    }


FALCON_40B = {
    "model_type": "falcon",
    "hidden_size": 8192,
    "num_hidden_layers": 60,
    "num_attention_heads": 128,
    "num_kv_heads": 8,
    "multi_query": True,
    "new_decoder_architecture": True,
    "parallel_attn": True,
    "bias": False,
    "alibi": False,
    "vocab_size": 65024,
    "torch_dtype": "bfloat16",
}


def test_falcon_40b_has_eight_key_value_heads_and_two_norms() -> None:
    falcon = read_config(FALCON_40B)
    (kind,) = falcon.layer_kinds
    assert (attention(kind).kv_head_count, kind.parallel, kind.norms) == (8, True, ("attn_norm", "mlp_norm"))
    assert kind.parameters == (8192 + 2 * 512) * 8192 + 8192**2 + 2 * 4 * 8192**2 + 2 * 2 * 8192
    # Its old name and spelling say the same.
    renamed = {"num_hidden_layers": "n_layer", "num_attention_heads": "n_head", "num_kv_heads": "n_head_kv"}
    old = {renamed.get(key, key): value for key, value in FALCON_40B.items()}
    old |= {"model_type": "RefinedWeb", "new_decoder_architecture": None}
    assert read_config(old).layer_kinds == falcon.layer_kinds


def test_falcon_rw_has_alibi_biases_and_a_norm_before_each_part() -> None:
    shared = {"new_decoder_architecture": False, "multi_query": False, "parallel_attn": False}
    (kind,) = read_config({**FALCON_40B, **shared, "alibi": True, "bias": True}).layer_kinds
    assert (attention(kind).kv_head_count, attention(kind).rotary_dim, kind.parallel) == (128, 0, False)
    assert kind.norms == ("attn_norm", "mlp_norm")
    assert shapes(kind.tensors)["q_proj"] == [(8192, 8192), (8192,)]


def test_opt_has_two_positions_more_than_tokens() -> None:
    assert shapes(read("facebook/opt-6.7b").tensors)["position_embedding"] == [(2050, 4096)]


# Sliding windows


def kinds(model: Model) -> dict[str, tuple[int, int | None]]:
    return {kind.name: (kind.count, attention(kind).window) for kind in model.layer_kinds}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param(
            config("mistralai/Mistral-7B-v0.1", sliding_window=4096), {"all": (32, 4096)}, id="mistral-0.1"
        ),
        pytest.param(config("mistralai/Mistral-7B-v0.1"), {"all": (32, 4096)}, id="mistral-by-default"),
        pytest.param(
            config("mistralai/Mistral-7B-Instruct-v0.3"), {"all": (32, None)}, id="mistral-0.3-null"
        ),
        pytest.param(
            config("google/gemma-2-2b-it"),
            {"window-4096": (13, 4096), "full": (13, None)},
            id="gemma2-alternates",
        ),
        pytest.param(
            config("google/gemma-3-1b-it"),
            {"window-512": (22, 512), "full": (4, None)},
            id="gemma3-each-sixth-full",
        ),
        pytest.param(
            config("google/gemma-3-1b-it", sliding_window_pattern=13),
            {"window-512": (24, 512), "full": (2, None)},
            id="gemma3-pattern-key",
        ),
        pytest.param(
            config("google/gemma-3-1b-it", layer_types=["sliding_attention"] * 25 + ["full_attention"]),
            {"window-512": (25, 512), "full": (1, None)},
            id="gemma3-layer-types",
        ),
        pytest.param(config("allenai/Olmo-3-7B"), {"window-4096": (24, 4096), "full": (8, None)}, id="olmo3"),
        pytest.param(config("Qwen/Qwen2.5-7B"), {"all": (28, None)}, id="qwen2-not-used"),
        pytest.param(
            config("Qwen/Qwen2.5-7B", use_sliding_window=True, sliding_window=8192, max_window_layers=20),
            {"full": (20, None), "window-8192": (8, 8192)},
            id="qwen2-from-layer-20",
        ),
        pytest.param(
            config("Qwen/Qwen2.5-7B", use_sliding_window=True, sliding_window=8192, max_window_layers=28),
            {"all": (28, None)},
            id="qwen2-from-after-the-last-layer",
        ),
        pytest.param(config("bigcode/starcoder2-7b"), {"all": (32, 4096)}, id="starcoder2"),
        pytest.param(config("microsoft/Phi-3-mini-4k-instruct"), {"all": (32, 2047)}, id="phi3-mini"),
        pytest.param(
            config("microsoft/Phi-4-mini-instruct"), {"all": (32, None)}, id="phi4-window-over-context"
        ),
        pytest.param(small(sliding_window=8), {"all": (3, None)}, id="llama-knows-no-window"),
    ],
)
def test_windows_are_where_transformers_masks_them(
    changed: dict[str, Any], expected: dict[str, tuple[int, int | None]]
) -> None:
    assert kinds(read_config(changed)) == expected


@pytest.mark.parametrize(
    "entry",
    [entry for entry in TRANSFORMERS if entry["sliding_layers"] is not None],
    ids=lambda e: e["config"]["model_type"],
)
def test_as_many_layers_slide_as_in_transformers(entry: dict[str, Any]) -> None:
    model = read_config(entry["config"])
    assert sum(kind.count for kind in model.layer_kinds if attention(kind).window) == entry["sliding_layers"]


def test_a_window_that_the_config_leaves_to_transformers_is_said() -> None:
    assert any("sliding_window is absent: 4096" in a for a in read("mistralai/Mistral-7B-v0.1").assumptions)


# The longest context


@pytest.mark.parametrize(
    ("changed", "length"),
    [
        pytest.param(config("meta-llama/Llama-3.1-8B"), 131072, id="llama3-scaling-is-included"),
        pytest.param(config("microsoft/Phi-3.5-mini-instruct"), 131072, id="longrope-is-included"),
        pytest.param(
            config(
                "Qwen/Qwen2.5-7B",
                max_position_embeddings=32768,
                rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
            ),
            131072,
            id="yarn-extends",
        ),
        pytest.param(
            config("mistralai/Devstral-Small-2-24B-Instruct-2512"), 393216, id="yarn-is-included-already"
        ),
        pytest.param(
            small(rope_scaling={"rope_type": "yarn", "factor": 2.0}), 1024, id="yarn-of-the-stated-length"
        ),
        pytest.param(
            config("meta-llama/Llama-2-7b-hf", rope_scaling={"type": "linear", "factor": 4.0}),
            8192,
            id="linear-extends",
        ),
        pytest.param(small(rope_scaling={"type": "dynamic", "factor": 2}), 1024, id="dynamic-extends"),
        pytest.param(config("google/gemma-3-12b-it"), 163840, id="gemma3-linear-is-included"),
        pytest.param(config("openai-community/gpt2"), 1024, id="n_positions"),
        pytest.param(config("mosaicml/mpt-7b", max_seq_len=2048), 2048, id="max_seq_len"),
        pytest.param(config("bigscience/bloom", seq_length=2048), 2048, id="seq_length"),
        pytest.param(
            config(
                "baichuan-inc/Baichuan-7B", hidden_size=5120, num_attention_heads=40, model_max_length=4096
            ),
            4096,
            id="model_max_length",
        ),
        pytest.param(config("Qwen/Qwen-72B-Chat"), 32768, id="max_position_embeddings-before-seq_length"),
        pytest.param(config("bigscience/bloom"), None, id="not-stated"),
    ],
)
def test_the_longest_context_includes_rope_scaling(changed: dict[str, Any], length: int | None) -> None:
    assert read_config(changed).max_context_len == length


def test_an_extended_context_and_an_unknown_one_are_said() -> None:
    extended = read_config(small(rope_scaling={"rope_type": "yarn", "factor": 4.0}))
    assert extended.assumptions == ("longest context 2048: max_position_embeddings 512 x yarn factor 4",)
    unknown = read_config(small(max_position_embeddings=...))
    assert unknown.assumptions == ("max_position_embeddings is absent: no limit of the context is known",)


# Formats


@pytest.mark.parametrize(
    ("changes", "dtype"),
    [
        ({"torch_dtype": "float16"}, Dtype.FP16),
        ({"torch_dtype": "torch.float32"}, Dtype.FP32),
        ({"torch_dtype": ..., "dtype": "float16"}, Dtype.FP16),
        ({"torch_dtype": None}, Dtype.BF16),
    ],
)
def test_the_wide_format_is_torch_dtype(changes: dict[str, object], dtype: Dtype) -> None:
    model = read_config(small(**changes))
    assert (model.dtype, model.weight_dtype, model.activation_dtype) == (dtype, dtype, None)


def test_an_absent_torch_dtype_is_assumed_to_be_bf16_and_said() -> None:
    assert read_config(small(torch_dtype=...)).assumptions == ("torch_dtype is absent: bf16 assumed",)
    assert read("Qwen/Qwen-7B-Chat").assumptions == ()


# Unknown families and what is left out


def test_an_unknown_model_type_with_the_keys_of_llama_is_read_as_llama_and_said() -> None:
    foo = read_config(small(model_type="foo"))
    assert foo.layer_kinds == read_config(small()).layer_kinds
    assert foo.family == "foo"
    assert foo.assumptions == (
        'model_type "foo" is not known: read as llama-like: gated MLP, RMSNorm, no biases',
    )


def test_each_further_assumption_about_an_unknown_model_type_is_said() -> None:
    foo = read_config(small(model_type="foo", attention_bias=True, tie_word_embeddings=...))
    assert foo.assumptions == (
        'model_type "foo" is not known: read as llama-like: gated MLP, RMSNorm, biases as attention_bias say',
        "tie_word_embeddings is absent: lm_head taken as a matrix of its own",
    )


def test_multi_token_prediction_is_left_out_and_said() -> None:
    assert read("XiaomiMiMo/MiMo-7B-Base").not_modelled == ("1 multi-token-prediction layer(s)",)


def test_numbers_that_a_json_parser_made_floats_are_whole_numbers() -> None:
    floats = {key: float(value) if type(value) is int else value for key, value in small().items()}
    assert read_config(floats) == read_config(small())


def test_the_model_carries_its_id_and_family() -> None:
    model = read_config(small(), "org/tiny")
    assert (model.id, model.family, model.hidden_size, model.vocab_size) == ("org/tiny", "llama", 64, 101)
    assert model.layer_count == 3
