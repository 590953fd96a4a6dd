"""What the files of a Linux system, and torch, tell of a machine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from ridgeline_server.probe.machine import ASSUMED_CACHE_BYTES, gpus, processor, read_cpuinfo, read_size

X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 9B14
flags\t\t: fpu sse2 fma f16c avx2 avx512f avx512_bf16 avx512_vnni hypervisor

processor\t: 1
model name\t: another
"""
ARM = "processor\t: 0\nBogoMIPS\t: 2100.00\nFeatures\t: fp asimd asimddp sve i8mm bf16\n"


def system(root: Path, cpuinfo: str, caches: tuple[str, ...] = (), limit: str = "max") -> Path:
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text(cpuinfo, encoding="utf-8")
    for index, size in enumerate(caches):
        folder = root / f"sys/devices/system/cpu/cpu0/cache/index{index}"
        folder.mkdir(parents=True)
        (folder / "size").write_text(size + "\n", encoding="utf-8")
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/memory.max").write_text(limit + "\n", encoding="utf-8")
    return root


def test_an_x86_system(tmp_path: Path) -> None:
    found = processor(system(tmp_path, X86, ("32K", "1024K", "32M"), "1073741824"))
    assert found.name == "AMD EPYC 9B14"
    assert found.vendor == "AMD"
    assert found.instruction_sets == ("avx2", "avx512_bf16", "avx512_vnni", "avx512f", "f16c", "fma")
    assert found.cache_bytes == 32 * 2**20
    assert found.memory_bytes == 2**30
    assert found.cores >= 1


def test_arm_tells_its_instruction_sets_alone() -> None:
    name, vendor, flags = read_cpuinfo(ARM)
    assert (name, vendor) == ("", "")
    assert {"sve", "i8mm", "bf16"} <= flags


def test_a_system_without_these_files_still_has_a_name_and_a_cache(tmp_path: Path) -> None:
    found = processor(tmp_path)
    assert found.name
    assert found.cache_bytes == ASSUMED_CACHE_BYTES
    assert found.memory_bytes > 2**20


def test_a_control_group_without_a_limit_leaves_the_machines_memory(tmp_path: Path) -> None:
    (tmp_path / "limited").mkdir()
    (tmp_path / "free").mkdir()
    limited = processor(system(tmp_path / "limited", X86, limit="4096"))
    free = processor(system(tmp_path / "free", X86, limit="max"))
    assert limited.memory_bytes == 4096
    assert free.memory_bytes > limited.memory_bytes


@pytest.mark.parametrize(
    ("text", "size"), [("48K", 49152), ("260M\n", 272629760), ("1G", 2**30), ("512", 512), ("", 0), ("?", 0)]
)
def test_sizes_of_caches(text: str, size: int) -> None:
    assert read_size(text) == size


def test_no_torch_and_no_device_are_no_gpus() -> None:
    assert gpus(None) == ()
    assert gpus(SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False))) == ()


def test_gpus_by_their_properties() -> None:
    known = SimpleNamespace(name="H", total_memory=85e9, L2_cache_size=52428800, major=9, minor=0)
    unknown = SimpleNamespace(name="G", total_memory=24e9, major=8, minor=6)
    cuda = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 2, get_device_properties=[known, unknown].__getitem__
    )
    first, second = gpus(SimpleNamespace(cuda=cuda))
    assert (first.index, first.name, first.capability) == (0, "H", "9.0")
    assert (first.cache_bytes, first.memory_bytes) == (52428800, 85_000_000_000)
    assert (second.index, second.cache_bytes) == (1, ASSUMED_CACHE_BYTES)
