"""How much a probe measures: shapes, sizes, memory and time."""

from __future__ import annotations

from dataclasses import dataclass

MEMORY_SHARE = 1 / 8
"""The most of a device's memory that a probe allocates at any time."""

BEYOND_CACHE = 1.25
"""Operands that take turns fill the last-level cache this many times, so that each comes from memory."""


MOST_COPIES = 1024
"""Operands that are read in turn at most: small ones so stay in the cache, but their time is that of
the launch.
"""


@dataclass(frozen=True)
class Extent:
    """The shapes of a probe. Matrices of weights have `weight_sides` rows and columns and are multiplied with
    each of `rows` rows, those of `tiny_side` with one, which tells what a product costs that is too small to
    take time; `vector_elements` are the lengths of element-wise operations; attention has
    `heads` of `head_dim` and lengths `prompt_tokens` (prefill) and `context_tokens` (decode, of
    `decode_batches` sequences). `deadline_s` bounds the whole probe: what does not fit is skipped and said.
    """

    tiny_side: int
    weight_sides: tuple[int, ...]
    rows: tuple[int, ...]
    vector_elements: tuple[int, ...]
    heads: int
    head_dim: int
    prompt_tokens: tuple[int, ...]
    context_tokens: tuple[int, ...]
    decode_batches: tuple[int, ...]
    deadline_s: float


_POWERS = tuple(2**power for power in range(14))

CPU_QUICK = Extent(
    tiny_side=64,
    weight_sides=(512, 2048),
    rows=_POWERS[:10],
    vector_elements=(2**8, 2**14, 2**18, 2**22),
    heads=16,
    head_dim=64,
    prompt_tokens=(64, 128, 256, 512),
    context_tokens=(512, 4096),
    decode_batches=(1, 8),
    deadline_s=55.0,
)
CPU_THOROUGH = Extent(
    tiny_side=64,
    weight_sides=(512, 1024, 2048, 4096),
    rows=_POWERS[:10],
    vector_elements=(2**8, 2**12, 2**14, 2**16, 2**18, 2**20, 2**22, 2**24),
    heads=32,
    head_dim=128,
    prompt_tokens=(128, 512, 1024, 2048),
    context_tokens=(128, 512, 2048, 8192),
    decode_batches=(1, 8, 32),
    deadline_s=600.0,
)
GPU_QUICK = Extent(
    tiny_side=256,
    weight_sides=(2048, 8192),
    rows=_POWERS[:14],
    vector_elements=(2**10, 2**18, 2**22, 2**26),
    heads=32,
    head_dim=128,
    prompt_tokens=(512, 1024, 2048, 8192),
    context_tokens=(1024, 8192),
    decode_batches=(1, 16, 64),
    deadline_s=55.0,
)
GPU_THOROUGH = Extent(
    tiny_side=256,
    weight_sides=(1024, 2048, 4096, 8192),
    rows=_POWERS[:14],
    vector_elements=(2**10, 2**14, 2**18, 2**20, 2**22, 2**24, 2**26, 2**28),
    heads=32,
    head_dim=128,
    prompt_tokens=(128, 512, 1024, 2048, 4096, 8192),
    context_tokens=(128, 1024, 4096, 16384),
    decode_batches=(1, 8, 16, 32, 64, 128),
    deadline_s=600.0,
)


def extent_for(on_gpu: bool, thorough: bool) -> Extent:
    """The shapes for a kind of device."""
    if on_gpu:
        return GPU_THOROUGH if thorough else GPU_QUICK
    return CPU_THOROUGH if thorough else CPU_QUICK


def copies_beyond_cache(operand_bytes: int, cache_bytes: int, memory_bytes: int) -> int:
    """How many operands of a size to read in turn: enough that none is still in the cache when its turn comes
    again, and no more than the memory of the probe holds; 0 where not even one fits.
    """
    enough = int(cache_bytes * BEYOND_CACHE / operand_bytes) + 1
    return min(enough, MOST_COPIES, int(memory_bytes // operand_bytes))
