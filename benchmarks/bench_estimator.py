"""Times the estimator: one analysis, 1,000 points, 10 million points, against a plain loop and other tools.

A point is one load: its prefill and its mean decode step, all operators of each. All are timed in one run, in
interleaved rounds; figures are medians of process CPU time, ratios medians of the ratios within a round. A
round in which wall and CPU time differ by more than a tenth was disturbed and is left out.

    python benchmarks/bench_estimator.py [--points N] [--rounds N] [--peers FOLDER]

With --peers, other tools are installed from PyPI, each into a virtual environment of its own under FOLDER,
and asked the same by their own Python interfaces.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

# One core for all; numpy's libraries read these as they are loaded.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import CostBasis, Deployment, DeploymentRequest
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import ProfileSet
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.resolve import resolve_deployment
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.analysis import analyze
from ridgeline_server.roofline.evaluation import Evaluation, evaluate
from ridgeline_server.roofline.results import Analysis
from ridgeline_server.roofline.scenario import Scenario, Variant
from ridgeline_server.roofline.steps import Loads
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.startup import open_embedded_catalog

Array = NDArray[np.float64]
MODEL, DEVICE = "llama-2-7b", "a100-sxm-80gb"
OUTPUT_LEN = 64
GRID = [(batch, length) for batch in (1, *range(10, 191, 10)) for length in range(10, 501, 10)]
"""Batch and input tokens of the 1,000 points. All of them fit on the device: some tools refuse others."""
EXAMPLE = (10, 500)
"""The point whose figures are shown, to see that all tools were asked the same."""
MANY = 10_000_000
CHUNK = 1_000
RSS_LIMIT_MB = 500
DISTURBED = 0.1


@dataclass(frozen=True)
class Setup:
    """What every question is about."""

    model: Model
    hardware: Hardware
    deployment: Deployment
    profiles: ProfileSet


def one_analysis(setup: Setup, number: int) -> Analysis:
    """One full analysis, of another load for every number: both stages, all operators, expected basis."""
    workload = Workload(1 + number % 8, 1 + number % 3900, 128)
    return analyze(
        setup.model, setup.hardware, workload, setup.deployment, setup.profiles, CostBasis.EXPECTED
    )


def thousand_points(setup: Setup, basis: CostBasis) -> Evaluation:
    """The 1,000 points of GRID with all operators, their bounds too."""
    batch, length = np.array(GRID, dtype=np.float64).T[:, None]
    found = _points(setup, batch, length, basis)
    for cost in (found.prefill, found.decode):
        assert cost.bound.shape[-1] == len(GRID)
    return found


def chunk_of_points(setup: Setup, first: int, count: int) -> float:
    """Points first to first + count of millions of distinct ones, on the expected basis.

    The highest rate of output is all that is kept.
    """
    numbers = np.arange(first, first + count, dtype=np.float64)[None]
    batch: Array = 1.0 + numbers % 500
    length: Array = 1.0 + numbers // 500
    times = _points(setup, batch, length, CostBasis.EXPECTED).times
    seconds = times.prefill_s + (OUTPUT_LEN - 1) * times.decode_s
    return float((batch * OUTPUT_LEN / seconds).max())


def _points(setup: Setup, batch: Array, length: Array, basis: CostBasis) -> Evaluation:
    profiles = setup.profiles if basis is CostBasis.EXPECTED else None
    scenario = Scenario(setup.hardware, setup.deployment, profiles)
    loads = Loads(batch, length, np.full_like(batch, OUTPUT_LEN))
    return evaluate(setup.model, [scenario], loads, (Variant.BEST,))


# The same formulas in plain Python, for Llama-2-7B in a 16-bit format with fused attention.

LAYERS, HIDDEN, HEADS, HEAD_DIM, INTERMEDIATE, VOCAB = 32, 4096, 32, 128, 11008, 32000
ELEMENT_BYTES = 2


class PlainRow(NamedTuple):
    """One operator of one step."""

    name: str
    runs: int
    flops: float
    bytes: float
    seconds: float
    bound: str


class PlainStep(NamedTuple):
    """One step: its time and its operators."""

    seconds: float
    rows: list[PlainRow]


def _gemm(tokens: float, out: int, width: int) -> tuple[float, float]:
    """FLOPs and elements moved of a product with a matrix: weights, input and output."""
    return 2 * tokens * out * width, out * width + tokens * (width + out)


def plain_step(
    batch: float, query_len: float, first_keys: float, span: float, peak: float, bandwidth: float
) -> PlainStep:
    """The mean of the steps at first_keys to first_keys + span keys, on the datasheet roofline."""
    tokens = batch * query_len
    keys = first_keys + span / 2
    pairs = batch * (query_len * (keys - query_len) + query_len * (query_len + 1) / 2)
    norm = 7 * tokens * HIDDEN, 2 * tokens * HIDDEN
    add = tokens * HIDDEN, 3 * tokens * HIDDEN
    square = _gemm(tokens, HIDDEN, HIDDEN)
    widening = _gemm(tokens, INTERMEDIATE, HIDDEN)
    operators: tuple[tuple[str, int, tuple[float, float]], ...] = (
        ("embedding", 1, (0, 2 * tokens * HIDDEN)),
        ("attn_norm", LAYERS, norm),
        ("q_proj", LAYERS, square),
        ("k_proj", LAYERS, square),
        ("v_proj", LAYERS, square),
        ("rope", LAYERS, (3 * tokens * 2 * HEADS * HEAD_DIM, tokens * HEAD_DIM)),
        (
            "attention",
            LAYERS,
            (pairs * (4 * HIDDEN + 5 * HEADS), 2 * tokens * HIDDEN + 2 * batch * keys * HIDDEN),
        ),
        ("o_proj", LAYERS, square),
        ("attn_add", LAYERS, add),
        ("mlp_norm", LAYERS, norm),
        ("gate_proj", LAYERS, widening),
        ("up_proj", LAYERS, widening),
        ("mlp_act", LAYERS, (6 * tokens * INTERMEDIATE, 3 * tokens * INTERMEDIATE)),
        ("down_proj", LAYERS, _gemm(tokens, HIDDEN, INTERMEDIATE)),
        ("mlp_add", LAYERS, add),
        ("final_norm", 1, norm),
        ("lm_head", 1, _gemm(batch, VOCAB, HIDDEN)),
    )
    rows = []
    step = 0.0
    for name, runs, (flops, elements) in operators:
        moved = elements * ELEMENT_BYTES
        compute, memory = flops / peak, moved / bandwidth
        seconds = max(compute, memory)
        rows.append(PlainRow(name, runs, flops, moved, seconds, "compute" if compute > memory else "memory"))
        step += runs * seconds
    return PlainStep(step, rows)


def plain_points(setup: Setup) -> list[tuple[PlainStep, PlainStep]]:
    """Prefill and mean decode step of the 1,000 points."""
    peak = setup.hardware.peak_flops_per_s[Dtype.FP16]
    bandwidth = setup.hardware.bandwidth_bytes_per_s
    return [
        (
            plain_step(batch, length, length, 0, peak, bandwidth),
            plain_step(batch, 1, length + 1, OUTPUT_LEN - 2, peak, bandwidth),
        )
        for batch, length in GRID
    ]


def check_same_work(setup: Setup) -> float:
    """The largest relative difference between the plain loop's step times and the estimator's."""
    ours, plain = thousand_points(setup, CostBasis.IDEAL).times, plain_points(setup)
    worst = 0.0
    for stage, times in enumerate((ours.prefill_s[0], ours.decode_s[0])):
        theirs = np.array([point[stage].seconds for point in plain])
        worst = max(worst, float((np.abs(times - theirs) / theirs).max()))
    if worst > 1e-9:
        raise AssertionError(f"the plain loop and the estimator differ by {worst:.1e}: not the same work")
    return worst


class Timing(NamedTuple):
    """Wall and CPU seconds of one unit of work: an analysis, or 1,000 points."""

    wall_s: float
    cpu_s: float

    @property
    def trusted(self) -> bool:
        """Whether nothing else took the core for long."""
        return abs(self.wall_s - self.cpu_s) <= DISTURBED * max(self.wall_s, self.cpu_s)


@dataclass(frozen=True)
class Contestant:
    """What is timed, round by round; `rounds` has None where one was disturbed."""

    name: str
    what: str
    goal: str
    one_round: Callable[[], Timing]
    rounds: list[Timing | None] = field(default_factory=list)

    @property
    def kept(self) -> list[Timing]:
        """The rounds that count."""
        return [timing for timing in self.rounds if timing is not None]

    @property
    def cpu_ms(self) -> float:
        """Median CPU time of one unit, milliseconds; not a number without a round that counts."""
        return statistics.median(t.cpu_s for t in self.kept) * 1e3 if self.kept else float("nan")

    def ratio_to(self, other: Contestant) -> float:
        """Median over the rounds of this one's time by the other's."""
        ratios = [
            mine.cpu_s / theirs.cpu_s
            for mine, theirs in zip(self.rounds, other.rounds, strict=True)
            if mine is not None and theirs is not None
        ]
        return statistics.median(ratios) if ratios else float("nan")


def timed(call: Callable[[], object], times: int) -> Callable[[], Timing]:
    """A round of some calls, each one unit."""

    def one_round() -> Timing:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            call()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        return Timing(wall / times, cpu / times)

    return one_round


def interleave(contestants: Sequence[Contestant], wanted: int) -> None:
    """Time all in turn until each has as many rounds that count as wanted, or three times as many were
    made.
    """
    for contestant in contestants:
        contestant.one_round()
    for _ in range(3 * wanted):
        for contestant in contestants:
            timing = contestant.one_round()
            contestant.rounds.append(timing if timing.trusted else None)
        if all(len(contestant.kept) >= wanted for contestant in contestants):
            return


def our_contestants(setup: Setup) -> tuple[Contestant, Contestant, Contestant, Contestant]:
    """One analysis; 1,000 points, expected and ideal; the plain loop."""
    numbers = iter(range(sys.maxsize))
    return (
        Contestant(
            "one analysis, expected basis",
            "result object complete: both stages, all operator rows, intervals, memory",
            "0.3 ms",
            timed(lambda: one_analysis(setup, next(numbers)), 100),
        ),
        Contestant(
            "1,000 points, expected basis",
            "17 operators of two steps a point: FLOPs, bytes by class, ideal and expected time, bound",
            "3 ms",
            timed(lambda: thousand_points(setup, CostBasis.EXPECTED), 4),
        ),
        Contestant(
            "1,000 points, ideal basis",
            "the same without the expected time",
            "-",
            timed(lambda: thousand_points(setup, CostBasis.IDEAL), 4),
        ),
        Contestant(
            "1,000 points, plain Python loop",
            "the same 17 operators, ideal basis: FLOPs, bytes, time, bound",
            "-",
            timed(lambda: plain_points(setup), 1),
        ),
    )


def peak_rss_mb() -> float:
    """The most memory that this process ever held, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


