#!/bin/sh
# What the rollout starts, and what gate.py judges.
exec vllm serve meta-llama/Llama-3.1-8B-Instruct \
    --max-num-seqs 16 --gpu-memory-utilization 0.9
