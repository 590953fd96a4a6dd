"""Times GenZ by `prefill_moddeling` and `decode_moddeling`, one of each for a question.

It writes the model of every call to a file and leaves it; what this process left is removed after a round.
"""

from __future__ import annotations

from pathlib import Path

from GenZ import decode_moddeling, prefill_moddeling
from GenZ.Models.get_language_model import DATA_PATH

from benchmarks.peers.rounds import Answer, Question, serve

MODEL, DEVICE, BITS = "meta-llama/llama-2-7b", "A100_80GB_GPU", "bf16"
LEFT = Path(DATA_PATH) / "model"
EVERY = 100
"""A question takes a tenth of a second, so a round asks ten of a thousand."""


def ask(question: Question) -> Answer:
    """Prefill, and the decode step in the middle of the output, without beams."""
    prefill = prefill_moddeling(
        model=MODEL,
        batch_size=question.batch,
        input_tokens=question.input_len,
        system_name=DEVICE,
        bits=BITS,
    )
    decode = decode_moddeling(
        model=MODEL,
        batch_size=question.batch,
        input_tokens=question.input_len,
        output_tokens=question.output_len // 2,
        Bb=1,
        system_name=DEVICE,
        bits=BITS,
    )
    return Answer(prefill["Latency"] / 1e3, decode["Latency"] / 1e3)


def main() -> None:
    """Serve rounds."""
    LEFT.mkdir(parents=True, exist_ok=True)
    others = set(LEFT.iterdir())

    def tidy() -> None:
        for path in set(LEFT.iterdir()) - others:
            path.unlink(missing_ok=True)

    serve("genz-llm", ask, every=EVERY, tidy=tidy)


if __name__ == "__main__":
    main()