class ManyPoints(NamedTuple):
    """What millions of points cost, and the most memory held after a tenth of them and after all."""

    timing: Timing
    rss_early_mb: float
    rss_mb: float


def many_points(setup: Setup, points: int) -> ManyPoints:
    """Points in chunks, nothing kept of a chunk but its best."""
    best, early = 0.0, 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    for first in range(0, points, CHUNK):
        best = max(best, chunk_of_points(setup, first, min(CHUNK, points - first)))
        if not early and first >= points // 10:
            early = peak_rss_mb()
    timing = Timing(time.perf_counter() - wall, time.process_time() - cpu)
    if not best > 0:
        raise AssertionError("no point has a rate")
    return ManyPoints(timing, early, peak_rss_mb())


@dataclass(frozen=True)
class Peer:
    """Another tool, how it is installed, and what it does."""

    name: str
    module: str
    requirements: tuple[str, ...]
    what: str
    options: tuple[str, ...] = ()
    without_dependencies: bool = False


RIDGEPOINT = ("ridgepoint==0.1.2", "huggingface-hub==2.4.0")
PEERS = (
    Peer(
        "ridgepoint",
        "benchmarks.peers.run_ridgepoint",
        RIDGEPOINT,
        "whole-model closed forms in compiled code, intervals, memory; no operators, no batch (one request "
        "alone), no communication",
    ),
    Peer(
        "ridgepoint, text unparsed",
        "benchmarks.peers.run_ridgepoint",
        RIDGEPOINT,
        "the same, its JSON text left as it is: no number is had",
        options=("--text",),
    ),
    Peer(
        "llm-analysis",
        "benchmarks.peers.run_llm_analysis",
        # It asks for fire below 0.6, of which there is no wheel; it runs with 0.7.
        ("llm-analysis==0.2.2", "fire==0.7.1", "termcolor==3.3.0"),
        "attention, MLP, norms and communication of a layer, embedding, head, memory; no operators within "
        "these, no gated MLP, no FLOPs over the cache",
        without_dependencies=True,
    ),
    Peer(
        "genz-llm",
        "benchmarks.peers.run_genz_llm",
        ("genz-llm==0.0.16", "numpy==2.4.6", "pandas==3.1.1"),
        "6 to 8 matrix products of a layer, embedding, head, as data frames; communication, memory; no "
        "norms, softmax, rotation, activation, residuals",
    ),
)


