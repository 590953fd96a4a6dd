"""What the timed kernels of each operator class count, which of them are fitted, and by which constants.

Counts are those of the operator table (roofline/operators), so that constants fitted here cost its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ridgeline_server.calibration.kernels.counts import Constants, Device, Form, Format, Kernels
from ridgeline_server.calibration.kernels.rows import Array, Mask, Texts, Timings
from ridgeline_server.domain.dtypes import Dtype, activation_bits, kv_bits, weight_bits
from ridgeline_server.domain.efficiency import OperatorClass
from ridgeline_server.roofline.constants import (
    PASS_BANDWIDTH_BYTES_PER_S,
    PASSED_BYTES,
    REFERENCE_CLOCK_HZ,
)
from ridgeline_server.roofline.experts import busiest_rank_share, distinct_experts
from ridgeline_server.roofline.operators.attention import SOFTMAX_FLOPS_PER_SCORE
from ridgeline_server.roofline.operators.feed_forward import activation_flops
from ridgeline_server.roofline.operators.layer import SERIAL_DEPTH
from ridgeline_server.roofline.operators.variables import LENGTH_SCALE, TILE_QUERIES

WIDE_BYTES = 2.0
"""Bytes of a 16-bit element."""


def _of(by_system: Mapping[str, float], system: Texts) -> Array:
    return np.array([by_system[name] for name in system])


def _rates(devices: Mapping[str, Device], system: Texts) -> tuple[Array, Array, Array]:
    """Bandwidth in bytes/s, clock over the reference and bytes of cache of each row's device."""
    return (
        _of({name: device.bandwidth_bytes_per_s for name, device in devices.items()}, system),
        _of({name: device.clock_hz / REFERENCE_CLOCK_HZ for name, device in devices.items()}, system),
        _of({name: device.cache_bytes for name, device in devices.items()}, system),
    )


def _peaks(devices: Mapping[str, Device], system: Texts, dtype: Texts) -> Array:
    """FLOP/s of each row's device in a format; blocks of four bits run on FP4 units."""
    fp4 = (Dtype.NVFP4, Dtype.MXFP4)
    return np.array(
        [
            devices[name].peak_flops_per_s["fp4" if of in fp4 else of]
            for name, of in zip(system, dtype, strict=True)
        ]
    )


class _Gemm(NamedTuple):
    format: Format
    group: int
    quantises: bool
    """Whether a pass over the activations makes them narrow."""


_GEMMS: Mapping[str, _Gemm] = MappingProxyType(
    {
        "bfloat16": _Gemm(Format(Dtype.BF16, Dtype.BF16), 0, quantises=False),
        "fp8": _Gemm(Format(Dtype.FP8, Dtype.FP8), 0, quantises=True),
        "fp8_block": _Gemm(Format(Dtype.FP8, Dtype.FP8), 0, quantises=True),
        "nvfp4": _Gemm(Format(Dtype.NVFP4, Dtype.NVFP4), 0, quantises=True),
        "int8_wo": _Gemm(Format(Dtype.BF16, Dtype.INT8), 0, quantises=False),
        "int4_wo": _Gemm(Format(Dtype.BF16, Dtype.INT4), 128, quantises=False),
        "sq": _Gemm(Format(Dtype.INT8, Dtype.INT8), 0, quantises=True),
    }
)
SMALLEST_SIDE = 256
"""Matrices with a shorter side are not fitted: no model has them but for routers, and all they cost is the
launch.
"""


