"""Fused attention of torch, at prefill and at decode shapes."""

from __future__ import annotations

from collections.abc import Iterator

from ridgeline_server.domain.dtypes import ELEMENT_BITS, Dtype
from ridgeline_server.probe.case import Case, InTurn, Operation
from ridgeline_server.probe.extent import Extent, copies_beyond_cache
from ridgeline_server.probe.torch_backend import TorchBackend


def attention_cases(
    backend: TorchBackend, dtype: Dtype, extent: Extent, cache_bytes: int, memory_bytes: int
) -> Iterator[Case]:
    """Causal prefill of one sequence, and decode of several that read keys from memory; FLOPs of a causal
    prefill are those of the half that the mask leaves, and five per score for the softmax, as in
    docs/model.md. Sizes that `memory_bytes` do not hold are left out.
    """
    element_bytes = ELEMENT_BITS[dtype] / 8
    heads, dim = extent.heads, extent.head_dim
    for tokens in extent.prompt_tokens:
        tensor_bytes = heads * tokens * dim * element_bytes
        if 4 * tensor_bytes > memory_bytes:
            continue
        (queries,) = backend.heads(1, 1, heads, tokens, dim, dtype)
        pairs = tokens * (tokens + 1) / 2
        yield Case(
            operation=Operation.PREFILL_ATTENTION,
            engine=backend.engine,
            dtype=dtype,
            m=tokens,
            n=tokens,
            k=dim,
            bytes=4 * tensor_bytes,
            flops=heads * pairs * (4 * dim + 5),
            call=backend.attention(queries, queries, queries, causal=True),
        )
    for keys in extent.context_tokens:
        for sequences in extent.decode_batches:
            cache = 2 * sequences * heads * keys * dim * element_bytes
            copies = copies_beyond_cache(int(cache), cache_bytes, memory_bytes)
            if copies < 1:
                continue
            (queries,) = backend.heads(1, sequences, heads, 1, dim, dtype)
            pools = backend.heads(2 * copies, sequences, heads, keys, dim, dtype)
            calls = [
                backend.attention(queries, pools[i], pools[i + 1], causal=False)
                for i in range(0, 2 * copies, 2)
            ]
            yield Case(
                operation=Operation.DECODE_ATTENTION,
                engine=backend.engine,
                dtype=dtype,
                m=sequences,
                n=keys,
                k=dim,
                bytes=cache + 2 * sequences * heads * dim * element_bytes,
                flops=sequences * heads * keys * (4.0 * dim + 5),
                call=InTurn(calls),
            )
