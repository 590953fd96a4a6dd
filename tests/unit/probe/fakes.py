"""A clock that stands still unless told otherwise, and a machine that is as fast as its constants say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ridgeline_server.domain.dtypes import ELEMENT_BITS, Dtype
from ridgeline_server.probe.case import Call


@dataclass
class FakeClock:
    """Time passes when it is spent. `noise` gives what else happens to a spell of work, by its number: extra
    wall seconds, and extra seconds of waiting for a core.
    """

    noise: Callable[[int], tuple[float, float]] = lambda spell: (0.0, 0.0)
    wall: float = 0.0
    cpu: float = 0.0
    queued: float = 0.0
    waits: list[float] = field(default_factory=list)
    spells: int = 0

    def wall_s(self) -> float:
        return self.wall

    def cpu_s(self) -> float:
        return self.cpu

    def queued_s(self) -> float:
        return self.queued

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.wall += seconds

    def work(self, seconds: float, cores: float = 1.0) -> None:
        """Work that keeps so many cores busy for so long."""
        extra, queued = self.noise(self.spells)
        self.spells += 1
        self.wall += seconds + extra
        self.cpu += seconds * cores
        self.queued += queued


@dataclass(frozen=True)
class Block:
    """Memory of a synthetic machine: rows x columns of some bytes each."""

    rows: int
    columns: int
    element_bytes: float

    @property
    def bytes(self) -> float:
        return self.rows * self.columns * self.element_bytes


@dataclass
class SyntheticMachine:
    """A backend that takes launch + ((F/P)^p + (B/BW)^p)^(1/p) for everything, told by its clock.

    `most_bytes` is the most memory that one group of operands took.
    """

    clock: FakeClock
    peaks: Mapping[Dtype, float]
    bandwidth: float
    launch_s: float
    exponent: float = 2.0
    engine: str = "synthetic"
    version: str = "1"
    errors: tuple[type[Exception], ...] = (ArithmeticError,)
    lacks: Dtype | None = None
    most_bytes: float = 0.0

    def __post_init__(self) -> None:
        self.product_dtypes = tuple(self.peaks)
        self.vector_dtypes: tuple[Dtype, ...] = (Dtype.FP32,)

    def _blocks(self, copies: int, rows: int, columns: int, dtype: Dtype) -> Sequence[Block]:
        block = Block(rows, columns, ELEMENT_BITS[dtype] / 8)
        self.most_bytes = max(self.most_bytes, copies * block.bytes)
        return [block] * copies

    def weights(self, copies: int, rows: int, columns: int, dtype: Dtype) -> Sequence[Block]:
        return self._blocks(copies, rows, columns, dtype)

    def inputs(self, rows: int, columns: int, dtype: Dtype) -> Block:
        return self._blocks(1, rows, columns, dtype)[0]

    def vectors(self, copies: int, elements: int, dtype: Dtype) -> Sequence[Block]:
        return self._blocks(copies, 1, elements, dtype)

    def products(self, inputs: Block, weights: Sequence[Block], dtype: Dtype) -> Sequence[Call]:
        m, k, n = inputs.rows, inputs.columns, weights[0].columns
        output_bytes = {Dtype.INT8: 4}.get(dtype, inputs.element_bytes)
        moved = weights[0].bytes + inputs.bytes + m * n * output_bytes
        return [self._call(2.0 * m * k * n, moved, dtype)] * len(weights)

    def sum(self, left: Block, right: Block, out: Block) -> Call:
        return self._call(float(left.columns), left.bytes + right.bytes + out.bytes, Dtype.FP32)

    def read(self, vector: Block) -> Call:
        return self._call(0.0, vector.bytes, Dtype.FP32)

    def copy(self, source: Block, target: Block) -> Call:
        return self._call(0.0, source.bytes + target.bytes, Dtype.FP32)

    def _call(self, flops: float, moved: float, dtype: Dtype) -> Call:
        def call() -> None:
            if dtype is self.lacks:
                raise ArithmeticError(f"no {dtype} here\nand more")
            p = self.exponent
            terms = (flops / self.peaks[dtype]) ** p + (moved / self.bandwidth) ** p
            self.clock.work(self.launch_s + terms ** (1 / p))

        return call