def read_gemms(timings: Timings, devices: Mapping[str, Device]) -> Kernels:
    """Products of (m, k) activations with (n, k) weights.

    Not fitted: matrices with a side below SMALLEST_SIDE; rows of the L40S whose operands its cache holds,
    since the timings repeat one matrix (TensorRT-LLM) or take turns with five (vLLM, SGLang), where a model's
    come from memory (the other systems show nothing of it); TensorRT-LLM's per-tensor fp8, whose rows carry
    an unfused quantisation of 14 us that its serving path fuses; and its block-wise fp8 on the L40S, whose
    kernel is not native there. SGLang's weight-only int8 launches in 22 us and is off by two either way: it
    stands for nobody else.
    """
    system, engine, name = (timings.text(column) for column in ("system", "backend", "dtype"))
    m, n, k = (timings.number(column) for column in ("m", "n", "k"))
    kinds = [_GEMMS[of] for of in name]
    bandwidth, clock, cache = _rates(devices, system)
    weights = n * k * np.array([weight_bits(of.format.weight_dtype, of.group) / 8 for of in kinds])
    inputs = m * k * np.array([activation_bits(of.format.dtype) / 8 for of in kinds])
    moved = weights + inputs + WIDE_BYTES * m * n
    compute_s = 2 * m * n * k / _peaks(devices, system, np.array([of.format.dtype for of in kinds]))
    memory_s = moved / bandwidth
    repeated, held = np.where(engine == "trtllm", 1.0, 5.0), np.where(engine == "trtllm", 1.25, 1.0)
    wide = WIDE_BYTES * (m * k + m * n)
    resident = (system == "l40s") & (repeated * weights + wide < held * cache)
    resident &= (memory_s > 1e-6) & (memory_s > compute_s / 2)
    unlike_served = (engine == "trtllm") & ((name == "fp8") | ((name == "fp8_block") & (system == "l40s")))
    fitted = (np.minimum(n, k) >= SMALLEST_SIDE) & ~resident & ~unlike_served
    zeros = np.zeros_like(m)
    return Kernels(
        system=system,
        engine=engine,
        version=timings.text("version"),
        rows_dtype=name,
        format=np.array([str(of.format) for of in kinds]),
        measured_s=timings.number("measured_us") * 1e-6,
        compute_s=compute_s,
        memory_s=memory_s,
        serial=np.minimum(k, SERIAL_DEPTH) / SERIAL_DEPTH,
        items=zeros,
        loop=k / 1000,
        pass_s=PASSED_BYTES * m * k / bandwidth * np.array([of.quantises for of in kinds]),
        inner_pass_s=zeros,
        clock=clock,
        fitted=fitted,
        pooled=fitted & ~((name == "int8_wo") & (engine == "sglang")),
        scored=fitted,
    )


GEMM = Form(
    operator_class=OperatorClass.GEMM,
    exponent=2.0,
    start=Constants(5.0, 2.0, 0.0, 0.3, 0.6, 0.8, 2.0, 0.0),
    levelling=1.0,
    read=read_gemms,
)

LARGEST_GROUP = 32
"""Query heads of a KV head up to which TensorRT-LLM's decode kernel reads keys and values once; beyond, it
reads them for each query head, and hardly a model has so many.
"""
_WIDTHS: Mapping[str, Dtype] = MappingProxyType({"bfloat16": Dtype.BF16, "fp8": Dtype.FP8})


def read_decode_attention(timings: Timings, devices: Mapping[str, Device]) -> Kernels:
    """One token of each sequence against its keys, of which a window leaves `kvlen`. It computes in 16 bits,
    whatever the keys are stored in, which is the weights' format here.

    Fitted and judged as _attention tells; TensorRT-LLM's kernels of more query heads than LARGEST_GROUP for a
    KV head are judged alone.
    """
    batch, heads, kv_heads, keys = (
        timings.number(column) for column in ("batch_size", "num_heads", "num_key_value_heads", "kvlen")
    )
    rereads = (timings.text("backend") == "trtllm") & (heads / kv_heads > LARGEST_GROUP)
    return _attention(
        timings,
        devices,
        computed=np.full(len(batch), Dtype.BF16.value),
        stored=np.array([_WIDTHS[of] for of in timings.text("kv_cache_dtype")], dtype=np.str_),
        pairs=batch * keys,
        keys=keys,
        queries=np.ones_like(keys),
        serial=keys / (keys + LENGTH_SCALE),
        items=batch * kv_heads,
        unlike_served=rereads,
        decodes=True,
    )


def read_prefill_attention(timings: Timings, devices: Mapping[str, Device]) -> Kernels:
    """Prompts of `isl` tokens against themselves, where a window leaves each query at most so many keys.
    Fitted and judged as _attention tells.
    """
    batch, heads, queries, window = (
        timings.number(column) for column in ("batch_size", "num_heads", "isl", "window_size")
    )
    seen = np.where((window > 0) & (window < queries), window, queries)
    return _attention(
        timings,
        devices,
        computed=np.array([_WIDTHS[of] for of in timings.text("attn_dtype")], dtype=np.str_),
        stored=np.full(len(batch), Dtype.BF16.value),
        pairs=batch * (seen * (seen + 1) / 2 + (queries - seen) * seen),
        keys=queries,
        queries=queries,
        serial=np.zeros_like(queries),
        items=batch * heads * np.ceil(queries / TILE_QUERIES),
        unlike_served=np.zeros(len(batch), dtype=bool),
        decodes=False,
    )


