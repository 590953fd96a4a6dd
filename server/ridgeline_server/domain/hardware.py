"""Hardware: one accelerator with its datasheet figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ridgeline_server.domain.dtypes import Dtype

KINDS = ("gpu", "igpu", "tpu", "npu", "cpu", "apple")
"""What a device may be. An `igpu` is a GPU that is integrated with its processor, such as those of Jetson
modules: their memory is one and the same. Apple's chips are such too, and a kind of their own.
"""
SHARING_KINDS = frozenset({"igpu", "cpu", "apple"})
"""Kinds whose memory is the host's own."""


@dataclass(frozen=True)
class Hardware:
    """One accelerator. Rates are dense.

    A dtype of `peak_flops_per_s` has a unit, one of `unsupported_dtypes` is known to have none, and nobody
    knows about the others. `clock_hz` is the clock at which the peaks are stated. `accumulate` tells the
    format of the sum at a dtype's rate, where a source says. `kind` is one of KINDS; empty: nobody said.
    """

    id: str
    memory_bytes: float
    bandwidth_bytes_per_s: float
    peak_flops_per_s: Mapping[Dtype, float]
    usable_memory_bytes: float | None = None
    link_bandwidth_bytes_per_s: float | None = None
    link_domain_size: int | None = None
    clock_hz: float | None = None
    tdp_watts: float | None = None
    price_usd_per_hour: float | None = None
    unsupported_dtypes: frozenset[Dtype] = frozenset()
    accumulate: Mapping[Dtype, Dtype] = field(default_factory=dict)
    display_name: str = field(default="", compare=False)
    vendor: str = field(default="", compare=False)
    kind: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "peak_flops_per_s", MappingProxyType(dict(self.peak_flops_per_s)))
        object.__setattr__(self, "accumulate", MappingProxyType(dict(self.accumulate)))

    def __hash__(self) -> int:
        # Devices key caches that every question asks; equality still compares everything.
        return hash((self.id, self.memory_bytes, self.bandwidth_bytes_per_s))

    @property
    def name(self) -> str:
        """Name for messages."""
        return self.display_name or self.id

    def unit_for(self, dtype: Dtype) -> Dtype | None:
        """The unit that multiplies in a format, by the name of its peak: block formats of four bits run on
        FP4 units; None where no rate is known.
        """
        if dtype in self.peak_flops_per_s:
            return dtype
        if dtype in (Dtype.NVFP4, Dtype.MXFP4) and Dtype.FP4 in self.peak_flops_per_s:
            return Dtype.FP4
        return None

    def lack_of(self, dtype: Dtype, units: Collection[Dtype] = ()) -> str:
        """Why nothing is computed in a format that has no peak, as a clause: the device is known to have no
        unit, or nobody knows. `units` are further formats whose units would do.
        """
        if not self.unsupported_dtypes.isdisjoint((dtype, *units)):
            return f"{self.name} has no {dtype} unit"
        return f"no {dtype} rate of {self.name} is known"

    @property
    def shares_host_memory(self) -> bool:
        """Whether its memory is the host's own, as that of a processor and of an integrated GPU is."""
        return self.kind in SHARING_KINDS

    @property
    def is_whole_machine(self) -> bool:
        """Whether it is a machine of its own: its memory is the host's, and no link to others is known."""
        return self.shares_host_memory and self.link_bandwidth_bytes_per_s is None

    @property
    def allocatable_bytes(self) -> float:
        """Memory a process can allocate: the measured figure, else nominal less what firmware, page tables
        and ECC of current devices keep back.
        """
        if self.usable_memory_bytes is not None:
            return self.usable_memory_bytes
        return self.memory_bytes * DEFAULT_USABLE_SHARE


DEFAULT_USABLE_SHARE = 79.19 / 80.0
"""Share of nominal memory that a process sees: an "80 GB" H100 shows 79.19 GiB of 80 (vLLM start-up logs in
llm-d-planner's accuracy_report.md@875a4fd).
"""
