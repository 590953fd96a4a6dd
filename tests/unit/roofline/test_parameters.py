"""The parameter count is what the operators read: neither more nor less, for every model of the catalog."""

from __future__ import annotations

import pytest

from ridgeline_server.domain.mixers import Attention
from ridgeline_server.domain.model import LayerKind, Model
from ridgeline_server.domain.tensors import TensorKind, WeightTensor
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.rows import Quantity
from ridgeline_server.roofline.operators.table import OperatorTable, operator_table
from ridgeline_server.roofline.operators.variables import ONE, TOKENS, Routing, Variable
from tests.unit.questions import MODEL_IDS, ask, decode_step, model, placement

every_model = pytest.mark.parametrize("model_id", MODEL_IDS)
both_stages = pytest.mark.parametrize("stage", Stage)


def sees_images_alone(kind: LayerKind) -> bool:
    return any(isinstance(mixer, Attention) and mixer.is_cross for mixer in kind.mixers)


def tensors(of: Model) -> list[tuple[int, WeightTensor]]:
    """Every weight tensor that text runs through, with how often the model has it."""
    layers = [
        (kind.count, tensor)
        for kind in of.layer_kinds
        if not sees_images_alone(kind)
        for tensor in kind.tensors
    ]
    return [*layers, *((1, tensor) for tensor in of.tensors)]


def elements(tensor: WeightTensor) -> int:
    rows, columns = tensor.shape
    return tensor.copies * rows * columns


def read_when_all_experts_are_hit(table: OperatorTable) -> float:
    """Weights that a step reads whose tokens chose every expert; embedding rows are not among them."""

    def value(variable: Variable) -> float:
        if isinstance(variable.of, Routing):
            return variable.of.expert_count
        return 1.0 if variable == ONE else 0.0

    read = table.coefficients[Quantity.WEIGHTS] @ [value(variable) for variable in table.variables]
    return float(read @ table.count)


@every_model
@both_stages
def test_what_operators_read_adds_up_to_the_matrices(model_id: str, stage: Stage) -> None:
    asked = model(model_id)
    matrices = sum(count * elements(t) for count, t in tensors(asked) if t.kind is TensorKind.MATRIX)
    assert read_when_all_experts_are_hit(operator_table(asked, placement(stage))) == matrices


@every_model
def test_matrices_tables_and_vectors_are_all_parameters(model_id: str) -> None:
    asked = model(model_id)
    if any(map(sees_images_alone, asked.layer_kinds)):
        pytest.skip("layers that see images alone are read by no operator")
    read = read_when_all_experts_are_hit(operator_table(asked, placement(Stage.DECODE)))
    again = sum(
        count * elements(t) for count, t in tensors(asked) if t.shared and t.kind is TensorKind.MATRIX
    )
    rest = sum(
        count * t.parameters
        for count, t in tensors(asked)
        if t.kind is not TensorKind.MATRIX and not t.shared
    )
    assert read - again + rest == asked.parameter_count


@every_model
def test_a_decode_step_of_one_token_reads_the_active_matrices_and_one_row_of_each_table(
    model_id: str,
) -> None:
    asked = model(model_id)
    question = ask(asked, "h100-sxm", decode_step(10), weight_dtype=asked.dtype)
    tables = [t for t in asked.tensors if t.kind is TensorKind.TABLE]
    active = sum(
        count
        * elements(t)
        * (1 if t.active_copies is None else t.active_copies / t.copies * real_choices(asked))
        for count, t in tensors(asked)
        if t.kind is TensorKind.MATRIX
    )
    element = {"fp32": 4, "bf16": 2, "fp16": 2}[asked.dtype]
    read = question.analysis().decode.bytes_by_class.weights
    assert read == pytest.approx(element * (active + len(tables) * asked.hidden_size), rel=1e-12)


def real_choices(of: Model) -> float:
    """Share of the router's choices that are experts; LongCat's others do nothing."""
    experts = of.experts
    if experts is None:
        return 1.0
    return experts.expert_count / (experts.expert_count + experts.zero_expert_count)


@every_model
def test_weights_in_memory_are_the_parameters_at_their_width(model_id: str) -> None:
    asked = model(model_id)
    question = ask(asked, "h100-sxm", decode_step(10), weight_dtype=asked.dtype, weight_group_size=0)
    if question.deployment.formats:
        pytest.skip("stored in several formats")
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
    table = operator_table(asked, placement(Stage.PREFILL))
    row = table.names.index("embedding")
    tables = sum(t.kind is TensorKind.TABLE for t in asked.tensors)
    weights = table.coefficients[Quantity.WEIGHTS, row, table.variables.index(TOKENS)]
    assert weights == tables * asked.hidden_size
