"""Measures transformers on torch, eagerly, on a model with random weights.

Executed by the Python of an environment with torch, transformers and, for int8, torchao.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from benchmarks.engines.rounds import EngineCase, Options, measure, options, reply

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.bfloat16}


def load(asked: Options) -> LlamaForCausalLM:
    """The model; int8 quantises the layers' matrices by channel and their inputs by token, as they come."""
    wide = TYPES[asked.weight_format]
    torch.set_default_dtype(wide)
    config = LlamaConfig(**{**asked.shape.config(), "torch_dtype": wide})
    model = LlamaForCausalLM._from_config(config, attn_implementation="sdpa").eval()
    if asked.weight_format == "int8":
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        quantize_(model.model, Int8DynamicActivationInt8WeightConfig())
    return model


def cases(asked: Options, model: LlamaForCausalLM) -> list[EngineCase]:
    """Prefills of one sequence, and decode steps of several whose cache holds random keys."""
    shape = asked.shape

    def prefill(tokens: int) -> None:
        model(input_ids=torch.ones((1, tokens), dtype=torch.long), use_cache=True, logits_to_keep=1)

    def cache(keys: int, batch: int) -> DynamicCache:
        filled = DynamicCache(config=model.config)
        for layer in range(shape.layers):
            both = torch.randn(2, batch, shape.kv_heads, keys - 1, shape.head_dim)
            filled.update(both[0].clone(), both[1].clone(), layer)
        return filled

    def step(past: DynamicCache, batch: int) -> None:
        model(input_ids=torch.ones((batch, 1), dtype=torch.long), past_key_values=past, use_cache=True)

    found = [EngineCase("prefill", tokens, 1, partial(prefill, tokens)) for tokens in asked.prompts]
    for keys in asked.contexts:
        for batch in asked.batches if keys <= 256 else asked.batches[:4:3]:
            past = cache(keys, batch)
            tidy = partial(past.crop, -1)
            found.append(EngineCase("decode", keys, batch, partial(step, past, batch), tidy=tidy))
    return found


def main() -> None:
    """Load, measure, reply."""
    asked = options()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    with torch.inference_mode():
        measured = measure(cases(asked, load(asked)), asked.threads)
    parts = ["transformers", "torch", *(["torchao"] if asked.weight_format == "int8" else [])]
    reply("transformers", ", ".join(f"{part} {version(part)}" for part in parts), measured)


if __name__ == "__main__":
    main()