class PeerError(Exception):
    """A tool cannot be installed or does not answer."""


def installed(peer: Peer, folder: Path) -> Path:
    """The Python of the tool's virtual environment, made when it is not there."""
    place = folder / peer.requirements[0].replace("==", "-")
    python, stamp = place / "bin" / "python", place / "requirements.txt"
    wanted = "\n".join(peer.requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing {wanted.splitlines()[0]}", file=sys.stderr)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    pip += ["--only-binary=:all:", *(["--no-deps"] if peer.without_dependencies else [])]
    for command in ([sys.executable, "-m", "venv", "--clear", str(place)], [*pip, *peer.requirements]):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=900)
        except subprocess.CalledProcessError as error:
            raise PeerError(error.stderr.strip() or error.stdout.strip()) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PeerError(str(error)) from error
    stamp.write_text(wanted)
    return python


class RunningPeer:
    """A tool's runner, in a process of its own that waits between rounds."""

    def __init__(self, peer: Peer, folder: Path, log: IO[str]) -> None:
        """Start it and put the questions."""
        root = Path(__file__).resolve().parent.parent
        python = installed(peer, folder).absolute()
        self.process = subprocess.Popen(
            [str(python), "-m", peer.module, *peer.options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            # The runners are found, this environment's packages are not; no tool asks the network for models.
            env={**os.environ, "PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1"},
            cwd=folder,
        )
        self.log_name = log.name
        questions = [(*EXAMPLE, OUTPUT_LEN), *((*load, OUTPUT_LEN) for load in GRID)]
        self.asked = 0
        try:
            self.first = self._reply_to(json.dumps(questions))
        except PeerError:
            self.close()
            raise

    def _reply_to(self, line: str) -> dict[str, float | str]:
        if self.process.stdin is None or self.process.stdout is None:
            raise PeerError("its runner has no pipes")
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            reply: dict[str, float | str] = json.loads(self.process.stdout.readline())
        except (OSError, ValueError) as error:
            said = Path(self.log_name).read_text().strip().splitlines()[-5:]
            raise PeerError("its runner gave no answer:\n" + "\n".join(said)) from error
        return reply

    def one_round(self) -> Timing:
        """The time of 1,000 points, from those that it was asked; not a number when it has died."""
        try:
            reply = self._reply_to("round")
        except PeerError as error:
            print(f"\n*** NOT MEASURED any further: {self.log_name}\n{error}\n", file=sys.stderr)
            return Timing(float("nan"), float("nan"))
        self.asked = int(reply["asked"])
        scale = 1000 / self.asked
        return Timing(float(reply["wall_s"]) * scale, float(reply["cpu_s"]) * scale)

    @property
    def partial(self) -> bool:
        """Whether a round asked some of the points alone."""
        return 0 < self.asked < len(GRID)

    def close(self) -> None:
        """End it by ending its input."""
        with suppress(OSError):
            self.process.communicate(timeout=30)


def start_peers(folder: Path, stack: ExitStack) -> Iterator[tuple[Peer, RunningPeer]]:
    """Every tool that can be installed and answers. Says loudly which cannot."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, peer in enumerate(PEERS):
        log = stack.enter_context((folder / f"{number}-{peer.requirements[0]}.log").open("w"))
        try:
            running = RunningPeer(peer, folder, log)
        except PeerError as error:
            print(f"\n*** NOT MEASURED: {peer.name}\n{error}\n", file=sys.stderr)
            continue
        stack.callback(running.close)
        yield peer, running


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def figure(value: float, unit: str) -> str:
    """A figure with three digits that count."""
    return "no undisturbed round" if math.isnan(value) else f"{float(f'{value:.3g}'):,.10g} {unit}"


def report(ours: Sequence[Contestant], peers: Sequence[tuple[Peer, RunningPeer, Contestant]]) -> str:
    """The table of times."""
    reference = ours[1]
    samples = {
        peer.name: f", from {running.asked} of the points" for peer, running, _ in peers if running.partial
    }
    rows = []
    for contestant in (*ours, *(contestant for *_, contestant in peers)):
        single = contestant is ours[0]
        rows.append(
            (
                contestant.name,
                contestant.goal,
                figure(contestant.cpu_ms, "ms") + samples.get(contestant.name, ""),
                "-" if single else figure(contestant.ratio_to(reference), "x"),
                f"{len(contestant.kept)} of {len(contestant.rounds)}",
                contestant.what,
            )
        )
    header = ("what", "goal", "measured (CPU)", "ratio to ours", "rounds kept", "computes; leaves out")
    return (
        f"{table(header, rows)}\n\nThe plain loop takes {figure(ours[3].ratio_to(ours[2]), 'x')} of "
        "the estimator on the ideal basis, which gives the same step times to 1e-9."
    )


def report_many(points: int, many: ManyPoints, per_thousand_ms: float) -> str:
    """The table of the many points."""
    timing = many.timing
    seconds = timing.cpu_s * MANY / points
    said = f"{seconds:.1f} s"
    if points != MANY:
        said += f", **extrapolated** from {points:,} points in {timing.cpu_s:.2f} s"
    if not timing.trusted:
        said += f" (disturbed: wall {timing.wall_s:.1f} s, CPU {timing.cpu_s:.1f} s)"
    grown = f"{many.rss_mb:.0f} MB ({many.rss_early_mb:.0f} MB after the first tenth)"
    ratio = timing.cpu_s / points * 1e6 / per_thousand_ms
    return table(
        ("10 million points, expected basis, one core", "goal", "measured"),
        (
            (f"CPU time, in chunks of {CHUNK:,}", "20 s", said),
            ("a point in it / a point of 1,000", "-", figure(ratio, "x")),
            ("most memory of the whole process", f"{RSS_LIMIT_MB} MB", grown),
        ),
    )


def report_example(setup: Setup, peers: Sequence[tuple[Peer, RunningPeer, Contestant]]) -> str:
    """What each says about the same load."""
    at = GRID.index(EXAMPLE)
    rows = []
    for basis in CostBasis:
        found = thousand_points(setup, basis)
        rows.append(
            (
                f"ours, {basis}",
                f"{found.times.prefill_s[0, at] * 1e3:.1f} ms",
                f"{found.times.decode_s[0, at] * 1e3:.2f} ms",
            )
        )
    for peer, running, _ in peers:
        if not peer.options:
            prefill, decode = float(running.first["prefill_s"]), float(running.first["decode_s"])
            rows.append(
                (
                    f"{peer.name} {running.first['version']}",
                    f"{prefill * 1e3:.1f} ms",
                    f"{decode * 1e3:.2f} ms",
                )
            )
    batch, length = EXAMPLE
    return table((f"batch {batch}, {length} tokens in", "prefill", "decode step"), rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--points", type=int, default=MANY, help="how many points to time of the 10 million (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=11, help="rounds that each needs (default: 11)")
    parser.add_argument(
        "--peers", type=Path, metavar="FOLDER", help="time other tools too, installed under FOLDER from PyPI"
    )
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        store = open_embedded_catalog(f"sqlite:///{Path(folder) / 'bench.sqlite3'}")
        stack.callback(store.close)
        snapshot = CatalogCache(store).snapshot()
        model, hardware = snapshot.model(MODEL), snapshot.hardware(DEVICE)
        deployment = resolve_deployment(DeploymentRequest(), model, hardware)
        setup = Setup(model, hardware, deployment, snapshot.profiles)
        worst = check_same_work(setup)
        print(f"the plain loop's step times are the estimator's to {worst:.0e}\n")
        ours = our_contestants(setup)
        peers = []
        if arguments.peers is not None:
            peers = [
                (peer, running, Contestant(peer.name, peer.what, "-", running.one_round))
                for peer, running in start_peers(arguments.peers, stack)
            ]
        interleave((*ours, *(contestant for *_, contestant in peers)), arguments.rounds)
        many = many_points(setup, arguments.points)
        print(f"{model.name}, {deployment.compute_dtype}, {hardware.name}; one core; medians of CPU time.\n")
        print(report(ours, peers), end="\n\n")
        print(report_many(arguments.points, many, ours[1].cpu_ms), end="\n\n")
        print(report_example(setup, peers))


if __name__ == "__main__":
    main()
