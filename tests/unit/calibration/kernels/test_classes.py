"""What a timed kernel counts is what the operator table counts for the same shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ridgeline_catalog
from ridgeline_server.calibration.kernels.__main__ import catalog_devices
from ridgeline_server.calibration.kernels.classes import FORMS
from ridgeline_server.calibration.kernels.counts import (
    SYSTEMS,
    Constants,
    Device,
    Kernels,
    expected_seconds,
    release,
)
from ridgeline_server.calibration.kernels.rows import read_timings
from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.deployment import DeploymentRequest
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.resolve import resolve_deployment
from ridgeline_server.roofline.cost import cost_steps
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.rows import Quantity
from ridgeline_server.roofline.operators.table import operator_table
from ridgeline_server.roofline.operators.variables import Steps
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.store.builtin import hardware_entry
from tests.unit.calibration.kernels.timed import shipped_text, timed

CONFIGS = {document["id"]: document["config"] for _, document in ridgeline_catalog.model_documents()}
H100 = next(
    hardware_entry(document).hardware
    for _, document in ridgeline_catalog.hardware_documents()
    if document["id"] == "h100-sxm"
)
LLAMA, MISTRAL = "meta-llama/Meta-Llama-3-8B", "mistralai/Mistral-7B-v0.1"
MIXTRAL, QWEN = "mistralai/Mixtral-8x7B-v0.1", "Qwen/Qwen3-30B-A3B"


class Counted:
    """What the table counts for one operator of a model in one step on an H100."""

    def __init__(
        self, model_id: str, name: str, stage: Stage, tokens: tuple[int, int, int], **stated: Any
    ) -> None:
        """`tokens` are the sequences, the queries of each and the keys that each then holds."""
        model, hardware = read_config(CONFIGS[model_id], model_id), H100
        scenario = Scenario(hardware, resolve_deployment(DeploymentRequest(**stated), model, hardware))
        table = operator_table(model, scenario.placement(stage))
        batch, queries, keys = (np.array([[float(figure)]]) for figure in tokens)
        once = np.ones((1, 1))
        steps = Steps(batch, queries, keys, 0 * once, once, batch * queries)
        cost = cost_steps(table, [scenario], stage, steps)
        row = table.names.index(name)
        self.compute_s, self.memory_s = cost.compute_s[0, row, 0], cost.memory_s[0, row, 0]
        self._counts = (table.coefficients @ cost.variables[0])[:, row, 0]
        self._depth = table.depth[row]

    def __getitem__(self, quantity: Quantity) -> float:
        return float(self._counts[quantity])

    @property
    def loop(self) -> float:
        """Thousands of elements of a contraction."""
        return float(self._depth)


def assert_same(kernels: Kernels, counted: Counted, items: Quantity = Quantity.ITEMS) -> None:
    assert len(kernels) == 1
    assert kernels.compute_s[0] == pytest.approx(counted.compute_s, rel=1e-12)
    assert kernels.memory_s[0] == pytest.approx(counted.memory_s, rel=1e-12)
    assert kernels.items[0] == pytest.approx(counted[items])
    assert kernels.loop[0] == pytest.approx(counted.loop)


class TestCounts:
    @pytest.mark.parametrize(
        ("dtype", "stated"),
        [
            pytest.param("bfloat16", {}, id="16-bit"),
            pytest.param("int4_wo", {"weight_dtype": Dtype.INT4}, id="int4 weights"),
            pytest.param("int8_wo", {"weight_dtype": Dtype.INT8}, id="int8 weights"),
            pytest.param("fp8", {"weight_dtype": Dtype.FP8, "activation_dtype": Dtype.FP8}, id="fp8"),
            pytest.param("sq", {"weight_dtype": Dtype.INT8, "activation_dtype": Dtype.INT8}, id="int8"),
        ],
    )
    def test_a_product(self, dtype: str, stated: dict[str, Any]) -> None:
        kernels = timed("gemm", {"dtype": dtype, "m": 64, "n": 4096, "k": 14336})
        counted = Counted(LLAMA, "down_proj", Stage.DECODE, (64, 1, 100), **stated)
        assert_same(kernels, counted)
        assert kernels.serial[0] == pytest.approx(counted[Quantity.SERIAL]) == 1
        passed_s = 2 * counted[Quantity.PASSED] / H100.bandwidth_bytes_per_s
        assert kernels.pass_s[0] == pytest.approx(passed_s if "activation_dtype" in stated else 0)

    @pytest.mark.parametrize(
        ("model_id", "keys", "seen", "cached"),
        [
            pytest.param(LLAMA, 1000, 1000, "bfloat16", id="16-bit keys"),
            pytest.param(LLAMA, 1000, 1000, "fp8", id="fp8 keys"),
            pytest.param(MISTRAL, 10_000, 4096, "bfloat16", id="a window"),
        ],
    )
    def test_decode_attention(self, model_id: str, keys: int, seen: int, cached: str) -> None:
        row = {"attn_dtype": "bfloat16", "kv_cache_dtype": cached, "batch_size": 16, "kvlen": float(seen)}
        heads = {"num_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "window_size": 0.0}
        kernels = timed("decode_attention", row | heads)
        kv_dtype = Dtype.FP8 if cached == "fp8" else None
        counted = Counted(model_id, "attention", Stage.DECODE, (16, 1, keys), kv_dtype=kv_dtype)
        assert_same(kernels, counted)
        assert kernels.serial[0] == pytest.approx(counted[Quantity.SERIAL])

    @pytest.mark.parametrize(
        ("model_id", "queries", "window"),
        [
            pytest.param(LLAMA, 2000, 0, id="all keys"),
            pytest.param(MISTRAL, 10_000, 4096, id="a window"),
        ],
    )
    def test_prefill_attention(self, model_id: str, queries: int, window: int) -> None:
        row = {"attn_dtype": "bfloat16", "kv_cache_dtype": "bfloat16", "batch_size": 2, "isl": queries}
        heads = {"num_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "window_size": float(window)}
        kernels = timed("prefill_attention", row | heads)
        counted = Counted(model_id, "attention", Stage.PREFILL, (2, queries, queries))
        assert_same(kernels, counted, Quantity.TILES)

    @pytest.mark.parametrize("tokens", [1, 64, 4096])
    @pytest.mark.parametrize(
        ("model_id", "shape", "ranks", "stated"),
        [
            pytest.param(MIXTRAL, (4096, 14336, 2, 8), (1, 1), {}, id="Mixtral"),
            pytest.param(
                MIXTRAL,
                (4096, 14336, 2, 8),
                (2, 1),
                {"weight_dtype": Dtype.FP8, "activation_dtype": Dtype.FP8, "parallel": Parallelism(tp=2)},
                id="half of each expert, fp8",
            ),
            pytest.param(
                QWEN,
                (2048, 768, 8, 128),
                (1, 4),
                {"parallel": Parallelism(tp=4, ep=4), "expert_popularity_spread": 1.4},
                id="a quarter of the experts, some of them popular",
            ),
        ],
    )
    def test_experts(
        self,
        tokens: int,
        model_id: str,
        shape: tuple[int, int, int, int],
        ranks: tuple[int, int],
        stated: dict[str, Any],
    ) -> None:
        row: dict[str, object] = dict(
            zip(("hidden_size", "inter_size", "topk", "num_experts"), shape, strict=True)
        )
        row |= {"moe_tp_size": ranks[0], "moe_ep_size": ranks[1], "num_tokens": tokens}
        row |= {"dtype": "fp8" if "weight_dtype" in stated else "bfloat16", "kernel_source": "triton"}
        kernels = timed("moe", row | {"distribution": "power_law_1.01"})
        counted = Counted(model_id, "moe_experts", Stage.DECODE, (tokens, 1, 100), **stated)
        assert_same(kernels, counted)
        assert kernels.serial[0] == pytest.approx(counted[Quantity.SERIAL])
        rate = np.sqrt(H100.bandwidth_bytes_per_s * 2e12)
        assert kernels.pass_s[0] == pytest.approx(2 * counted[Quantity.PASSED] / rate)
        assert kernels.inner_pass_s[0] == pytest.approx(2 * counted[Quantity.PASSED_INNER] / rate)


class TestWhichRows:
    def test_small_matrices_are_not_fitted(self) -> None:
        shape: dict[str, object] = {"dtype": "bfloat16", "m": 8, "k": 4096}
        kernels = timed("gemm", shape | {"n": 64}, shape | {"n": 4096})
        assert sorted(kernels.fitted) == [False, True]

    def test_a_row_from_the_cache_of_the_l40s_is_not_fitted(self) -> None:
        shape = {"dtype": "bfloat16", "m": 8, "n": 2048, "k": 2048}
        kernels = timed("gemm", shape | {"system": "l40s"}, shape | {"system": "a100_sxm"})
        assert dict(zip(kernels.system, kernels.fitted, strict=True)) == {"l40s": False, "a100_sxm": True}

    def test_a_quantisation_that_serving_fuses_is_not_fitted(self) -> None:
        shape = {"m": 8, "n": 4096, "k": 4096, "backend": "trtllm"}
        kernels = timed("gemm", shape | {"dtype": "fp8"}, shape | {"dtype": "fp8_block"})
        assert dict(zip(kernels.rows_dtype, kernels.fitted, strict=True)) == {"fp8": False, "fp8_block": True}

    def test_a_time_below_the_ideal_is_judged_and_not_fitted(self) -> None:
        row = {"attn_dtype": "bfloat16", "kv_cache_dtype": "bfloat16", "batch_size": 64, "kvlen": 8192.0}
        heads = {"num_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "window_size": 0.0}
        kernels = timed("decode_attention", row | heads | {"measured_us": 1.0})
        assert kernels.scored.all()
        assert not kernels.fitted.any()

    def test_the_kernel_for_minimal_latency_is_left_out(self) -> None:
        row: dict[str, object] = {"hidden_size": 2048, "inter_size": 768, "topk": 8, "num_experts": 128}
        row |= {"moe_tp_size": 1, "moe_ep_size": 1, "num_tokens": 8, "dtype": "bfloat16"}
        row |= {"distribution": "balanced"}
        kernels = timed("moe", *(row | {"kernel_source": name} for name in ("x_min_latency", "x_cutlass")))
        assert len(kernels) == 1

    def test_the_newest_release_counts_candidates_and_patches_as_the_release(self) -> None:
        assert release("1.3.0rc20") == release("1.3.0") == release("1.3.0.post1") < release("1.10.0")


@pytest.mark.parametrize("rate", ["bandwidth", "peak"])
@pytest.mark.parametrize("name", FORMS)
def test_a_faster_device_takes_no_longer_and_no_time_is_below_the_ideal(name: str, rate: str) -> None:
    form = FORMS[name]
    text = shipped_text(name, 50)
    constants = np.array(Constants(3.0, 1.0, 0.01, 0.3, 0.9, 0.9, 1.0, 1.0))[:, None]
    slow, fast = (
        form.read(read_timings(text), {key: faster(device, rate, by) for key, device in DEVICES.items()})
        for by in (1.0, 1.7)
    )
    before, after = (expected_seconds(kernels, constants, form.exponent) for kernels in (slow, fast))
    assert (after <= before).all()
    assert (after < before).any()
    assert (before >= slow.ideal_s).all()


DEVICES = catalog_devices()


def faster(device: Device, rate: str, by: float) -> Device:
    if rate == "bandwidth":
        return device._replace(bandwidth_bytes_per_s=device.bandwidth_bytes_per_s * by)
    return device._replace(peak_flops_per_s={of: peak * by for of, peak in device.peak_flops_per_s.items()})


def test_the_shipped_files_hold_what_their_page_says() -> None:
    found = {name: shipped_text(name).count("\n") for name in FORMS}
    assert found == {"gemm": 59_750, "decode_attention": 14_000, "prefill_attention": 14_000, "moe": 28_917}


def test_clocks_are_those_of_the_catalog() -> None:
    documents = {document["id"]: document for _, document in ridgeline_catalog.hardware_documents()}
    for system in SYSTEMS.values():
        stated = documents[system.device_id].get("clock_hz", {"value": system.clock_hz})
        assert system.clock_hz == stated["value"]
