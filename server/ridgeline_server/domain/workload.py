"""Workload: the load that is put on a deployment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_BATCH = 1_000_000
MAX_LEN = 100_000_000


class Load(StrEnum):
    """How requests arrive."""

    STATIC_BATCH = "static_batch"
    """Equal requests start together and run in step."""
    CLOSED_LOOP = "closed_loop"
    """So many requests are in flight at any time: one that ends is replaced at once."""
    OPEN_LOOP = "open_loop"
    """Requests arrive at random, so many a second on the mean, whatever becomes of those before."""

    @property
    def is_loop(self) -> bool:
        """Whether requests come and go: each prompt by itself, while others run."""
        return self is not Load.STATIC_BATCH


@dataclass(frozen=True)
class Slo:
    """Latency limits, compared with means. None: no limit."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None


@dataclass(frozen=True)
class Workload:
    """Equal requests: `batch` of them that start together, or that many in flight at any time; in an open
    loop `request_rate` of them arrive each second, and `batch` means nothing.

    `input_len` and `output_len` are tokens per request. `decode_keys` names the decode step that an analysis
    shows by the keys that it reads per sequence; None means `input_len`.
    """

    batch: int
    input_len: int
    output_len: int
    decode_keys: int | None = None
    slo: Slo = Slo()
    load: Load = Load.STATIC_BATCH
    request_rate: float | None = None

    def at_batch(self, batch: int) -> Workload:
        """The same requests, so many at a time."""
        return Workload(
            batch, self.input_len, self.output_len, self.decode_keys, self.slo, self.load, self.request_rate
        )

    @property
    def total_len(self) -> int:
        """Tokens of one request at its end."""
        return self.input_len + self.output_len

    @property
    def shown_decode_keys(self) -> int:
        """Keys that the shown decode step reads per sequence."""
        return self.input_len if self.decode_keys is None else self.decode_keys
