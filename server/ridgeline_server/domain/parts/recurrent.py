"""What mixers with a state have in common: their convolution, their expansion, the format of their memory."""

from __future__ import annotations

from collections.abc import Iterator

from ridgeline_server.domain.config.fields import shown
from ridgeline_server.domain.config.sizes import MAX_MLP_WIDTH
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.mixers import State
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor, vector

MAX_KERNEL = 1 << 10
KERNEL, EXPANSION = 4, 2
"""What transformers takes where the key is absent."""

MEMORY_DTYPE = ("mamba_ssm_cache_dtype", "mamba_ssm_dtype")
_DTYPES = {"float32": Dtype.FP32, "bfloat16": Dtype.BF16, "float16": Dtype.FP16}


def kernel(reading: Reading, keys: tuple[str, ...], default: int = KERNEL) -> int:
    """The tokens that the convolution sees, the current one included."""
    found = reading.fields.integer(keys, 1, MAX_KERNEL)
    if found is None:
        reading.assume(f"{keys[0]} is absent: {default}, transformers' default for this model_type")
    return found or default


def expanded(reading: Reading, keys: tuple[str, ...]) -> int:
    """The channels: the hidden size times the expansion, which need not be whole."""
    found = reading.fields.number(keys, 1 / 64, 64)
    if found is None:
        reading.assume(f"{keys[0]} is absent: {EXPANSION}, transformers' default for this model_type")
    inner = int(reading.hidden_size * (found or EXPANSION))
    return min(max(inner, 1), MAX_MLP_WIDTH)


def flag(reading: Reading, key: str, *, default: bool) -> bool:
    """A truth value of the config, else the default of transformers' class."""
    found = reading.fields.boolean(key)
    return default if found is None else found


def memory_dtype(reading: Reading) -> Dtype | None:
    """The format of the recurrent state where the config says one; None: the model's wide format, which is
    what vLLM takes by default (`MambaStateDtypeCalculator`, mamba_ssm_cache_dtype "auto").
    """
    for key in MEMORY_DTYPE:
        name = reading.fields.value(key)
        if name is None or name == "auto":
            continue
        if not isinstance(name, str) or name not in _DTYPES:
            reading.fields.refuse(key, f"is {shown(name)}; give {', '.join(_DTYPES)} or auto")
            return None
        return _DTYPES[name]
    return None


def convolution(operator: str, channels: int, width: int, *, bias: bool) -> Iterator[WeightTensor]:
    """A causal convolution of each channel by itself, and its bias."""
    yield WeightTensor(operator, (channels, width), TensorKind.VECTOR, ModuleClass.MIXER)
    if bias:
        yield vector(operator, channels, ModuleClass.MIXER)


def convolution_state(channels: int, width: int) -> State:
    """The tokens that the convolution still needs: all that it sees but the current one."""
    return State("convolution", channels * (width - 1))
