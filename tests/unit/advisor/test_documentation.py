"""The techniques' pages are those that their modules and the catalog make, and their figures still hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from ridgeline_catalog import evidence_documents
from ridgeline_server.advisor.documentation.__main__ import write
from ridgeline_server.advisor.documentation.docstrings import HEADINGS, documentation_of, read
from ridgeline_server.advisor.documentation.pages import pages
from ridgeline_server.advisor.launching.switches import engine_switches
from ridgeline_server.advisor.registry import all_techniques
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import EXPECTED, LLAMA_3_1_8B, ask, effect

FOLDER = Path(__file__).parents[3] / "docs" / "techniques"
PAGE_HEADINGS = [*HEADINGS, "Accuracy", "How to switch it on", "References"]
every_technique = pytest.mark.parametrize("technique_id", [t.id for t in all_techniques()])


def test_no_page_is_stale() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert written == pages(), "run `make docs`"


@every_technique
def test_every_page_has_the_same_headings_with_text_beneath(technique_id: str) -> None:
    sections = pages()[f"{technique_id}.md"].split("\n## ")[1:]
    assert [section.partition("\n")[0] for section in sections] == PAGE_HEADINGS
    assert all(section.partition("\n")[2].strip() for section in sections)


@every_technique
def test_the_list_links_every_page(technique_id: str) -> None:
    assert f"[{technique_id}]({technique_id}.md)" in pages()["README.md"]


def test_published_figures_stand_on_the_page_with_their_sources() -> None:
    for _, document in evidence_documents():
        page = pages()[f"{document['technique']}.md"]
        for piece in document["accuracy"]:
            assert f"| {piece['model_id']} | {piece['finding']} |" in page
            assert f"- {piece['source']}" in page


@every_technique
def test_every_page_says_of_each_engine_how_it_is_switched_on_or_why_it_cannot_be(technique_id: str) -> None:
    section = pages()[f"{technique_id}.md"].partition("## How to switch it on\n")[2].partition("\n## ")[0]
    for engine in engine_switches():
        (told,) = [line for line in section.splitlines() if line.startswith(f"- **{engine.id}** (")]
        setting = engine.settings[technique_id]
        assert all(flag.name in told for flag in setting.flags)
        assert all(name in told for name in (*setting.without, *setting.without_config))
        assert all(text in told for text in (setting.missing, *setting.steps, *setting.notes))
        assert all(key.rpartition(".")[2] in section for key, _ in setting.config)


def test_what_a_deployment_has_stands_on_a_page_by_its_name() -> None:
    page = pages()["increase-batch.md"]
    assert "What begins with `YOUR-` is your deployment's" in page
    assert "`--max-num-seqs YOUR-BATCH-OF-RANK`" in page
    assert "YOUR-" not in pages()["kv-cache-fp8.md"]


def test_a_page_of_a_technique_that_is_gone_is_removed(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("old", encoding="utf-8")
    write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(pages())


@pytest.mark.parametrize(
    "docstring",
    [
        pytest.param("", id="nothing"),
        pytest.param("One sentence.", id="no paragraphs"),
        pytest.param("One.\n\nWhat it does: A.\n\nWhen it pays: B.", id="one is missing"),
        pytest.param(
            "One.\n\nWhen it pays: B.\n\nWhat it does: A.\n\nWhen it does not: C.", id="another order"
        ),
        pytest.param("One.\n\nWhat it does: A.\n\nWhen it pays: \n\nWhen it does not: C.", id="an empty one"),
    ],
)
def test_a_docstring_without_its_headings_is_refused_by_the_techniques_name(docstring: str) -> None:
    with pytest.raises(ValueError, match=r"docstring of some-technique .* `When it does not: `"):
        read("some-technique", docstring)


FIGURES = [
    ("weight-only-int4", "h100-sxm", 1, 512, "tpot_ms", "1.71x at batch 1"),
    ("weight-only-int4", "h100-sxm", 16, 512, "tpot_ms", "1.57x at 16"),
    ("weight-only-int4", "h100-sxm", 64, 512, "tpot_ms", "1.32x at 64"),
    ("weight-only-int4", "h100-sxm", 256, 512, "tpot_ms", "1.07x at batch 256"),
    ("weight-only-int4", "rtx-a6000", 1, 512, "tpot_ms", "2.76x at batch 1"),
    ("weight-only-int8", "h100-sxm", 1, 512, "tpot_ms", "1.41x at batch 1"),
    ("weight-only-int8", "h100-sxm", 16, 512, "tpot_ms", "1.34x at 16"),
    ("weight-only-int8", "h100-sxm", 64, 512, "tpot_ms", "1.20x at 64"),
    ("weight-only-int8", "h100-sxm", 256, 512, "tpot_ms", "1.04x at batch 256"),
    ("weight-only-fp8", "h100-sxm", 1, 512, "tpot_ms", "1.41x at batch 1"),
    ("weight-only-fp8", "h100-sxm", 64, 512, "tpot_ms", "1.20x at 64"),
    ("weight-only-fp8", "h100-sxm", 256, 512, "tpot_ms", "1.04x at batch 256"),
    ("int8-compute", "a100-sxm-80gb", 1, 2048, "ttft_ms", "1.70x sooner"),
    ("int8-compute", "a100-sxm-80gb", 1, 2048, "tpot_ms", "1.71x at batch 1"),
    ("int8-compute", "h100-sxm", 1, 2048, "ttft_ms", "1.14x in TTFT"),
    ("fp8-compute", "h100-sxm", 1, 2048, "ttft_ms", "1.23x sooner at batch 1"),
    ("fp8-compute", "h100-sxm", 16, 2048, "ttft_ms", "1.26x at 16"),
    ("fp8-compute", "h100-sxm", 1, 2048, "tpot_ms", "1.47x at batch 1"),
    ("nvfp4-compute", "b200-sxm", 1, 2048, "ttft_ms", "1.78x sooner at batch 1"),
    ("nvfp4-compute", "b200-sxm", 16, 2048, "ttft_ms", "2.04x at 16"),
    ("nvfp4-compute", "b200-sxm", 1, 2048, "tpot_ms", "1.53x at batch 1"),
    ("nvfp4-compute", "b200-sxm", 16, 2048, "tpot_ms", "1.40x at 16"),
    ("kv-cache-int8", "h100-sxm", 64, 2048, "tpot_ms", "1.24x with 64 sequences"),
    ("kv-cache-int8", "h100-sxm", 16, 32_000, "tpot_ms", "1.57x with 16 of 32,000"),
    ("kv-cache-int4", "h100-sxm", 64, 2048, "tpot_ms", "1.42x with 64 sequences"),
    ("kv-cache-int4", "h100-sxm", 16, 32_000, "tpot_ms", "2.22x with 16 of 32,000"),
    ("w4a8-compute", "a100-sxm-80gb", 1, 2048, "ttft_ms", "1.69x sooner"),
    ("w4a8-compute", "a100-sxm-80gb", 1, 2048, "tpot_ms", "1.93x as fast at batch 1"),
    ("w4a8-compute", "a100-sxm-80gb", 64, 512, "tpot_ms", "1.45x in TPOT"),
    ("w4a8-compute", "h100-sxm", 1, 2048, "ttft_ms", "1.21x in TTFT"),
    ("kv-cache-int2", "h100-sxm", 64, 2048, "tpot_ms", "1.48x with 64 sequences"),
    ("kv-cache-int2", "h100-sxm", 16, 32_000, "tpot_ms", "2.55x with 16 of 32,000"),
    ("kv-cache-fp8", "h100-sxm", 64, 2048, "tpot_ms", "1.20x with 64 sequences"),
    ("kv-cache-fp8", "h100-sxm", 16, 32_000, "tpot_ms", "1.45x with 16 of 32,000"),
    ("sparsity-2-4", "h100-sxm", 1, 512, "tpot_ms", "1.42x in TPOT"),
    ("sparsity-2-4", "h100-sxm", 1, 512, "ttft_ms", "1.50x in TTFT"),
    ("increase-batch", "h100-sxm", 1, 1000, "output_tokens_per_s", "23.8x the throughput"),
]


@pytest.mark.parametrize(("technique_id", "device_id", "batch", "input_len", "metric", "quoted"), FIGURES)
def test_a_gain_that_a_page_quotes_is_the_one_that_is_recommended(
    technique_id: str, device_id: str, batch: int, input_len: int, metric: str, quoted: str
) -> None:
    assert quoted in " ".join(documentation_of(technique_id).paragraphs.values())
    question = ask(LLAMA_3_1_8B, device_id, Workload(batch, input_len, 128), EXPECTED)
    gained = effect(question.recommendation(technique_id).effects, metric).speedup
    assert float(quoted.partition("x")[0]) == pytest.approx(gained, abs=0.0051 if gained < 10 else 0.051)


RIDGES = [
    ("weight-only-int4", "h100-sxm", 89, 333),
    ("weight-only-int8", "h100-sxm", 167, 333),
    ("weight-only-fp8", "a100-sxm-80gb", 82, 163),
]


@pytest.mark.parametrize(("technique_id", "device_id", "after", "today"), RIDGES)
def test_a_ridge_batch_that_a_page_quotes_is_the_one_that_is_analysed(
    technique_id: str, device_id: str, after: int, today: int
) -> None:
    said = documentation_of(technique_id).paragraphs["When it pays"]
    assert f"turn compute-bound at batch {after} instead of {today}" in said
    question = ask(LLAMA_3_1_8B, device_id, Workload(1, 512, 128))
    changed = question.recommendation(technique_id).deployment
    assert changed is not None
    assert question.analysis().decode.ridge_batch == today
    served = ask(
        LLAMA_3_1_8B,
        device_id,
        Workload(1, 512, 128),
        weight_dtype=changed.weight_dtype,
        weight_group_size=changed.weight_group_size,
    )
    assert served.analysis().decode.ridge_batch == after
