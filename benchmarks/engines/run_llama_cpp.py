"""Measures llama.cpp, from PyPI's xllamacpp, on a GGUF file that is written for the purpose.

Executed by the Python of an environment with xllamacpp, gguf and numpy.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks.engines import gguf_files
from benchmarks.engines.llama_cpp import F16, Q8_0, LlamaContext, LlamaModel
from benchmarks.engines.rounds import EngineCase, Options, measure, options, reply

CACHE_TYPES = {"f16": F16, "q8_0": Q8_0}


def cases(asked: Options, model: LlamaModel, open_contexts: ExitStack) -> list[EngineCase]:
    """Prefills of one sequence, and decode steps of several that read as many keys."""

    def context(tokens: int, sequences: int) -> LlamaContext:
        made = LlamaContext(model, tokens + 8, sequences, asked.threads, CACHE_TYPES[asked.cache_format])
        return open_contexts.enter_context(made)

    found: list[EngineCase] = []
    if asked.prompts:
        single = context(max(asked.prompts), 1)
        found += [
            EngineCase("prefill", tokens, 1, partial(single.prefill, tokens), prepare=single.clear)
            for tokens in asked.prompts
        ]
    for keys in asked.contexts:
        # The longest context is for a few batches: filling it takes longer than measuring it.
        for batch in asked.batches if keys <= 256 else asked.batches[:4:3]:
            several = context(keys, batch)
            several.prefill(keys - 1)
            several.share_first(keys - 1)
            found.append(
                EngineCase(
                    "decode",
                    keys,
                    batch,
                    partial(several.step, keys),
                    tidy=partial(several.forget_step, keys),
                )
            )
    return found


def main() -> None:
    """Write the model, load it, measure, reply."""
    asked = options()
    with tempfile.TemporaryDirectory(prefix="ridgeline-engines-") as folder, ExitStack() as open_contexts:
        path = Path(folder) / "model.gguf"
        gguf_files.write(asked.shape, asked.weight_format, path)
        measured = measure(cases(asked, LlamaModel(path), open_contexts), asked.threads)
    reply("llama.cpp", f"xllamacpp {version('xllamacpp')}", measured)


if __name__ == "__main__":
    main()
