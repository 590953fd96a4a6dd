"""What cannot be served, refused by field and reason, with the nearest that can."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.domain.deployment import DeploymentRequest, Offload
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.errors import FieldViolation, InvalidFieldsError, UnsupportedDtypeError
from ridgeline_server.domain.model import WeightFormat
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.resolve import resolve_deployment
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.tensors import ModuleClass
from tests.unit.deployments import DEEPSEEK_LITE, DEEPSEEK_V3, GPT_OSS, MIXTRAL, SMALL_DRAFT
from tests.unit.questions import LLAMA_3_8B, Stated, device, model

QWEN_0_5B = "Qwen/Qwen2-0.5B"
MAMBA = "nvidia/NVIDIA-Nemotron-Nano-9B-v2"


def refusals(model_id: str, device_id: str = "h100-sxm", **stated: Any) -> list[FieldViolation]:
    with pytest.raises(InvalidFieldsError) as refused:
        resolve_deployment(DeploymentRequest(**stated), model(model_id), device(device_id))
    return list(refused.value.violations)


def refusal(model_id: str, device_id: str = "h100-sxm", **stated: Any) -> FieldViolation:
    (found,) = refusals(model_id, device_id, **stated)
    return found


def accepts(model_id: str, device_id: str = "h100-sxm", **stated: Any) -> None:
    resolve_deployment(DeploymentRequest(**stated), model(model_id), device(device_id))


class TestDegrees:
    @pytest.mark.parametrize(
        ("model_id", "degrees"),
        [
            pytest.param(LLAMA_3_8B, {"tp": 32}, id="a query head and a copied key-value head each"),
            pytest.param(LLAMA_3_8B, {"pp": 32, "dp": 128}, id="a layer each, on 4096 devices"),
            pytest.param(DEEPSEEK_V3, {"tp": 128, "ep": 128}, id="a query head of MLA and two experts each"),
            pytest.param(DEEPSEEK_V3, {"attention_dp": 256, "ep": 256}, id="an expert each"),
            pytest.param(MIXTRAL, {"tp": 8, "ep": 2}, id="a quarter of four experts each"),
            pytest.param(MIXTRAL, {"attention_dp": 16, "ep": 8}, id="half an expert each"),
        ],
    )
    def test_some_go_far(self, model_id: str, degrees: dict[str, int]) -> None:
        accepts(model_id, parallel=Parallelism(**degrees))

    @pytest.mark.parametrize(
        ("model_id", "degrees", "field", "said"),
        [
            (LLAMA_3_8B, {"tp": 0}, "tp", "is 0; give 1 to 4096"),
            (LLAMA_3_8B, {"dp": 5000}, "dp", "is 5000; give 1 to 4096"),
            (LLAMA_3_8B, {"tp": 5}, "tp", "is 5, which does not divide the 32 query heads; give 4 or 8"),
            (LLAMA_3_8B, {"tp": 64}, "tp", "is 64, which does not divide the 32 query heads; give 32"),
            ("tiiuae/falcon-7b", {"tp": 2}, "tp", "does not divide the 71 query heads; give 1 or 71"),
            (
                "google/gemma-2-27b-it",
                {"tp": 3},
                "tp",
                "is 3, which does not divide the 32 query heads; give 2 or 4",
            ),
            (
                "Falcon",
                {"tp": 6},
                "tp",
                "is 6, which neither divides nor is a multiple of the 4 key-value heads; give 4 or 12",
            ),
            (DEEPSEEK_LITE, {"tp": 32, "ep": 32}, "tp", "does not divide the 16 query heads; give 16"),
            (MAMBA, {"tp": 3}, "tp", "does not divide the 128 state-space heads; give 2 or 4"),
            (QWEN_0_5B, {"tp": 7}, "tp", "does not divide the 4864 channels of the MLP; give 2"),
            (LLAMA_3_8B, {"pp": 33}, "pp", "is 33; Llama-3-8B has 32 layers: give at most that"),
            (LLAMA_3_8B, {"tp": 2, "ep": 2}, "ep", "is 2; Llama-3-8B has no experts: give 1"),
            (
                LLAMA_3_8B,
                {"attention_dp": 2},
                "attention_dp",
                "is 2; Llama-3-8B has no experts: give 1, and dp for replicas",
            ),
            (
                MIXTRAL,
                {"tp": 8, "ep": 3},
                "ep",
                (
                    "it must divide the 8 devices of a stage (tp x attention_dp), be at most the 8 experts, "
                    "and leave a number that divides their width of 14336: give 2 or 4"
                ),
            ),
            (MIXTRAL, {"ep": 2}, "ep", "divide the 1 devices of a stage"),
            (DEEPSEEK_V3, {"attention_dp": 33}, "ep", "divides their width of 2048: give 33"),
            (
                MIXTRAL,
                {"attention_dp": 11},
                "ep",
                "no degree does on 11 devices, so change tp or attention_dp",
            ),
        ],
    )
    def test_what_cannot_be_divided_names_the_nearest_that_can(
        self, model_id: str, degrees: dict[str, int], field: str, said: str
    ) -> None:
        which = "tiiuae/Falcon3-7B-Base" if model_id == "Falcon" else model_id
        found = refusal(which, parallel=Parallelism(**degrees))
        assert found.field == f"deployment.parallel.{field}"
        assert said.replace("Llama-3-8B", model(LLAMA_3_8B).name) in found.description

    def test_devices_in_all_are_limited(self) -> None:
        found = refusal(LLAMA_3_8B, parallel=Parallelism(tp=32, pp=32, dp=8))
        assert found.field == "deployment.parallel"
        assert found.description.startswith("is 8192 devices in all")

    def test_all_wrong_degrees_are_named(self) -> None:
        found = refusals(LLAMA_3_8B, parallel=Parallelism(tp=3, pp=99, ep=2, attention_dp=2))
        assert [v.field.rpartition(".")[2] for v in found] == ["tp", "pp", "ep", "attention_dp"]


SHARES: tuple[tuple[str, Stated, str], ...] = (
    ("prefix_hit_rate", {"prefix_hit_rate": 1.5}, "is 1.5; give 0 to 1"),
    ("prefix_hit_rate", {"prefix_hit_rate": float("nan")}, "is nan; give 0 to 1"),
    ("kv_keep_ratio", {"kv_keep_ratio": 0.0}, "is 0; give 1e-06 to 1"),
    ("kv_window", {"kv_window": 0}, "is 0; give 1 to 100,000,000"),
    ("skipped_layer_share", {"skipped_layer_share": 1.0}, "is 1; give 0 to 0.99"),
    ("offload.weight_share", {"offload": Offload(weight_share=-0.1)}, "is -0.1; give 0 to 1"),
    ("offload.kv_share", {"offload": Offload(kv_share=2)}, "is 2; give 0 to 1"),
    (
        "offload.host_bandwidth_bytes_per_s",
        {"offload": Offload(host_bandwidth_bytes_per_s=0)},
        "is 0; give 1,000,000 to 1e+15",
    ),
    ("expert_popularity_spread", {"expert_popularity_spread": -1.0}, "is -1; give 0 to 100"),
    ("node_bandwidth_bytes_per_s", {"node_bandwidth_bytes_per_s": 1.0}, "is 1; give 1,000,000 to 1e+15"),
    ("memory_utilization", {"memory_utilization": 0.0}, "is 0; give 0.01 to 1"),
    ("chunk_tokens", {"chunk_tokens": 0}, "is 0; give 1 to 100,000,000"),
)


@pytest.mark.parametrize(("field", "stated", "said"), SHARES)
def test_a_share_out_of_its_range_names_the_range(field: str, stated: Stated, said: str) -> None:
    found = refusal(LLAMA_3_8B, **stated)
    assert (found.field, found.description) == (f"deployment.{field}", said)


class TestDrafts:
    @pytest.mark.parametrize(
        ("speculation", "field", "said"),
        [
            (Speculation(Draft.NGRAM, 0, 0.5), "tokens", "is 0; give 1 to 64"),
            (Speculation(Draft.NGRAM, 65, 0.5), "tokens", "is 65; give 1 to 64"),
            (Speculation(Draft.HEADS, 3, 1.1), "acceptance_rate", "is 1.1; give 0 to 1"),
            (Speculation(Draft.MODEL, 3, 0.5), "draft_model", "goes with the draft `model`"),
            (Speculation(Draft.HEADS, 3, 0.5, model(SMALL_DRAFT)), "draft_model", "and with no other"),
            (
                Speculation(Draft.MODEL, 3, 0.5, model("meta-llama/Llama-2-7b-hf")),
                "draft_model",
                "has a vocabulary of 32000, the model one of 128256",
            ),
        ],
    )
    def test_one_that_drafts_nothing_of_use(self, speculation: Speculation, field: str, said: str) -> None:
        found = refusal(LLAMA_3_8B, speculation=speculation)
        assert found.field == f"deployment.speculation.{field}"
        assert said in found.description

    def test_a_draft_model_is_divided_like_the_model(self) -> None:
        """Qwen2-0.5B has 14 query heads."""
        draft = Speculation(Draft.MODEL, 3, 0.5, model(QWEN_0_5B))
        accepts("Qwen/Qwen2-72B-Instruct", speculation=draft, parallel=Parallelism(tp=2))
        found = refusal("Qwen/Qwen2-72B-Instruct", speculation=draft, parallel=Parallelism(tp=8))
        assert found.field == "deployment.speculation.draft_model"
        assert "tp is 8, which does not divide the 14 query heads; give 2" in found.description


class TestSparseWeights:
    @pytest.mark.parametrize("device_id", ["a100-sxm-80gb", "h100-sxm", "dgx-spark-gb10", "rtx-3090"])
    def test_gpus_since_ampere_skip_zeros(self, device_id: str) -> None:
        accepts(LLAMA_3_8B, device_id, sparse_weights=True)

    @pytest.mark.parametrize("device_id", ["v100-sxm2-32gb", "t4", "mi300x", "epyc-9654", "grace-superchip"])
    def test_other_devices_are_not_known_to(self, device_id: str) -> None:
        found = refusal(LLAMA_3_8B, device_id, sparse_weights=True)
        assert found.field == "deployment.sparse_weights"
        assert "leave it unset" in found.description

    @pytest.mark.parametrize(
        ("model_id", "stated", "said"),
        [
            (LLAMA_3_8B, {"weight_dtype": Dtype.INT4}, "is set with int4 weights"),
            (GPT_OSS, {}, "is set with mxfp4 weights"),
            (
                MIXTRAL,
                {"formats": (WeightFormat(ModuleClass.EXPERTS, Dtype.INT4, 128),)},
                "is set with int4 weights",
            ),
        ],
    )
    def test_no_kernel_takes_four_bits(self, model_id: str, stated: Stated, said: str) -> None:
        assert said in refusal(model_id, sparse_weights=True, **stated).description

    def test_the_formats_that_kernels_take(self) -> None:
        for dtype in (Dtype.BF16, Dtype.FP16, Dtype.FP8, Dtype.INT8):
            accepts(LLAMA_3_8B, sparse_weights=True, weight_dtype=dtype)


class TestEagerExecution:
    @pytest.mark.parametrize("device_id", ["h100-sxm", "mi300x", "t4"])
    def test_gpus_replay_graphs_unless_told_not_to(self, device_id: str) -> None:
        accepts(LLAMA_3_8B, device_id, eager=True)

    @pytest.mark.parametrize(
        "device_id", ["epyc-9654", "grace-superchip", "p40", "tpu-v5e", "apple-m2-ultra"]
    )
    def test_elsewhere_there_is_no_graph_to_do_without(self, device_id: str) -> None:
        found = refusal(LLAMA_3_8B, device_id, eager=True)
        assert found.field == "deployment.eager"
        assert "leave it unset" in found.description


class TestFormats:
    @pytest.mark.parametrize(
        ("model_id", "stated", "field", "said"),
        [
            (LLAMA_3_8B, {"weight_dtype": Dtype.TF32}, "weight_dtype", "is tf32; give one of"),
            (LLAMA_3_8B, {"lm_head_dtype": Dtype.FP4}, "lm_head_dtype", "is fp4; give one of"),
            (LLAMA_3_8B, {"activation_dtype": Dtype.INT4}, "activation_dtype", "is int4; give one of"),
            (LLAMA_3_8B, {"kv_dtype": Dtype.NVFP4}, "kv_dtype", "is nvfp4; give one of"),
            (LLAMA_3_8B, {"weight_group_size": -1}, "weight_group_size", "is -1; give 0"),
            (
                LLAMA_3_8B,
                {"activation_dtype": Dtype.FP8},
                "activation_dtype",
                (
                    "is fp8 with bf16 weights; a GEMM computes in fp8 only when its weights are fp8 too, or "
                    "int4 or mxfp4 and widened to it: set weight_dtype to fp8, or activation_dtype to bf16"
                ),
            ),
            (
                MIXTRAL,
                {"formats": (WeightFormat(ModuleClass.EXPERTS, Dtype.FP8, 0, Dtype.INT8),)},
                "module_formats[0].activation_dtype",
                "is int8 with fp8 weights",
            ),
            (
                MIXTRAL,
                {"formats": (WeightFormat(ModuleClass.EXPERTS, Dtype.FP4),)},
                "module_formats[0].dtype",
                "is fp4; give one of",
            ),
            (
                MIXTRAL,
                {"formats": (WeightFormat(ModuleClass.EXPERTS, Dtype.INT4, 99_999),)},
                "module_formats[0].group_size",
                "is 99999; give 0",
            ),
            (
                LLAMA_3_8B,
                {"formats": (WeightFormat(ModuleClass.EXPERTS, Dtype.FP8),)},
                "module_formats[0].module_class",
                "is experts; meta-llama/Meta-Llama-3-8B has attention, mlp",
            ),
            (
                MIXTRAL,
                {"formats": (WeightFormat(ModuleClass.EXPERTS, Dtype.FP8),) * 2},
                "module_formats[1].module_class",
                "a second time",
            ),
        ],
    )
    def test_what_cannot_be_stored_or_multiplied(
        self, model_id: str, stated: Stated, field: str, said: str
    ) -> None:
        found = refusal(model_id, **stated)
        assert found.field == f"deployment.{field}"
        assert said in found.description

    @pytest.mark.parametrize(
        ("device_id", "dtype", "said"),
        [
            ("a100-sxm-80gb", Dtype.FP8, "so it cannot compute with fp8 activations"),
            ("h100-sxm", Dtype.NVFP4, "nvfp4"),
            ("t4", Dtype.BF16, "bf16"),
        ],
    )
    def test_a_format_without_a_unit(self, device_id: str, dtype: Dtype, said: str) -> None:
        request = DeploymentRequest(weight_dtype=dtype, activation_dtype=dtype)
        with pytest.raises(UnsupportedDtypeError, match=said) as refused:
            resolve_deployment(request, model(LLAMA_3_8B), device(device_id))
        assert refused.value.field == "deployment.activation_dtype"
