"""Folds what a deployment and its devices are into an operator table: bytes, rates, how often rows run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import QUANTIZED_MODULES, Deployment
from ridgeline_server.domain.dtypes import (
    ELEMENT_BITS,
    activation_bits,
    kv_element_bits,
    kv_vector_bits,
)
from ridgeline_server.domain.errors import UnsupportedDtypeError
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.tensors import ModuleClass
from ridgeline_server.roofline.operators.rows import BYTE_CLASSES, Quantity
from ridgeline_server.roofline.operators.table import MODULES, OperatorTable
from ridgeline_server.roofline.scenario import Scenario

Array = NDArray[np.float64]


class Part(NamedTuple):
    """A table under one scenario: the arrays of `Folded` with S = 1, and what is read of single scenarios.
    `bytes` has shape (byte classes, R, B) and sums up to `moved_bytes`. `gemm_surplus_s` (B,) is how much
    longer the layers' weight GEMMs compute than they move bytes.
    """

    bytes: Array
    message_bytes: Array
    moved_bytes: Array
    memory_s: Array
    host_s: Array
    peak_flops_per_s: Array
    runs: Array
    bandwidth_bytes_per_s: float
    gemm_surplus_s: Array


@dataclass(frozen=True, eq=False)
class Folded:
    """A table under S scenarios, the `parts`: per row and step variable what a step moves, and how long that
    takes. Arrays of all scenarios are joined when they are asked for.
    """

    parts: Sequence[Part]

    @cached_property
    def message_bytes(self) -> Array:
        """What each device gives to a collective, shape (S, R, B)."""
        return joined([part.message_bytes for part in self.parts])

    @cached_property
    def moved_bytes(self) -> Array:
        """All bytes, shape (S, R, B)."""
        return joined([part.moved_bytes for part in self.parts])

    @cached_property
    def memory_s(self) -> Array:
        """Seconds that bytes from memory take, shape (S, R, B)."""
        return joined([part.memory_s for part in self.parts])

    @cached_property
    def host_s(self) -> Array:
        """Seconds that bytes over the host's link take, shape (S, R, B)."""
        return joined([part.host_s for part in self.parts])

    @cached_property
    def peak_flops_per_s(self) -> Array:
        """The rate at which each row computes, shape (S, R)."""
        return joined([part.peak_flops_per_s for part in self.parts])

    @cached_property
    def runs(self) -> Array:
        """How often a step runs each row, shape (S, R)."""
        return joined([part.runs for part in self.parts])


def joined(arrays: Sequence[Array]) -> Array:
    """Arrays of one scenario each, joined along their first axis."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def fold(table: OperatorTable, scenarios: Sequence[Scenario]) -> Folded:
    """Folds the formats and rates of scenarios into the table's coefficients."""
    return Folded([_fold(table, s.hardware, s.deployment.as_stored) for s in scenarios])


@lru_cache(maxsize=512)
def _fold(table: OperatorTable, hardware: Hardware, deployment: Deployment) -> Part:
    weight, gemm = np.array(module_bits(deployment))[:, table.module] / 8
    wide = ELEMENT_BITS[deployment.compute_dtype] / 8
    element, vector = kv_element_bits(deployment.kv_dtype) / 8, kv_vector_bits(deployment.kv_dtype) / 8
    sizes = np.ones((Quantity.HELD_WIDE + 1, len(table.rows)))
    sizes[Quantity.WEIGHTS] = weight
    sizes[[Quantity.IN_WIDE, Quantity.OUT_WIDE, Quantity.MESSAGE_WIDE]] = wide
    sizes[[Quantity.IN_GEMM, Quantity.OUT_GEMM, Quantity.MESSAGE_GEMM]] = gemm
    sizes[[Quantity.KV_READ, Quantity.KV_WRITTEN]] = element
    sizes[[Quantity.KV_READ_VECTORS, Quantity.KV_WRITTEN_VECTORS]] = vector
    counted = table.coefficients[: len(sizes)] * sizes[..., None]
    moved = np.add.reduceat(counted, _STARTS, axis=0)[None]
    rates = np.array(
        [
            *(gemm_rate(deployment, hardware, module) for module in MODULES),
            hardware.peak_flops_per_s[deployment.compute_dtype],
        ]
    )
    offload, bandwidth = deployment.offload, hardware.bandwidth_bytes_per_s
    host_s = np.zeros_like(moved[:, 0])
    near = moved[:, 1:6].sum(axis=1)
    if offload.is_used:
        layers = table.in_layers & np.isin(table.module, _QUANTIZED)
        # Recurrent states, which are read by rows of their own, stay on the device.
        cached = table.coefficients[Quantity.KV_READ].any(axis=-1)
        weights, keys = (moved[:, 1 + BYTE_CLASSES.index(q)] for q in (Quantity.WEIGHTS, Quantity.KV_READ))
        far = weights * (offload.weight_share * layers)[:, None] + keys * (offload.kv_share * cached)[:, None]
        host_s, near = far / offload.host_bandwidth_bytes_per_s, near - far
    memory_s = near / bandwidth
    peak = np.where(table.multiplies, rates[table.module], rates[-1])
    runs = table.count * (1 - deployment.skipped_layer_share * table.in_layers)
    gemms = table.layer_gemms
    surplus = table.coefficients[Quantity.FLOPS, gemms] / peak[gemms, None] - (memory_s + host_s)[0, gemms]
    return Part(
        bytes=moved[0, 1:6],
        message_bytes=moved[:, 6],
        moved_bytes=moved[:, 1:6].sum(axis=1),
        memory_s=memory_s,
        host_s=host_s,
        peak_flops_per_s=peak[None],
        runs=runs[None],
        bandwidth_bytes_per_s=bandwidth,
        gemm_surplus_s=runs[gemms] @ surplus,
    )


_QUANTIZED = [index for index, module in enumerate(MODULES) if module in QUANTIZED_MODULES]
_STARTS = (Quantity.FLOPS, *BYTE_CLASSES, Quantity.MESSAGE_WIDE, Quantity.HELD_WIDE)


def module_bits(deployment: Deployment) -> tuple[list[float], list[float]]:
    """Bits of a stored weight and of an element that enters a GEMM, of each module class."""
    return (
        [deployment.stored_bits(module) for module in MODULES],
        [activation_bits(deployment.input_dtype(module)) for module in MODULES],
    )


def gemm_rate(deployment: Deployment, hardware: Hardware, module: ModuleClass) -> float:
    """Peak operations per second of the GEMMs of a module class; a unit that skips two zeros of four counts
    them.
    """
    dtype = deployment.gemm_dtype_of(module)
    unit = hardware.unit_for(dtype)
    if unit is None:
        raise UnsupportedDtypeError(
            f"{hardware.lack_of(dtype)}, so {module} cannot be computed in it", "deployment"
        )
    skips = 2.0 if deployment.sparse_weights and module in QUANTIZED_MODULES else 1.0
    return hardware.peak_flops_per_s[unit] * skips
