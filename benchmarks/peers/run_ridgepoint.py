"""Times ridgepoint by `ridgepoint.fit`, which answers both stages at once, as JSON text.

It takes no batch: the answer is that of one request alone. With `--text` the text is left unparsed.
"""

from __future__ import annotations

import json
import sys

import ridgepoint

from benchmarks.peers.rounds import Answer, Question, serve


def _text(question: Question) -> str:
    text: str = ridgepoint.fit(
        "llama-2-7b",
        "a100-80gb",
        dtype="fp16",
        ctx=question.input_len + question.output_len // 2,
        prompt=question.input_len,
        as_json=True,
    )
    return text


def ask(question: Question) -> Answer:
    """The best values of its intervals."""
    speed = json.loads(_text(question))["speed"]
    return Answer(speed["ttft_s"]["best"], 1 / speed["decode_tok_s"]["best"])


def ask_for_text(question: Question) -> Answer:
    """The answer as text, no number taken from it."""
    _text(question)
    return Answer(0, 0)


if __name__ == "__main__":
    serve("ridgepoint", ask_for_text if "--text" in sys.argv else ask)
