"""What the parts of a layer are called in answers."""

from __future__ import annotations

from ridgeline_server.domain.mixers import (
    Attention,
    CompressedAttention,
    Indexer,
    LatentAttention,
    Linear,
    LinearAttention,
    Mixer,
    Recurrence,
    ShortConvolution,
)
from ridgeline_server.domain.mlps import Experts, Mlp


def mixer_words(mixer: Mixer) -> str:
    """Such as `attention, 32 heads of 128, 8 KV heads`."""
    match mixer:
        case Linear():
            return f"one matrix of width {mixer.width}"
        case Attention():
            dims = (
                f"{mixer.head_dim}"
                if mixer.value_head_dim == mixer.head_dim
                else (f"{mixer.head_dim} (values {mixer.value_head_dim})")
            )
            return ", ".join(
                [
                    "attention",
                    f"{mixer.head_count} heads of {dims}",
                    f"{mixer.kv_head_count} KV heads",
                    *([f"window {mixer.window}"] if mixer.window else []),
                    *([f"chunks of {mixer.chunk}"] if mixer.chunk else []),
                    *(["keys and values of an earlier layer"] if mixer.shares_kv else []),
                    *_indexed(mixer.indexer),
                ]
            )
        case LatentAttention():
            return ", ".join(
                [
                    "latent attention",
                    f"{mixer.head_count} heads of {mixer.qk_nope_head_dim} + {mixer.qk_rope_head_dim}",
                    f"latent {mixer.kv_lora_rank}",
                    *([f"window {mixer.window}"] if mixer.window else []),
                    *_indexed(mixer.indexer),
                ]
            )
        case CompressedAttention():
            return ", ".join(
                [
                    "compressed attention",
                    f"{mixer.head_count} heads of {mixer.head_dim}",
                    "one KV head",
                    f"window {mixer.window}",
                    *(
                        [f"one entry for {mixer.compress_ratio} tokens before"]
                        if mixer.compress_ratio
                        else []
                    ),
                    *_indexed(mixer.indexer),
                ]
            )
        case LinearAttention():
            state = f"{mixer.key_head_dim} x {mixer.value_head_dim}"
            return f"{mixer.rule}, {mixer.value_head_count} heads of {state}"
        case ShortConvolution():
            return f"short convolution over {mixer.conv_kernel} tokens, {mixer.channels} channels"
        case Recurrence():
            return f"gated linear recurrence of width {mixer.width}"
        case _:
            heads = f", {mixer.head_count} heads of {mixer.head_dim}" if mixer.version > 1 else ""
            return f"Mamba-{mixer.version}, {mixer.inner_size} channels{heads}, state {mixer.state_size}"


def mlp_words(mlp: Mlp | Experts | Linear) -> str:
    """Such as `8 of 256 experts of width 2048, 1 shared`."""
    if isinstance(mlp, Linear):
        return f"one matrix of width {mlp.width}"
    if isinstance(mlp, Mlp):
        return f"{'gated ' if mlp.gated else ''}MLP of width {mlp.intermediate_size}"
    shared = f", one shared of width {mlp.shared_intermediate_size}" if mlp.shared_intermediate_size else ""
    latent = f" on a latent of {mlp.latent_size}" if mlp.latent_size else ""
    chosen = f"{mlp.experts_per_token} of {mlp.expert_count} experts"
    return f"{chosen} of width {mlp.intermediate_size}{latent}{shared}"


def _indexed(indexer: Indexer | None) -> list[str]:
    return [] if indexer is None else [f"the {indexer.top_k} keys that an indexer picks"]