def _attention(
    timings: Timings,
    devices: Mapping[str, Device],
    *,
    computed: Texts,
    stored: Texts,
    pairs: Array,
    keys: Array,
    queries: Array,
    serial: Array,
    items: Array,
    unlike_served: Mask,
    decodes: bool,
) -> Kernels:
    """Fused kernels of `queries` of each sequence that read its `keys`; `pairs` of both are those of all
    sequences.

    Neither fitted nor judged: kernels whose operands the cache holds (below 1.1 times its size, taking over 3
    us of memory time), since the timings repeat the same buffers. Not fitted: what is faster than the memory
    allows though no cache can hold it, which was mistimed.
    """
    system = timings.text("system")
    batch, heads, kv_heads, head_dim, measured_us = (
        timings.number(column)
        for column in ("batch_size", "num_heads", "num_key_value_heads", "head_dim", "measured_us")
    )
    bandwidth, clock, cache = _rates(devices, system)
    element = np.array([kv_bits(_WIDTHS[of], 1) / 8 for of in timings.text("kv_cache_dtype")])
    moved = (
        2 * batch * kv_heads * keys * head_dim * element + 2 * WIDE_BYTES * batch * queries * heads * head_dim
    )
    flops = heads * pairs * (4 * head_dim + SOFTMAX_FLOPS_PER_SCORE)
    compute_s, memory_s = flops / _peaks(devices, system, computed), moved / bandwidth
    resident = (moved < 1.1 * cache) & (memory_s > 3e-6)
    if not decodes:
        resident &= memory_s > 0.3 * compute_s
    fitted = ~resident & ~unlike_served & (measured_us * 1e-6 >= np.maximum(compute_s, memory_s))
    zeros = np.zeros_like(batch)
    return Kernels(
        system=system,
        engine=timings.text("backend"),
        version=timings.text("version"),
        rows_dtype=stored if decodes else computed,
        format=np.char.add(np.char.add(computed, "/"), stored),
        measured_s=measured_us * 1e-6,
        compute_s=compute_s,
        memory_s=memory_s,
        serial=serial,
        items=items,
        loop=zeros,
        pass_s=zeros,
        inner_pass_s=zeros,
        clock=clock,
        fitted=fitted,
        pooled=fitted,
        scored=~resident,
    )


DECODE_ATTENTION = Form(
    operator_class=OperatorClass.DECODE_ATTENTION,
    exponent=2.0,
    start=Constants(10.0, 5.0, 0.015, 0.0, 0.18, 0.8, 0.0, 0.0),
    levelling=0.0,
    read=read_decode_attention,
    shared=frozenset({"serial_us", "item_us", "compute"}),
)
PREFILL_ATTENTION = Form(
    operator_class=OperatorClass.PREFILL_ATTENTION,
    exponent=1.0,
    start=Constants(12.0, 0.0, 0.019, 0.0, 0.5, 0.45, 0.0, 0.0),
    levelling=0.0,
    read=read_prefill_attention,
    shared=frozenset({"item_us", "memory"}),
)


class _Experts(NamedTuple):
    format: Format
    group: int


_EXPERTS: Mapping[str, _Experts] = MappingProxyType(
    {
        "bfloat16": _Experts(Format(Dtype.BF16, Dtype.BF16), 0),
        "fp8": _Experts(Format(Dtype.FP8, Dtype.FP8), 0),
        "fp8_block": _Experts(Format(Dtype.FP8, Dtype.FP8), 0),
        "int4_wo": _Experts(Format(Dtype.BF16, Dtype.INT4), 128),
        "w4a16_mxfp4": _Experts(Format(Dtype.BF16, Dtype.MXFP4), 0),
        "w4a8_mxfp4_mxfp8": _Experts(Format(Dtype.FP8, Dtype.MXFP4), 0),
        "nvfp4": _Experts(Format(Dtype.NVFP4, Dtype.NVFP4), 0),
    }
)
_NOT_GATED = frozenset(
    {(1024, 2688, 22), (2048, 5120, 22), (8192, 5120, 22), (4096, 2688, 22), (2688, 1856, 6)}
)
"""Hidden and intermediate size and experts of a token of models whose experts are not gated."""
_GATED_ALL_THE_SAME = frozenset(
    {("vllm", "0.14.0"), ("vllm", "0.19.0"), ("vllm", "0.22.0"), ("sglang", "0.5.10")}
)
"""Releases whose gated kernels were timed for those models too: inferred from their times."""
_POPULARITY_SPREADS: Mapping[str, float] = MappingProxyType(
    {"balanced": 0.0, "power_law_1.01": 1.4, "power_law_1.2": 1.6}
)
"""Coefficient of variation of the experts' popularity in each distribution, by comparing with draws of it."""


