"""Help teaches, and costs next to nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ridgeline.cli.root import COMMANDS, root

MANUAL = Path(__file__).parents[3] / "docs" / "cli.md"
HEAVY = ("google", "grpc", "matplotlib", "numpy", "rich", "ridgeline_server", "sqlalchemy")


def commands(group: click.Group = root, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all commands, groups included."""
    yield path
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


PATHS = list(commands())


def help_of(path: tuple[str, ...]) -> str:
    result = CliRunner().invoke(root, [*path, "--help"], prog_name="ridgeline", terminal_width=80)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("path", PATHS, ids=lambda path: " ".join(path) or "root")
def test_help_keeps_to_eighty_columns(path: tuple[str, ...]) -> None:
    assert [line for line in help_of(path).splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("path", PATHS, ids=lambda path: " ".join(path) or "root")
def test_no_sentence_in_a_list_of_commands_is_cut(path: tuple[str, ...]) -> None:
    commands_listed = help_of(path).partition("\nCommands:\n")[2]
    assert "..." not in commands_listed


@pytest.mark.parametrize(
    "path",
    [("recommend",), ("explain",), ("analyze",), ("plot", "roofline"), ("plot", "curve")],
    ids=" ".join,
)
def test_questions_have_examples(path: tuple[str, ...]) -> None:
    examples = help_of(path).partition("Examples:\n")[2].partition("\n\n")[0]
    assert examples.count(f"ridgeline {' '.join(path)} ") >= 2


@pytest.mark.parametrize(
    "word", ["prefill, decode", "TTFT, TPOT", "ridge point", "ridge batch", "bound", "ideal, expected"]
)
def test_analyze_explains_its_words(word: str) -> None:
    assert f"    {word}  " in help_of(("analyze",))


def test_every_verdict_and_exit_code_is_explained() -> None:
    assert all(
        verdict in help_of(("recommend",))
        for verdict in ("APPLY", "CONSIDER", "NO GAIN", "HARMFUL", "NOT APPLICABLE")
    )
    assert all(f"\n    {code}  " in help_of(()) for code in range(6))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    command = root.get_command(click.Context(root), name)
    assert command is not None
    assert command.get_short_help_str(200) == COMMANDS[name][1]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["recommend", "--help"], ["hardware", "list", "--help"], ["analyze"]]
)
def test_nothing_heavy_is_imported_to_show_help_or_refuse_usage(arguments: list[str]) -> None:
    code = (
        "import json, sys; from ridgeline.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert not set(HEAVY) & set(json.loads(result.stderr.splitlines()[-1]))


def test_every_option_and_command_is_documented() -> None:
    manual = MANUAL.read_text(encoding="utf-8")
    for path in PATHS:
        context = click.Context(root)
        command: click.Command = root
        for name in path:
            assert isinstance(command, click.Group)
            found = command.get_command(context, name)
            assert found is not None
            command = found
        assert not path or path[-1] in manual
        options = [option for option in command.params if isinstance(option, click.Option)]
        missing = {name for option in options for name in option.opts if name not in manual}
        assert missing <= {"-h", "--help", "--version"}


def test_the_version_is_that_of_the_distribution() -> None:
    result = CliRunner().invoke(root, ["--version"])
    assert result.stdout.startswith("ridgeline 0.")


def test_a_command_that_does_not_exist_is_a_wrong_usage() -> None:
    result = CliRunner().invoke(root, ["analyse"])
    assert result.exit_code == 2
    assert "analyse" in result.stderr
