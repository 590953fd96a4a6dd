"""Writes GGUF files of Llama-shaped models with random weights."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from benchmarks.engines.shapes import Shape

FORMATS = {
    "f16": gguf.GGMLQuantizationType.F16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
}


def write(shape: Shape, weight_format: str, path: Path) -> None:
    """Write a model whose matrices, embedding and head included, all have one format; no vocabulary.

    Matrices of one shape hold the same random numbers: what an engine does does not depend on them.
    """
    kind = FORMATS[weight_format]
    random = np.random.default_rng(0)
    made: dict[tuple[int, int], np.ndarray] = {}

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.intermediate)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_tokenizer_model("no_vocab")

    def matrix(name: str, rows: int, columns: int) -> None:
        if (rows, columns) not in made:
            plain = (random.standard_normal((rows, columns), np.float32) * 0.02).astype(np.float32)
            made[rows, columns] = gguf.quants.quantize(plain, kind)
        writer.add_tensor(name, made[rows, columns], raw_dtype=kind)

    def vector(name: str) -> None:
        writer.add_tensor(name, np.ones(shape.hidden, np.float32))

    kv_width = shape.kv_heads * shape.head_dim
    matrix("token_embd.weight", shape.vocabulary, shape.hidden)
    vector("output_norm.weight")
    if not shape.tied:
        matrix("output.weight", shape.vocabulary, shape.hidden)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        vector(f"{block}.attn_norm.weight")
        matrix(f"{block}.attn_q.weight", shape.hidden, shape.hidden)
        matrix(f"{block}.attn_k.weight", kv_width, shape.hidden)
        matrix(f"{block}.attn_v.weight", kv_width, shape.hidden)
        matrix(f"{block}.attn_output.weight", shape.hidden, shape.hidden)
        vector(f"{block}.ffn_norm.weight")
        matrix(f"{block}.ffn_gate.weight", shape.intermediate, shape.hidden)
        matrix(f"{block}.ffn_up.weight", shape.intermediate, shape.hidden)
        matrix(f"{block}.ffn_down.weight", shape.hidden, shape.intermediate)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
