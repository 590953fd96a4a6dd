"""Every technique has its test file, which tells first where it does not pay, then where it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from ridgeline_server.advisor import techniques
from ridgeline_server.advisor.documentation.docstrings import HEADINGS, documentation_of
from ridgeline_server.advisor.documentation.pages import EFFORTS
from ridgeline_server.advisor.registry import all_techniques
from ridgeline_server.advisor.results import Effort

HERE = Path(__file__).parent
MODULES = sorted(path.stem for path in Path(techniques.__path__[0]).glob("*.py") if path.stem != "__init__")


def test_every_technique_has_its_test_file_and_no_other_is_here() -> None:
    files = {path.stem for path in HERE.glob("test_*.py")} - {Path(__file__).stem}
    assert files == {f"test_{module}" for module in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_the_cases_that_do_not_pay_come_first(module: str) -> None:
    text = (HERE / f"test_{module}.py").read_text(encoding="utf-8")
    assert -1 < text.find("class TestDoesNotPay") < text.find("class TestPays")


@pytest.mark.parametrize("module", MODULES)
def test_its_tests_name_the_technique_under_test(module: str) -> None:
    text = (HERE / f"test_{module}.py").read_text(encoding="utf-8")
    assert f'TECHNIQUE = "{module.replace("_", "-")}"' in text


@pytest.mark.parametrize("module", MODULES)
def test_its_module_says_what_it_does_when_it_pays_and_when_not(module: str) -> None:
    documentation = documentation_of(module.replace("_", "-"))
    assert documentation.summary.endswith(".")
    assert tuple(documentation.paragraphs) == HEADINGS
    for paragraph in documentation.paragraphs.values():
        assert paragraph.endswith(".")
        assert paragraph[0] == paragraph[0].upper()
        assert len(paragraph.split()) >= 15


def test_what_must_be_had_first_is_no_mere_flag() -> None:
    """`fewer-devices` changes their number too, and buys none."""
    efforts = {technique.id: technique.effort for technique in all_techniques()}
    assert {name for name, effort in efforts.items() if effort is Effort.MORE_DEVICES} == {
        technique.id for technique in all_techniques() if technique.changes_devices
    } - {"fewer-devices"}
    assert {efforts[t.id] for t in all_techniques() if t.changes_hardware} == {Effort.OTHER_DEVICE}
    assert {efforts[t.id] for t in all_techniques() if t.changes_model} == {Effort.OTHER_MODEL}
    assert {name for name, effort in efforts.items() if effort.is_training} == {
        "layer-skip",
        "sparsity-2-4",
        "speculation-heads",
    }
    assert set(EFFORTS) == set(Effort)
