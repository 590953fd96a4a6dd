"""The models that engines are measured with: shapes with random weights, and their config.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Shape:
    """A Llama-shaped model by its Hugging Face id, or one of ours under `ridgeline/`."""

    model_id: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool

    @property
    def name(self) -> str:
        """The id without its owner, in lower case: the folder of its files."""
        return self.model_id.partition("/")[2].lower()

    @property
    def head_dim(self) -> int:
        """Elements of a head."""
        return self.hidden // self.heads

    def config(self) -> dict[str, Any]:
        """What its config.json holds."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-05,
            "rope_theta": 10000.0,
            "tie_word_embeddings": self.tied,
            "torch_dtype": "bfloat16",
        }

    def write_config(self, folder: Path) -> Path:
        """Write `folder`/NAME/config.json and return its path."""
        path = folder / self.name / "config.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.config(), indent=2) + "\n", encoding="utf-8")
        return path


SHAPES = (
    Shape("ridgeline/Llama-30M-shape", 384, 1024, 8, 6, 3, 32000, tied=True),
    Shape("HuggingFaceTB/SmolLM2-135M-Instruct", 576, 1536, 30, 9, 3, 49152, tied=True),
    Shape("HuggingFaceTB/SmolLM2-360M-Instruct", 960, 2560, 32, 15, 5, 49152, tied=True),
    Shape("TinyLlama/TinyLlama-1.1B-Chat-v1.0", 2048, 5632, 22, 32, 4, 32000, tied=False),
)
BY_NAME = {shape.name: shape for shape in SHAPES}
