"""Times llm-analysis by `LLMAnalysis.inference`, the object made once for the model and the device."""

from __future__ import annotations

import logging

from llm_analysis.analysis import LLMAnalysis
from llm_analysis.config import get_dtype_config_by_name, get_gpu_config_by_name, get_model_config_by_name
from llm_analysis.logger import logger

from benchmarks.peers.rounds import Answer, Question, serve


def main() -> None:
    """Serve rounds."""
    logger.setLevel(logging.ERROR)
    analysis = LLMAnalysis(
        get_model_config_by_name("NousResearch_Llama-2-7b-hf"),
        get_gpu_config_by_name("a100-sxm-80gb"),
        get_dtype_config_by_name("w16a16e16"),
    )

    def ask(question: Question) -> Answer:
        summary = analysis.inference(
            batch_size_per_gpu=question.batch,
            seq_len=question.input_len,
            num_tokens_to_generate=question.output_len,
        )
        return Answer(summary["prefill_latency"], summary["decode_latency"])

    serve("llm-analysis", ask)


if __name__ == "__main__":
    main()
