"""What is chosen of the costed candidates: plans, the front of trade-offs, what comes closest to limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ridgeline_server.advisor.combinations import Combination, ids_of, rests_of
from ridgeline_server.advisor.effects import MEMORY_METRIC, speedup
from ridgeline_server.advisor.flips import smaller_batches
from ridgeline_server.advisor.plan_candidates import Asked, Costed, cost
from ridgeline_server.advisor.plan_wording import closest_in_words
from ridgeline_server.advisor.results import Closest, FrontPoint, Relaxation
from ridgeline_server.advisor.technique import GAIN
from ridgeline_server.advisor.verdict import serves
from ridgeline_server.advisor.wording import load_in_words
from ridgeline_server.roofline.metrics import missed_limits
from ridgeline_server.roofline.serving import Candidate

FRONT_POINTS = 12
"""Points of the front at most."""
AS_GOOD = 1.01
"""Plans within this factor of each other are as good: the one that loses less accuracy comes first."""


class Choice:
    """Which of the costed combinations are plans."""

    def __init__(self, asked: Asked, costed: Sequence[Costed]) -> None:
        self._asked = asked
        self._costed = costed
        self.limits_can_hold = any(
            self._serves(each)
            and not over_devices(asked, each)
            and not missed_limits(each.values, asked.facts.workload.slo)
            for each in costed
        )

    def feasible(self, each: Costed) -> bool:
        """Whether a combination fits, and keeps the limits that can be kept."""
        asked = self._asked
        if over_devices(asked, each):
            return False
        if not self._serves(each):
            return False
        slo = asked.facts.workload.slo
        missed = missed_limits(each.values, slo).keys()
        if self.limits_can_hold:
            return not missed
        return not self._serves_today or missed <= missed_limits(asked.values, slo).keys()

    def kept(self, losses: Mapping[str, float | None]) -> list[Costed]:
        """The plans, best first. Of those that are as good as the best the one leads that loses least
        accuracy, except where memory is the goal, which is known exactly.
        """
        feasible = {each.combination: each for each in self._costed if self.feasible(each)}
        kept = [each for each in feasible.values() if each.combination and self._needs_all(each, feasible)]
        kept.sort(key=lambda each: -self._gain(self._asked.values, each))
        if self._asked.metric == MEMORY_METRIC:
            return kept
        near = [each for each in kept if self._gain(each.values, kept[0]) <= AS_GOOD]
        lead = min(
            near, key=lambda each: sum(losses[t] or 0.0 for t in ids_of(each.combination)), default=None
        )
        return kept if lead is None else [lead, *(each for each in kept if each is not lead)]

    def _serves(self, each: Costed) -> bool:
        return serves(each.simulation, like=self._asked.today)

    @property
    def _serves_today(self) -> bool:
        return serves(self._asked.today, like=self._asked.today)

    def _needs_all(self, each: Costed, feasible: Mapping[Combination, Costed]) -> bool:
        """Whether each technique of a combination counts. A rest that cannot be applied by itself, such as a
        batch that has no room, cannot replace the whole.
        """
        rests = (feasible.get(rest) for rest in ((), *rests_of(each.combination)))
        return all(rest is None or self._gain(rest.values, each) > GAIN for rest in rests)

    def _gain(self, before: Mapping[str, float], after: Costed) -> float:
        metric = self._asked.metric
        return speedup(metric, before[metric], after.values[metric])


def over_devices(asked: Asked, each: Costed) -> bool:
    """Whether a combination uses more devices than it may; only as many as today's can be over."""
    most = asked.freedom.max_devices
    return most is not None and each.devices > most


def pareto_front(feasible: Iterable[Costed]) -> tuple[FrontPoint, ...]:
    """The combinations than which none has a lower latency and a higher throughput per device, by latency; of
    more than FRONT_POINTS some that lie evenly among them.
    """
    points = sorted(
        (
            each.values["e2e_latency_ms"],
            -each.values["output_tokens_per_s_per_device"],
            len(each.combination),
            place,
            each,
        )
        for place, each in enumerate(feasible)
    )
    front: list[FrontPoint] = []
    for latency_ms, less_rate, _, _, each in points:
        if front and -less_rate <= front[-1].output_tokens_per_s_per_device:
            continue
        batch = each.simulation.candidate.workload.batch
        front.append(FrontPoint(ids_of(each.combination), latency_ms, -less_rate, each.devices, batch))
    if len(front) <= FRONT_POINTS:
        return tuple(front)
    last = len(front) - 1
    return tuple(front[round(place * last / (FRONT_POINTS - 1))] for place in range(FRONT_POINTS))


def closest_to_limits(asked: Asked, costed: Sequence[Costed]) -> Closest:
    """The combination that serves the load and misses the limits least, by the limit that it misses most;
    where none does, the one that lacks least memory.
    """
    slo = asked.facts.workload.slo

    def served(each: Costed) -> bool:
        return serves(each.simulation, like=asked.today)

    def relaxations(each: Costed) -> tuple[Relaxation, ...]:
        memory, most = each.simulation.memory, asked.freedom.max_devices
        if most is not None and over_devices(asked, each):
            return (Relaxation("max_devices", most, each.devices, each.devices / most),)
        if not served(each):
            needed, usable = memory.total_bytes, memory.usable_bytes
            return (Relaxation("usable_memory_bytes", usable, needed, needed / usable),)
        return tuple(
            Relaxation(name, limit, each.values[name], each.values[name] / limit)
            for name, limit in missed_limits(each.values, slo).items()
        )

    best = min(
        costed,
        key=lambda each: (
            over_devices(asked, each),
            not served(each),
            max(relaxation.factor for relaxation in relaxations(each)),
            len(each.combination),
        ),
    )
    found, names = relaxations(best), ids_of(best.combination)
    candidate = best.simulation.candidate
    smaller = [
        (best.combination, Candidate(candidate.scenario, load))
        for load in smaller_batches(candidate.workload)
    ]
    meeting = (each for each in cost(asked, smaller) if not relaxations(each))
    batch = max((each.simulation.candidate.workload.batch for each in meeting), default=0)
    load = load_in_words(candidate.workload.at_batch(batch)) if batch else ""
    return Closest(names, found, batch, closest_in_words(names, found, load))
