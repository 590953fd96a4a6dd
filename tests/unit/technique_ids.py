"""The ids of techniques. They are part of the API: one that was given is never given up or changed."""

TECHNIQUE_IDS = frozenset(
    {
        "attention-data-parallel",
        "chunked-prefill",
        "cuda-graphs",
        "data-parallel",
        "expert-parallel",
        "fewer-devices",
        "flash-attention",
        "fp8-compute",
        "increase-batch",
        "int8-compute",
        "kv-cache-fp8",
        "kv-cache-int4",
        "kv-cache-int8",
        "kv-eviction",
        "kv-offload",
        "nvfp4-compute",
        "pipeline-parallel",
        "prefix-caching",
        "sparsity-2-4",
        "speculation-draft-model",
        "speculation-heads",
        "speculation-mtp",
        "speculation-ngram",
        "tensor-parallel",
        "weight-offload",
        "weight-only-fp8",
        "weight-only-int4",
        "weight-only-int8",
    }
)
