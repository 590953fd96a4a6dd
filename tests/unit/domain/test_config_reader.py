"""What a Hugging Face config.json is read as: parameters, tensors, windows, context and formats."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.mixers import Attention
from ridgeline_server.domain.mlps import Mlp
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.tensors import TensorKind
from tests.unit.domain.model_configs import TRANSFORMERS, attention, mlp, read, small


def stored(model: Model, operator: str) -> int:
    kinds = [*(kind.tensors for kind in model.layer_kinds), model.tensors]
    return sum(tensor.parameters for tensors in kinds for tensor in tensors if tensor.operator == operator)


def shapes(tensors: Any) -> dict[str, list[tuple[int, ...]]]:
    found: dict[str, list[tuple[int, ...]]] = {}
    for tensor in tensors:
        found.setdefault(tensor.operator, []).append(tensor.shape)
    return found


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
    # Layers that know no positions rotate nothing.
    rotated = {attention(kind).rotary_dim for kind in read_config(entry["config"]).layer_kinds} - {0}
    assert rotated == {entry["rotary_dim"]}


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
        (
            'model_type "foo" is not known: read as llama-like: gated MLP, RMSNorm, no biases, '
            "no norms of queries and keys"
        ),
    )


def test_each_further_assumption_about_an_unknown_model_type_is_said() -> None:
    foo = read_config(small(model_type="foo", attention_bias=True, tie_word_embeddings=...))
    assert foo.assumptions == (
        (
            'model_type "foo" is not known: read as llama-like: gated MLP, RMSNorm, '
            "biases as attention_bias say, "
            "no norms of queries and keys"
        ),
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
