"""Engines: what a serving engine keeps of a device's memory for itself, by release."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from math import log

from ridgeline_server.domain.efficiency import Estimate, version_key

GENERIC_ENGINE = "generic"
"""Id of the profile of engines of which nothing was measured."""

UNKNOWN_RELEASE_FACTOR = 2.6
"""How much further off a constant may be in a release that nobody measured: about what the sampler's bytes
per logit changed by from vLLM 0.16.0 to 0.17.0 (docs/engine-memory.md).
"""


class EngineLevel(StrEnum):
    """How well the figures of an engine fit the release that was asked for."""

    EXACT = "exact"
    EARLIER_RELEASE = "earlier_release"
    """From the release before it of which figures are known."""
    UNKNOWN_RELEASE = "unknown_release"
    """Newer than any known release, older than all, or not stated."""
    GENERIC = "generic"
    """Nothing is known of this engine."""


@dataclass(frozen=True)
class NonTorchMemory:
    """Bytes on each GPU outside of the tensor allocator: driver context, libraries, communication buffers."""

    tp: int
    pp: int
    memory_bytes: Estimate


@dataclass(frozen=True)
class BatchLimits:
    """How much an engine processes in one step when its user does not say, on devices of at least
    `min_device_bytes` whose names do not contain one of `excluded_names`.
    """

    min_device_bytes: float
    max_batched_tokens: int
    max_sequences: int
    excluded_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineRelease:
    """The memory constants of one release.

    `memory_utilization` is the share of the device's bytes within which the engine stays, with its CUDA
    graphs only if `counts_cuda_graphs`; of what is left of it `kv_share_of_rest` becomes the KV pool.
    `sampler_bytes_per_logit` is the peak that sampling adds on each GPU for every sequence and vocabulary
    entry, beside the logits in the model's format. `batch_limits` come with the largest devices first.
    `carried_from` names the release whose measured figures stand in for this one's (empty: it was measured
    itself).
    """

    version: str
    memory_utilization: float
    counts_cuda_graphs: bool
    batch_limits: tuple[BatchLimits, ...]
    sampler_bytes_per_logit: Estimate
    cuda_graph_bytes: Estimate
    non_torch: tuple[NonTorchMemory, ...]
    kv_share_of_rest: float = 1.0
    carried_from: str = ""
    released: date | None = None
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.non_torch:
            raise ValueError(f"release {self.version} has no non-torch memory")
        if (
            not self.batch_limits
            or self.batch_limits[-1].min_device_bytes
            or self.batch_limits[-1].excluded_names
        ):
            raise ValueError(f"the last batch limits of release {self.version} leave devices without any")

    def limits_on(self, device_bytes: float, device_name: str = "") -> BatchLimits:
        """The default batch limits on a device."""
        name = device_name.lower()
        return next(
            limits
            for limits in self.batch_limits
            if device_bytes >= limits.min_device_bytes
            and not any(excluded in name for excluded in limits.excluded_names)
        )

    def non_torch_bytes(self, tp: int, pp: int) -> Estimate:
        """Bytes outside of the tensor allocator on each of `tp` x `pp` GPUs.

        Where the pair was not measured, the nearest is taken by the logarithm of tp, then of pp, among those
        that share the model in the same ways: one GPU needs no communication buffers, two need most of what
        four do.
        """

        def distance(known: NonTorchMemory) -> tuple[bool, bool, float, float]:
            return (
                (known.tp > 1) != (tp > 1),
                (known.pp > 1) != (pp > 1),
                abs(log(known.tp / tp)),
                abs(log(known.pp / pp)),
            )

        return min(self.non_torch, key=distance).memory_bytes


@dataclass(frozen=True)
class EngineProfile:
    """An engine and its known releases, oldest first."""

    id: str
    display_name: str
    releases: tuple[EngineRelease, ...]

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.releases, key=lambda release: version_key(release.version) or ()))
        object.__setattr__(self, "releases", ordered)


@dataclass(frozen=True)
class EngineMatch:
    """The release whose figures stand for the one that was asked for; `note` says in words why.

    `asked_engine` and `asked_version` are the names that were asked for, as they were written.
    """

    engine_id: str
    release: EngineRelease
    level: EngineLevel
    note: str
    asked_engine: str = ""
    asked_version: str = ""


class EngineSet:
    """The catalog's engines. Raises ValueError without the generic one."""

    def __init__(self, profiles: Iterable[EngineProfile]) -> None:
        self._profiles = {profile.id: profile for profile in profiles}
        if GENERIC_ENGINE not in self._profiles:
            raise ValueError(f"no engine profile {GENERIC_ENGINE!r} stands for engines without one")

    @property
    def ids(self) -> tuple[str, ...]:
        """Engines with figures of their own."""
        return tuple(sorted(self._profiles.keys() - {GENERIC_ENGINE}))

    def find(self, engine: str, version: str = "") -> EngineMatch:
        """Figures for an engine's release: its own; else those of the newest known one before it; else, when
        none is before it, or it is newer than all or unstated, the nearest known one with wider intervals.
        An engine without figures gets the generic ones.
        """
        return replace(self._match(engine, version), asked_engine=engine, asked_version=version)

    def _match(self, engine: str, version: str) -> EngineMatch:
        profile = self._profiles.get(engine.lower())
        if profile is None or profile.id == GENERIC_ENGINE:
            named = engine or "an engine that is not named"
            note = f"nothing is known of the memory of {named}; known are {', '.join(self.ids)}"
            return EngineMatch(
                GENERIC_ENGINE, self._profiles[GENERIC_ENGINE].releases[-1], EngineLevel.GENERIC, note
            )
        return _release_for(profile, version)


