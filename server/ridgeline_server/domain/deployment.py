"""Deployment: how a model is served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cache, cached_property, lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from ridgeline_server.domain.dtypes import (
    ELEMENT_BITS,
    GROUP_SCALE_BITS,
    Dtype,
    product_dtype,
    weight_bits,
)
from ridgeline_server.domain.engine import EngineMatch
from ridgeline_server.domain.model import WeightFormat
from ridgeline_server.domain.parallelism import ONE_DEVICE, Parallelism
from ridgeline_server.domain.speculation import Speculation
from ridgeline_server.domain.tensors import ModuleClass

HOST_BANDWIDTH_BYTES_PER_S = 25e9
"""What a copy from pinned host memory reaches over PCIe 4.0 x16 (31.5 GB/s on paper, a fifth goes to
packets).
"""
NODE_BANDWIDTH_BYTES_PER_S = 50e9
"""One 400 Gb/s port for each device, as NVIDIA's DGX H100 and its followers have (DGX H100 data sheet)."""
SPARSE_POSITION_BITS = 1.0
"""Two 2-bit positions for every four weights (arXiv:2104.08378, section 3)."""


class AttentionKernel(StrEnum):
    """How attention is computed."""

    FUSED = "fused"
    UNFUSED = "unfused"


class CostBasis(StrEnum):
    """Which cost leads an answer: the datasheet roofline or the calibrated prediction."""

    IDEAL = "ideal"
    EXPECTED = "expected"


QUANTIZED_MODULES = (
    ModuleClass.ATTENTION,
    ModuleClass.MIXER,
    ModuleClass.MLP,
    ModuleClass.EXPERTS,
    ModuleClass.SHARED_EXPERT,
)
"""Modules whose matrices a format for the weights means; routers and what mixes residual streams stay wide,
as checkpoints leave them.
"""
OUTER_MODULES = (ModuleClass.LM_HEAD, ModuleClass.EMBEDDING)


@dataclass(frozen=True)
class Offload:
    """What lies in the host's memory and is read over its link: shares of the layers' weights and of the KV
    cache, and the link's bytes per second in one direction.
    """

    weight_share: float = 0.0
    kv_share: float = 0.0
    host_bandwidth_bytes_per_s: float = HOST_BANDWIDTH_BYTES_PER_S

    @property
    def is_used(self) -> bool:
        """Whether anything is offloaded."""
        return self.weight_share > 0 or self.kv_share > 0


