"""What this machine is: processor, cores, instruction sets, memory, and the GPUs that torch sees."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INSTRUCTION_SETS = frozenset(
    {
        *("fma", "f16c", "avx2", "avx512f", "avx512_bf16", "avx512_fp16", "avx512_vnni", "avx_vnni"),
        *("amx_tile", "amx_bf16", "amx_int8", "amx_fp16"),
        *("asimd", "asimdhp", "asimddp", "sve", "sve2", "bf16", "i8mm"),
    }
)
"""Flags of the processor, as Linux names them, that decide how fast matrices are multiplied."""

ASSUMED_CACHE_BYTES = 32 * 2**20
"""The last-level cache where the system does not tell: that of most desktop processors or more."""


@dataclass(frozen=True)
class Processor:
    """The CPU. `cores` are those this process may run on; `cache_bytes` is the largest cache that a core
    sees, which a virtual machine may share with others; `memory_bytes` is less than the machine's where a
    control group allows less.
    """

    name: str
    vendor: str
    cores: int
    instruction_sets: tuple[str, ...]
    cache_bytes: int
    memory_bytes: int


@dataclass(frozen=True)
class Gpu:
    """A GPU that torch sees, by its index. Its bandwidth is not told: it is measured."""

    index: int
    name: str
    memory_bytes: int
    cache_bytes: int
    capability: str


def processor(root: Path = Path("/")) -> Processor:
    """The CPU of this machine, from the Linux files under `root`, and from Python where they are missing.

    Raises RuntimeError where the system does not tell its memory.
    """
    text = _read(root / "proc/cpuinfo")
    name, vendor, flags = read_cpuinfo(text)
    return Processor(
        name=name or platform.processor() or platform.machine(),
        vendor=vendor,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        instruction_sets=tuple(sorted(flags & INSTRUCTION_SETS)),
        cache_bytes=_cache_bytes(root / "sys/devices/system/cpu/cpu0/cache"),
        memory_bytes=_memory_bytes(root / "sys/fs/cgroup/memory.max"),
    )


def gpus(torch: Any) -> tuple[Gpu, ...]:
    """The GPUs that torch can compute on, none for None."""
    if torch is None or not torch.cuda.is_available():
        return ()
    found = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        found.append(
            Gpu(
                index=index,
                name=facts.name,
                memory_bytes=int(facts.total_memory),
                # torch names it so on CUDA and ROCm alike, since 2.2.
                cache_bytes=int(getattr(facts, "L2_cache_size", 0)) or ASSUMED_CACHE_BYTES,
                capability=f"{facts.major}.{facts.minor}",
            )
        )
    return tuple(found)


def read_cpuinfo(text: str) -> tuple[str, str, frozenset[str]]:
    """The model name, the vendor and the flags of the first processor in the text of /proc/cpuinfo, each
    empty where it is not told (64-bit Arm has flags alone).
    """
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    flags = fields.get("flags", fields.get("Features", ""))
    vendors = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}
    vendor = fields.get("vendor_id", "")
    return fields.get("model name", ""), vendors.get(vendor, vendor), frozenset(flags.split())


def read_size(text: str) -> int:
    """The bytes that "512K" or "32M" of the kernel's cache files stand for, 0 for anything else."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text.strip())
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]] if match else 0


def _cache_bytes(folder: Path) -> int:
    sizes = [read_size(_read(path)) for path in folder.glob("index*/size")]
    return max(sizes, default=0) or ASSUMED_CACHE_BYTES


def _memory_bytes(limit: Path) -> int:
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError) as error:
        raise RuntimeError(
            "this system does not tell how much memory it has, so nothing is probed"
        ) from error
    allowed = _read(limit).strip()
    return min(physical, int(allowed)) if allowed.isdigit() else physical


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
