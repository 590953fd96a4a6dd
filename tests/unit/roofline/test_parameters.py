"""The parameter count is what the operators read: neither more nor less, for every model that is costed."""

from __future__ import annotations

import pytest

from ridgeline_server.domain.errors import UnsupportedArchitectureError
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.tensors import TensorKind, WeightTensor
from ridgeline_server.roofline.operators import ONE, TOKENS, Quantity, operator_table
from ridgeline_server.roofline.supported import check_supported
from tests.unit.questions import MODEL_IDS, ask, decode_step, model


def is_costed(of: Model) -> bool:
    try:
        check_supported(of)
    except UnsupportedArchitectureError:
        return False
    return True


COSTED = [model_id for model_id in MODEL_IDS if is_costed(model(model_id))]
every_model = pytest.mark.parametrize("model_id", COSTED)


def test_most_models_of_the_catalog_are_costed() -> None:
    assert len(COSTED) >= 180


def tensors(of: Model) -> list[tuple[int, WeightTensor]]:
    """Every weight tensor with how often the model has it."""
    layers = [(kind.count, tensor) for kind in of.layer_kinds for tensor in kind.tensors]
    return [*layers, *((1, tensor) for tensor in of.tensors)]


def stored(of: Model, kind: TensorKind) -> int:
    return sum(count * tensor.parameters for count, tensor in tensors(of) if tensor.kind is kind)


@every_model
def test_what_operators_read_adds_up_to_the_parameter_count(model_id: str) -> None:
    asked = model(model_id)
    table = operator_table(asked)
    read = (
        table.coefficients[Quantity.LAYER_WEIGHTS, :, ONE] + table.coefficients[Quantity.HEAD_WEIGHTS, :, ONE]
    )
    matrices = float(read @ table.count)
    tied = sum(t.shape[0] * t.shape[1] for t in asked.tensors if t.shared)
    vectors, tables = stored(asked, TensorKind.VECTOR), stored(asked, TensorKind.TABLE)
    assert matrices - tied + vectors + tables == asked.parameter_count


@every_model
def test_a_decode_step_reads_all_matrices_and_one_row_of_each_table(model_id: str) -> None:
    asked = model(model_id)
    question = ask(asked, "h100-sxm", decode_step(10), weight_dtype=asked.dtype)
    tables = [t for t in asked.tensors if t.kind is TensorKind.TABLE]
    matrices = sum(
        count * t.shape[0] * t.shape[1] for count, t in tensors(asked) if t.kind is TensorKind.MATRIX
    )
    element = {"fp32": 4, "bf16": 2, "fp16": 2}[asked.dtype]
    read = question.analysis().decode.bytes_by_class.weights
    assert read == element * (matrices + len(tables) * asked.hidden_size)


@every_model
def test_every_tensor_has_an_operator(model_id: str) -> None:
    asked = model(model_id)
    operators = set(operator_table(asked).names) | {"position_embedding"}
    assert {tensor.operator for _, tensor in tensors(asked)} <= operators


@every_model
def test_weights_in_memory_are_the_parameters_at_their_width(model_id: str) -> None:
    asked = model(model_id)
    question = ask(asked, "h100-sxm", decode_step(10), weight_dtype=asked.dtype)
    element = {"fp32": 4, "bf16": 2, "fp16": 2}[asked.dtype]
    assert question.analysis().memory.weights_bytes == element * asked.parameter_count


@pytest.mark.parametrize(
    ("model_id", "parameters"),
    [
        pytest.param("meta-llama/Llama-2-7b-hf", 6_738_415_616, id="mha, gated"),
        pytest.param("meta-llama/Llama-2-70b-hf", 68_976_648_192, id="gqa"),
        pytest.param("meta-llama/Meta-Llama-3-8B", 8_030_261_248, id="gqa, large vocabulary"),
        pytest.param("mistralai/Mistral-7B-v0.1", 7_241_732_096, id="window"),
        pytest.param("openai-community/gpt2", 124_439_808, id="learned positions, tied, biases"),
        pytest.param("google/gemma-2b", 2_506_172_416, id="mqa, tied"),
        pytest.param("Qwen/Qwen3-0.6B", 596_049_920, id="qk norm, tied"),
    ],
)
def test_published_parameter_counts(model_id: str, parameters: int) -> None:
    """As the safetensors of the checkpoints sum up on the Hugging Face hub."""
    assert model(model_id).parameter_count == parameters


@every_model
def test_an_embedding_row_is_gathered_per_token_and_table(model_id: str) -> None:
    asked = model(model_id)
    table = operator_table(asked)
    row = table.names.index("embedding")
    tables = sum(t.kind is TensorKind.TABLE for t in asked.tensors)
    assert table.coefficients[Quantity.HEAD_WEIGHTS, row, TOKENS] == tables * asked.hidden_size