NO_OFFLOAD = Offload()


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What is stated of a deployment and needs no filling in. `sparse_weights`: two of four weights are zero,
    and a unit skips them.

    A prefill runs in steps of at most `chunk_tokens` (None: all prompts in one). `prefix_hit_rate` is the
    share of a prompt whose keys and values are cached already, `kv_keep_ratio` the share of a sequence's keys
    that decode still holds and reads, `kv_window` the most of them (None: all), `skipped_layer_share` that
    of layers that tokens skip.
    `expert_popularity_spread` is the coefficient of variation of the experts' popularity, 0 where the router
    is balanced. `eager`: the host launches each kernel of a decode step, where engines replay a captured
    graph otherwise.
    """

    attention: AttentionKernel = AttentionKernel.FUSED
    parallel: Parallelism = ONE_DEVICE
    chunk_tokens: int | None = None
    prefix_hit_rate: float = 0.0
    kv_keep_ratio: float = 1.0
    kv_window: int | None = None
    speculation: Speculation | None = None
    offload: Offload = NO_OFFLOAD
    sparse_weights: bool = False
    skipped_layer_share: float = 0.0
    expert_popularity_spread: float = 0.0
    node_bandwidth_bytes_per_s: float = NODE_BANDWIDTH_BYTES_PER_S
    engine: EngineMatch | None = None
    memory_utilization: float | None = None
    eager: bool = False


@dataclass(frozen=True)
class Deployment(Serving):
    """A complete statement of how a model is served.

    `weight_dtype` is the storage of the layers' matrices, in groups of `weight_group_size` with
    `weight_scale_bits` each, `lm_head_dtype` that of lm_head and the input embedding, `activation_dtype` the
    operands that enter the layers' weight GEMMs; all other activations stay in `compute_dtype`, the 16-bit
    (or fp32) format of the model. `formats` are those of module classes that differ.
    """

    weight_dtype: Dtype
    weight_group_size: int
    lm_head_dtype: Dtype
    activation_dtype: Dtype
    kv_dtype: Dtype
    compute_dtype: Dtype
    weight_scale_bits: float = GROUP_SCALE_BITS
    formats: tuple[WeightFormat, ...] = ()

    def __hash__(self) -> int:
        # Deployments key caches that every question asks many times; equality still compares everything.
        return self.hashed

    @cached_property
    def hashed(self) -> int:
        """Its hash, which is that of scenarios too."""
        drafting = self.speculation
        drafted = None if drafting is None else (drafting.tokens, drafting.acceptance_rate)
        formats = (self.weight_dtype, self.activation_dtype, self.kv_dtype)
        cache = (self.chunk_tokens, self.prefix_hit_rate, self.kv_keep_ratio, self.kv_window)
        return hash((formats, self.parallel, cache, drafted))

    def storing(self, dtype: Dtype, group_size: int, activation_dtype: Dtype) -> Deployment:
        """The same with the layers' matrices in another format, made anew: with scales of the usual bits."""
        return replace(
            self,
            weight_dtype=dtype,
            weight_group_size=group_size,
            weight_scale_bits=GROUP_SCALE_BITS,
            activation_dtype=activation_dtype,
            formats=(),
        )

    @cached_property
    def as_stored(self) -> Deployment:
        """The same formats, devices and offload, with all else as usual: what operators move and compute for
        a step depends on no more, so that this keys caches of it.
        """
        kind: Any = type(self)
        return _as_stored(kind, attrgetter(*_stored_fields(kind))(self))

    @cached_property
    def stored_formats(self) -> Mapping[ModuleClass, WeightFormat]:
        """How the matrices of each module class are stored, and the format of their inputs (None: wide)."""
        own = None if self.activation_dtype is self.compute_dtype else self.activation_dtype
        group, scale = self.weight_group_size, self.weight_scale_bits
        found = {
            module: WeightFormat(module, self.weight_dtype, group, own, scale) for module in QUANTIZED_MODULES
        }
        found |= {
            module: WeightFormat(module, self.lm_head_dtype, group, None, scale) for module in OUTER_MODULES
        }
        found |= {stored.module: stored for stored in self.formats}
        wide = (module for module in ModuleClass if module not in found)
        return MappingProxyType(found | {module: WeightFormat(module, self.compute_dtype) for module in wide})

    def format_of(self, module: ModuleClass) -> WeightFormat:
        """How the matrices of a module class are stored, and the format of their inputs (None: wide)."""
        return self.stored_formats[module]

    def stored_bits(self, module: ModuleClass) -> float:
        """Bits of one matrix weight of a module class, scales and, of sparse ones, positions included."""
        return self._bits(self.format_of(module), sparse=self.sparse_weights and module in QUANTIZED_MODULES)

    @staticmethod
    def _bits(stored: WeightFormat, *, sparse: bool) -> float:
        bits = weight_bits(stored.dtype, stored.group_size, stored.scale_bits)
        return bits - ELEMENT_BITS[stored.dtype] / 2 + SPARSE_POSITION_BITS if sparse else bits

    def input_dtype(self, module: ModuleClass) -> Dtype:
        """The format in which activations enter the GEMMs of a module class."""
        return self.format_of(module).activation_dtype or self.compute_dtype

    def gemm_dtype_of(self, module: ModuleClass) -> Dtype:
        """The format in which the GEMMs of a module class multiply: low-bit only when both operands are, or
        the weights are widened to it.
        """
        stored = self.format_of(module)
        return product_dtype(stored.dtype, stored.activation_dtype, self.compute_dtype)

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a decode step gives each sequence on average."""
        return 1.0 if self.speculation is None else self.speculation.expected_tokens

    @property
    def weight_bits(self) -> float:
        """Bits of one weight of most of the layers' matrices, scales and positions included."""
        own = WeightFormat(
            ModuleClass.MLP, self.weight_dtype, self.weight_group_size, None, self.weight_scale_bits
        )
        return self._bits(own, sparse=self.sparse_weights)

    @property
    def memory_share(self) -> float:
        """The share of a device's memory that may be used: the one stated, else the engine's own default."""
        if self.memory_utilization is not None:
            return self.memory_utilization
        return 1.0 if self.engine is None else self.engine.release.memory_utilization

    @property
    def gemm_dtype(self) -> Dtype:
        """The format in which most of the layers' weight GEMMs multiply."""
        return product_dtype(self.weight_dtype, self.activation_dtype, self.compute_dtype)


NOT_OF_A_STEP = frozenset(
    {
        "chunk_tokens",
        "prefix_hit_rate",
        "kv_keep_ratio",
        "kv_window",
        "speculation",
        "engine",
        "memory_utilization",
        "eager",
    }
)
"""Fields that decide how many steps there are, of what size, and how they are launched."""


@cache
def _stored_fields(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.name not in NOT_OF_A_STEP)


@lru_cache(maxsize=1024)
def _as_stored(kind: Any, stored: tuple[Any, ...]) -> Deployment:
    """One object for all deployments that are stored alike, which caches tell from others at a glance."""
    found: Deployment = kind(**dict(zip(_stored_fields(kind), stored, strict=True)))
    return found


@dataclass(frozen=True)
class DeploymentRequest(Serving):
    """What a user states of a deployment; None takes the checkpoint's own format, or what Deployment has.

    `formats` state module classes apart from `weight_dtype`, such as the experts alone.
    """

    weight_dtype: Dtype | None = None
    weight_group_size: int | None = None
    lm_head_dtype: Dtype | None = None
    activation_dtype: Dtype | None = None
    kv_dtype: Dtype | None = None
    formats: tuple[WeightFormat, ...] = ()
