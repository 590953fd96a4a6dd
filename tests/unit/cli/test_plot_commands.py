"""`ridgeline plot` asks once for each point, and refuses what it cannot draw before it asks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeClient

ROOFLINE = ("plot", "roofline", "llama-2-7b", "rtx-a6000", "--input-len", "2048")
CURVE = ("plot", "curve", "./config.json", "rtx-a6000", "--input-len", "2048", "--over")
BATCHES = ["batch", "--points", "1,2"]


def test_a_roofline_is_one_question(run: Run, fake: FakeClient) -> None:
    result = run(*ROOFLINE)
    assert result.exit_code == 0
    assert result.stdout.startswith("What limits Llama-2-7b-hf on rtx-a6000?")
    assert len(fake.questions) == 1


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["batch", "--points", "8,1,2,2"], [1, 2, 8]),
        (["batch", "--from", "3", "--to", "20"], [3, 6, 12, 20]),
        (["batch"], [1, 2, 4, 8, 16, 32, 64, 128, 256]),
    ],
    ids=["points", "range", "default"],
)
def test_a_curve_asks_for_each_value(
    run: Run, fake: FakeClient, arguments: list[str], values: list[int]
) -> None:
    assert run(*CURVE, *arguments).exit_code == 0
    assert [question["batch"] for question in fake.questions] == values
    assert {question["input_len"] for question in fake.questions} == {2048}


def test_the_prompt_length_is_what_a_context_curve_varies(run: Run, fake: FakeClient) -> None:
    result = run(
        "plot", "curve", "c.json", "rtx-a6000", "--over", "context", "--points", "512,1024", "--batch", "4"
    )
    assert result.exit_code == 0
    assert [(question["batch"], question["input_len"]) for question in fake.questions] == [
        (4, 512),
        (4, 1024),
    ]


def test_deployments_are_compared_with_the_options(run: Run, fake: FakeClient) -> None:
    result = run(
        *CURVE, *BATCHES, "--kv", "fp8", "--compare", "weights=int4", "--compare", "weights=int8,kv=int8"
    )
    assert result.exit_code == 0
    stated = [(question.get("weights"), question.get("kv")) for question in fake.questions]
    assert stated == [(None, "fp8")] * 2 + [("int4", "fp8")] * 2 + [("int8", "int8")] * 2
    assert "● today  ■ weights=int4  ▲ weights=int8,kv=int8" in result.stdout


def test_other_weights_bring_their_own_group_size(run: Run, fake: FakeClient) -> None:
    run(*CURVE, *BATCHES, "--weights", "int4", "--weight-group-size", "64", "--compare", "weights=int8")
    assert fake.questions[0]["weight_group_size"] == 64
    assert "weight_group_size" not in fake.questions[-1]


def test_deployment_files_are_laid_over_each_other(run: Run, fake: FakeClient, tmp_path: Path) -> None:
    (tmp_path / "today.toml").write_text('kv = "fp8"\n')
    (tmp_path / "planned.json").write_text('{"weights": "int4"}')
    files = ("--deployment", str(tmp_path / "today.toml"), "--deployment", str(tmp_path / "planned.json"))
    result = run(*CURVE, *BATCHES, *files)
    assert "● today  ■ planned" in result.stdout
    assert [(question.get("kv"), question.get("weights")) for question in fake.questions[::2]] == [
        ("fp8", None),
        (None, "int4"),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*CURVE, "batch", "--points", "1,x"], "give whole numbers"),
        ([*CURVE, "batch", "--points", "4"], "needs 2 to 200 different values"),
        ([*CURVE, "batch", "--points", "0,4"], "all over 0"),
        ([*CURVE, "batch", "--points", "1,2", "--from", "1"], "either --points or --from and --to"),
        ([*CURVE, "batch", "--from", "8", "--to", "4"], "ascending"),
        ([*CURVE, "batch", "--from", "8"], "Give both --from and --to"),
        ([*CURVE, "context", "--points", "1,2"], "--input-len is what --over context varies"),
        (["plot", "curve", "m", "h", "--over", "batch"], "Missing option '--input-len'"),
        ([*CURVE, *BATCHES, "--compare", "weights"], "not KEY=VALUE"),
        ([*CURVE, *BATCHES, "--compare", "batch=4"], "batch is no part of a deployment"),
        ([*CURVE, *BATCHES, *(["--compare", "kv=fp8"] * 6)], "At most 6 deployments"),
        ([*ROOFLINE, "--save", "roofline.pdf"], "ends in .svg or .png"),
        ([*ROOFLINE, "--save", "no/such/folder/roofline.svg"], "there is no folder 'no/such/folder'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_drawn_is_refused_before_anybody_is_asked(
    run: Run, fake: FakeClient, arguments: list[str], said: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert fake.questions == []


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_picture_is_saved_whole(run: Run, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"roofline.{suffix}"
    result = run(*ROOFLINE, "--save", str(path))
    assert result.stdout == f"Saved {path} (catalog revision 7).\n"
    assert path.read_bytes()[:5] in {b"<?xml", b"\x89PNG\r"}
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_without_matplotlib_files_name_the_extra_and_the_terminal_still_draws(
    run: Run, fake: FakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run(*ROOFLINE, "--save", str(tmp_path / "roofline.svg"))
    assert result.exit_code == 2
    assert 'pip install "ridgeline[plots]"' in result.stderr
    assert fake.questions == []
    assert run(*ROOFLINE).exit_code == 0


def test_a_path_that_is_a_folder_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "taken.svg").mkdir()
    result = run(*ROOFLINE, "--save", str(tmp_path / "taken.svg"))
    assert result.exit_code == 2
    assert "is a directory" in result.stderr


def test_a_curve_over_concurrency_asks_for_requests_in_flight(run: Run, fake: FakeClient) -> None:
    result = run(*CURVE, "concurrency", "--points", "1,4")
    assert result.exit_code == 0, result.stderr
    assert [question["concurrency"] for question in fake.questions] == [1, 4]
    assert all("batch" not in question for question in fake.questions)


@pytest.mark.parametrize("over", ["batch", "concurrency"])
@pytest.mark.parametrize("stated", ["--batch", "--concurrency"])
def test_a_load_that_varies_cannot_be_stated(run: Run, fake: FakeClient, over: str, stated: str) -> None:
    result = run(*CURVE, over, stated, "4")
    assert result.exit_code == 2
    assert "leave out --batch, --concurrency and --request-rate" in result.stderr
    assert fake.questions == []


def test_devices_and_module_formats_can_be_compared(run: Run, fake: FakeClient) -> None:
    run(
        *CURVE, *BATCHES, "--compare", "tp=4,kv_keep_ratio=0.5", "--compare",
        "module-format=experts=mxfp4,sparse-weights=true",
    )  # fmt: skip
    second, third = fake.questions[2], fake.questions[4]
    assert (second["tp"], second["kv_keep_ratio"]) == (4, 0.5)
    assert (third["module_formats"], third["sparse_weights"]) == ({"experts": "mxfp4"}, True)