def read_experts(timings: Timings, devices: Mapping[str, Device]) -> Kernels:
    """Fused MLPs of the experts of one rank: routed tokens in, their sums out.

    `num_tokens` are those of all ranks, which the rank sees; the busiest rank is timed. The even
    distribution deals tokens out in turn, so that nothing is left to chance. Left out: TensorRT-LLM's kernel
    for minimal latency, which serves few tokens alone, and fp8 with int4 weights, of one retired release. Not
    fitted: FlashInfer's CUTLASS kernels, three to four times slower than TensorRT-LLM's of the same origin.
    Not pooled: older releases, whose kernels newer ones replaced, and SGLang's Triton kernels of mxfp4
    weights, which are widened to 16 bits as they load.
    """
    served = (np.char.find(timings.text("kernel_source"), "min_latency") < 0) & np.isin(
        timings.text("dtype"), list(_EXPERTS)
    )
    timings = timings.take(served)
    system, engine, version, name, distribution = (
        timings.text(column) for column in ("system", "backend", "version", "dtype", "distribution")
    )
    tokens, hidden, full, chosen, experts, tp, ep = (
        timings.number(column)
        for column in (
            "num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size",
        )
    )  # fmt: skip
    kinds = [_EXPERTS[of] for of in name]
    inner = full / tp
    plain = np.array([key in _NOT_GATED for key in zip(hidden, full, chosen, strict=True)])
    plain &= ~np.array([key in _GATED_ALL_THE_SAME for key in zip(engine, version, strict=True)])
    products = np.where(plain, 2.0, 3.0)
    even = distribution == "balanced"
    mean_pairs = tokens * chosen / ep
    spread = _of(_POPULARITY_SPREADS, distribution)
    share = np.where(
        even, np.maximum(1.0, 1 / mean_pairs), busiest_rank_share(tokens, experts, chosen, ep, spread)
    )
    pairs = mean_pairs * share
    hit = np.where(
        even,
        np.minimum(experts / ep, np.maximum(mean_pairs, 1.0)),
        distinct_experts(tokens, experts, chosen) / ep,
    )
    matrix = products * hidden * inner
    act = np.where(plain, activation_flops("relu", gated=False), activation_flops("silu", gated=True))
    narrow = np.array([activation_bits(of.format.dtype) / 8 for of in kinds])
    moved = matrix * hit * np.array([weight_bits(of.format.weight_dtype, of.group) / 8 for of in kinds])
    moved += pairs * (hidden + inner) * narrow + pairs * inner * narrow
    moved += WIDE_BYTES * (2 * pairs * ((products - 1) * inner + hidden) + tokens * hidden)
    flops = pairs * (2 * matrix + act * inner + 2 * hidden)
    bandwidth, clock, _ = _rates(devices, system)
    passed_s = PASSED_BYTES / np.sqrt(bandwidth * PASS_BANDWIDTH_BYTES_PER_S)
    kernel = timings.text("kernel_source")
    fitted = np.char.find(kernel, "flashinfer_cutlass") < 0
    widened = (engine == "sglang") & (name == "w4a16_mxfp4") & (np.char.find(kernel, "triton") >= 0)
    found = Kernels(
        system=system,
        engine=engine,
        version=version,
        rows_dtype=name,
        format=np.array([str(of.format) for of in kinds]),
        measured_s=timings.number("measured_us") * 1e-6,
        compute_s=flops / _peaks(devices, system, np.array([of.format.dtype for of in kinds])),
        memory_s=moved / bandwidth,
        serial=hidden + inner,
        items=hit,
        loop=np.zeros_like(tokens),
        pass_s=passed_s * pairs * ep * hidden,
        inner_pass_s=passed_s * pairs * ep * products * inner,
        clock=clock,
        fitted=fitted,
        pooled=fitted & ~widened,
        scored=np.ones(len(tokens), dtype=bool),
    )
    return replace(found, pooled=found.pooled & found.latest())


MOE = Form(
    operator_class=OperatorClass.MOE,
    exponent=2.0,
    start=Constants(20.0, 1e-3, 0.1, 0.0, 0.3, 0.7, 1.0, 1.0),
    levelling=0.5,
    read=read_experts,
    least_launch_us=5.0,  # Two hidden sizes, all that mxfp4 was timed with, do not tell serial work from it.
)
FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "gemm": GEMM,
        "decode_attention": DECODE_ATTENTION,
        "prefill_attention": PREFILL_ATTENTION,
        "moe": MOE,
    }
)
"""The forms by the names of the files of their timings."""
