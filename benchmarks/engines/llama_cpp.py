"""llama.cpp's own interface (llama.h), through the library that PyPI's xllamacpp carries.

llama.h passes its parameters as structs by value whose fields move between releases. They are taken here as
opaque memory with the library's defaults; the few fields that are set are found by the defaults around them,
and the library is asked afterwards whether it took them.
"""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

import xllamacpp

CONTEXT_DEFAULTS = (512, 2048, 512, 1)
"""n_ctx, n_batch, n_ubatch and n_seq_max of llama_context_default_params: the first four fields."""
UNSET = (-1, -1, -1, -1)
"""Scaling of rotary embeddings, pooling, attention and flash attention, yet to be chosen."""
F16, Q8_0 = 1, 8
"""Numbers of ggml's types; both halves of the cache are F16 by default."""


class Parameters(ctypes.Structure):
    """Room for any of llama.h's parameter structs: more than the callee reads does no harm on a stack."""

    _fields_ = [("words", ctypes.c_int32 * 128)]


class Batch(ctypes.Structure):
    """llama_batch."""

    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


def _library() -> ctypes.CDLL:
    (path,) = Path(xllamacpp.__file__).parent.glob("xllamacpp*.so")
    library = ctypes.CDLL(str(path))
    pointer = ctypes.c_void_p
    for name, result, arguments in (
        ("llama_model_default_params", Parameters, []),
        ("llama_context_default_params", Parameters, []),
        ("llama_model_load_from_file", pointer, [ctypes.c_char_p, Parameters]),
        ("llama_init_from_model", pointer, [pointer, Parameters]),
        ("llama_get_memory", pointer, [pointer]),
        ("llama_memory_clear", None, [pointer, ctypes.c_bool]),
        ("llama_memory_seq_rm", ctypes.c_bool, [pointer, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]),
        ("llama_memory_seq_cp", None, [pointer, *[ctypes.c_int32] * 4]),
        ("llama_batch_init", Batch, [ctypes.c_int32] * 3),
        ("llama_batch_free", None, [Batch]),
        ("llama_decode", ctypes.c_int32, [pointer, Batch]),
        ("llama_synchronize", None, [pointer]),
        ("llama_n_ctx", ctypes.c_uint32, [pointer]),
        ("llama_n_seq_max", ctypes.c_uint32, [pointer]),
        ("llama_n_threads", ctypes.c_int32, [pointer]),
        ("llama_n_threads_batch", ctypes.c_int32, [pointer]),
        ("llama_free", None, [pointer]),
        ("llama_model_free", None, [pointer]),
        ("llama_log_set", None, [pointer, pointer]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


LIBRARY = _library()
QUIET = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
LIBRARY.llama_log_set(ctypes.cast(QUIET, ctypes.c_void_p), None)


class LlamaModel:
    """A model in memory."""

    def __init__(self, path: Path) -> None:
        self.handle = LIBRARY.llama_model_load_from_file(
            str(path).encode(), LIBRARY.llama_model_default_params()
        )
        if not self.handle:
            raise RuntimeError(f"llama.cpp does not load {path.name}")


class LlamaContext:
    """A context of `sequences` sequences of `tokens` tokens each, with a cache of ggml's `cache_type`."""

    def __init__(self, model: LlamaModel, tokens: int, sequences: int, threads: int, cache_type: int) -> None:
        self.sequences = sequences
        parameters = LIBRARY.llama_context_default_params()
        words = parameters.words
        found = tuple(words)
        if found[:4] != CONTEXT_DEFAULTS:
            raise RuntimeError("llama_context_params starts with other fields than it did")
        unset = _place(found, UNSET)
        # Threads of single steps and of batches stand right before the kind of the context and these.
        threads_at = unset - 3
        types_at = _place(found[unset + 4 :], (F16, F16)) + unset + 4
        words[0], words[3] = tokens * sequences, sequences
        words[threads_at] = words[threads_at + 1] = threads
        words[types_at] = words[types_at + 1] = cache_type
        if cache_type != F16:
            # A quantised cache of values needs flash attention; else llama.cpp chooses.
            words[unset + 3] = 1
        self.handle = LIBRARY.llama_init_from_model(model.handle, parameters)
        if not self.handle:
            raise RuntimeError("llama.cpp makes no context of these parameters")
        taken = (
            LIBRARY.llama_n_seq_max(self.handle),
            LIBRARY.llama_n_threads(self.handle),
            LIBRARY.llama_n_threads_batch(self.handle),
        )
        if taken != (sequences, threads, threads) or LIBRARY.llama_n_ctx(self.handle) < tokens * sequences:
            raise RuntimeError(f"llama.cpp took other parameters than it was given: {taken}")
        self._memory = LIBRARY.llama_get_memory(self.handle)
        self._batch = LIBRARY.llama_batch_init(max(tokens, sequences), 0, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        LIBRARY.llama_batch_free(self._batch)
        LIBRARY.llama_free(self.handle)

    def clear(self) -> None:
        """Forget all sequences."""
        LIBRARY.llama_memory_clear(self._memory, 0)

    def prefill(self, tokens: int) -> None:
        """Process a prompt of the first sequence, and the logits of its last token."""
        self._decode([(index % 1000 + 1, index, 0, index == tokens - 1) for index in range(tokens)])

    def share_first(self, tokens: int) -> None:
        """Give every other sequence a copy of the first one's cache."""
        for sequence in range(1, self.sequences):
            LIBRARY.llama_memory_seq_cp(self._memory, 0, sequence, -1, -1)
        # The copies are made when they are first used.
        self.step(tokens + 1)
        self.forget_step(tokens + 1)

    def step(self, keys: int) -> None:
        """One token of every sequence, which then holds `keys`."""
        self._decode([(7, keys - 1, sequence, True) for sequence in range(self.sequences)])

    def forget_step(self, keys: int) -> None:
        """Take back what `step` added."""
        for sequence in range(self.sequences):
            LIBRARY.llama_memory_seq_rm(self._memory, sequence, keys - 1, -1)

    def _decode(self, tokens: list[tuple[int, int, int, bool]]) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, (token, position, sequence, wanted) in enumerate(tokens):
            batch.token[index], batch.pos[index] = token, position
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, sequence
            batch.logits[index] = wanted
        status = LIBRARY.llama_decode(self.handle, batch)
        LIBRARY.llama_synchronize(self.handle)
        if status:
            raise RuntimeError(f"llama_decode answered {status}")


def _place(words: tuple[int, ...], pattern: tuple[int, ...]) -> int:
    for start in range(len(words) - len(pattern)):
        if words[start : start + len(pattern)] == pattern:
            return start
    raise RuntimeError(f"llama.cpp's parameters have no {struct.pack('<4i', *pattern[:4]).hex()} any more")