def widened(estimate: Estimate, factor: float) -> Estimate:
    """The same value with a low end that is `factor` times lower and a high end that is so much higher."""
    return Estimate(estimate.value, estimate.low / factor, estimate.high * factor)


def _release_for(profile: EngineProfile, version: str) -> EngineMatch:
    asked = version_key(version)
    name, releases = profile.display_name, profile.releases
    oldest, newest = releases[0], releases[-1]
    keys = [version_key(release.version) or () for release in releases]
    if not keys[-1]:
        note = f"how {name} sizes its KV pool is known; of what else it takes nothing is, so that is assumed"
        return EngineMatch(profile.id, newest, EngineLevel.GENERIC, note)
    if asked is None:
        stated = (
            f"version {version!r} of {name} cannot be read" if version else f"no version of {name} is stated"
        )
        return _unknown(profile, newest, f"{stated}; the newest known is taken")
    if asked > keys[-1]:
        return _unknown(profile, newest, f"{name} {version} is newer than any that is known")
    if asked < keys[0]:
        return _unknown(profile, oldest, f"{name} {version} is older than any that is known")
    known = max(index for index, key in enumerate(keys) if key <= asked)
    release = releases[known]
    if keys[known] == asked and release.carried_from:
        note = f"nobody measured {name} {release.version}; its sizes are those of {release.carried_from}"
        return EngineMatch(profile.id, release, EngineLevel.EARLIER_RELEASE, note)
    if keys[known] == asked:
        note = f"figures of {name} {release.version}"
        return EngineMatch(profile.id, release, EngineLevel.EXACT, note)
    note = f"nobody measured {name} {version}; figures of {release.version}, the last known before it"
    return EngineMatch(profile.id, release, EngineLevel.EARLIER_RELEASE, note)


def _unknown(profile: EngineProfile, release: EngineRelease, why: str) -> EngineMatch:
    """Figures of a release that stand for one of which nothing is known."""
    factor = UNKNOWN_RELEASE_FACTOR
    wider = replace(
        release,
        sampler_bytes_per_logit=widened(release.sampler_bytes_per_logit, factor),
        cuda_graph_bytes=widened(release.cuda_graph_bytes, factor),
        non_torch=tuple(
            replace(known, memory_bytes=widened(known.memory_bytes, factor)) for known in release.non_torch
        ),
    )
    note = f"{why}: figures of {release.version} with wider intervals"
    return EngineMatch(profile.id, wider, EngineLevel.UNKNOWN_RELEASE, note)
