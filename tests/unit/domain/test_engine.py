"""Which release's figures stand for an engine and version that is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ridgeline_server.domain.efficiency import Estimate, version_key
from ridgeline_server.domain.engine import (
    GENERIC_ENGINE,
    BatchLimits,
    EngineLevel,
    EngineProfile,
    EngineRelease,
    EngineSet,
    NonTorchMemory,
)

LARGE = BatchLimits(70e9, 8192, 1024, ("a100",))
SMALL = BatchLimits(0, 2048, 256)


def release(version: str) -> EngineRelease:
    return EngineRelease(
        version=version,
        memory_utilization=0.9,
        counts_cuda_graphs=False,
        batch_limits=(LARGE, SMALL),
        sampler_bytes_per_logit=Estimate(10, 8, 12),
        cuda_graph_bytes=Estimate(1e9, 0, 2e9),
        non_torch=(NonTorchMemory(1, 1, Estimate(3e8, 2e8, 4e8)),),
    )


ENGINES = EngineSet(
    [
        EngineProfile("vllm", "vLLM", (release("0.19.0"), release("0.9.1"), release("0.17.0"))),
        EngineProfile(GENERIC_ENGINE, "An engine", (release("any"),)),
    ]
)


@pytest.mark.parametrize(
    ("asked", "used", "level"),
    [
        pytest.param("0.17.0", "0.17.0", EngineLevel.EXACT, id="known"),
        pytest.param("0.17", "0.17.0", EngineLevel.EXACT, id="known, shortened"),
        pytest.param("v0.19.0rc2+cu128", "0.19.0", EngineLevel.EXACT, id="candidate of a known one"),
        pytest.param("0.17.1", "0.17.0", EngineLevel.EARLIER_RELEASE, id="patch of a known one"),
        pytest.param("0.16.0", "0.9.1", EngineLevel.EARLIER_RELEASE, id="numbers, not text, are compared"),
        pytest.param("0.33.0", "0.19.0", EngineLevel.UNKNOWN_RELEASE, id="newer than all"),
        pytest.param("0.8.0", "0.9.1", EngineLevel.UNKNOWN_RELEASE, id="older than all"),
        pytest.param("", "0.19.0", EngineLevel.UNKNOWN_RELEASE, id="not stated"),
        pytest.param("nightly", "0.19.0", EngineLevel.UNKNOWN_RELEASE, id="not a version"),
    ],
)
def test_a_version_finds_its_release(asked: str, used: str, level: EngineLevel) -> None:
    match = ENGINES.find("vLLM", asked)
    assert (match.engine_id, match.release.version, match.level) == ("vllm", used, level)
    assert used in match.note


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("0.33.0", "vLLM 0.33.0 is newer than any that is known: figures of 0.19.0 with wider intervals"),
        ("0.17.1", "nobody measured vLLM 0.17.1; figures of 0.17.0, the last known before it"),
        ("", "no version of vLLM is stated; the newest known is taken"),
        ("nightly", "version 'nightly' of vLLM cannot be read"),
    ],
)
def test_the_note_says_what_stands_for_what(asked: str, words: str) -> None:
    assert ENGINES.find("vllm", asked).note.startswith(words)


def test_a_release_with_sizes_of_another_is_not_called_exact() -> None:
    carried = replace(release("0.21.0"), carried_from="0.19.0")
    engines = EngineSet(
        [
            EngineProfile("vllm", "vLLM", (release("0.19.0"), carried)),
            EngineProfile(GENERIC_ENGINE, "An engine", (release("any"),)),
        ]
    )
    match = engines.find("vllm", "0.21")
    assert (match.release, match.level) == (carried, EngineLevel.EARLIER_RELEASE)
    assert match.note == "nobody measured vLLM 0.21.0; its sizes are those of 0.19.0"


def test_an_unknown_release_keeps_the_values_and_widens_every_interval() -> None:
    known, unknown = ENGINES.find("vllm", "0.19.0").release, ENGINES.find("vllm", "1.0").release
    for before, after in (
        (known.sampler_bytes_per_logit, unknown.sampler_bytes_per_logit),
        (known.non_torch[0].memory_bytes, unknown.non_torch[0].memory_bytes),
    ):
        assert after.value == before.value
        assert after.low < before.low
        assert after.high > before.high
    assert unknown.cuda_graph_bytes.high > known.cuda_graph_bytes.high


@pytest.mark.parametrize("engine", ["llama.cpp", "", GENERIC_ENGINE])
def test_an_engine_without_figures_gets_the_generic_ones_and_says_so(engine: str) -> None:
    match = ENGINES.find(engine, "1.2.3")
    assert (match.engine_id, match.level) == (GENERIC_ENGINE, EngineLevel.GENERIC)
    assert "nothing is known of the memory of" in match.note
    assert match.note.endswith("known are vllm")


def test_a_set_without_a_generic_engine_is_refused() -> None:
    with pytest.raises(ValueError, match="no engine profile 'generic'"):
        EngineSet([])


@pytest.mark.parametrize(
    ("device_bytes", "name", "limits"),
    [
        (85e9, "h100-sxm", LARGE),
        (85e9, "NVIDIA A100-SXM4-80GB", SMALL),
        (24e9, "l4", SMALL),
        (85e9, "", LARGE),
    ],
)
def test_batch_limits_go_by_the_device(device_bytes: float, name: str, limits: BatchLimits) -> None:
    assert release("1.0").limits_on(device_bytes, name) == limits


@pytest.mark.parametrize("limits", [(), (LARGE,), (replace(SMALL, excluded_names=("l4",)),)])
def test_limits_that_leave_a_device_without_any_are_refused(limits: tuple[BatchLimits, ...]) -> None:
    with pytest.raises(ValueError, match=r"release 1\.0 leave devices without any"):
        replace(release("1.0"), batch_limits=limits)


def test_a_release_without_non_torch_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="has no non-torch memory"):
        replace(release("1.0"), non_torch=())


@pytest.mark.parametrize(
    ("version", "key"),
    [("0.19.0", (0, 19)), (" v1.2.3.post1", (1, 2, 3)), ("0", ()), ("latest", None), ("", None)],
)
def test_a_version_is_its_numbers(version: str, key: tuple[int, ...] | None) -> None:
    assert version_key(version) == key


@pytest.mark.parametrize("asked", [("vLLM", "0.19.0"), ("vllm", ""), ("nobody", "3")])
def test_a_match_remembers_what_was_asked_for(asked: tuple[str, str]) -> None:
    found = ENGINES.find(*asked)
    assert (found.asked_engine, found.asked_version) == asked
