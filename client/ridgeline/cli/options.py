"""The options that commands share: the question, its device and deployment, and the form of the answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from ridgeline.cli.commands import SectionOption

F = TypeVar("F", bound=Callable[..., Any])

LARGEST = 2**31 - 1
"""The largest whole number that a request can carry."""
REVISION = click.IntRange(1, LARGEST)

STORAGE_DTYPES = ("fp32", "bf16", "fp16", "fp8", "int8", "int4", "nvfp4", "mxfp4")
OPERAND_DTYPES = ("fp32", "bf16", "fp16", "fp8", "int8")
KV_DTYPES = ("fp32", "bf16", "fp16", "fp8", "int8", "int4")

_load = partial(click.option, cls=SectionOption, section="Load")
_deployment = partial(
    click.option, cls=SectionOption, section="Deployment (unset: the checkpoint's own formats)"
)
_device = partial(click.option, cls=SectionOption, section="Device")
_answer = partial(click.option, cls=SectionOption, section="Answer")
_connection = partial(click.option, cls=SectionOption, section="Connection")


def _choice(values: tuple[str, ...]) -> click.Choice[str]:
    return click.Choice(values, case_sensitive=False)


def together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """The decorators from top to bottom as one."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def model_and_hardware(function: F) -> F:
    """The arguments MODEL and HARDWARE."""
    return together(click.argument("model"), click.argument("hardware"))(function)


def load(*, input_len_required: bool) -> Callable[[F], F]:
    """The options of a load."""
    return together(
        _load(
            "--batch",
            type=int,
            default=1,
            show_default=True,
            metavar="N",
            help="Static batch: N requests start together and run in step.",
        ),
        _load(
            "--input-len", type=int, required=input_len_required, metavar="N", help="Prompt length, tokens."
        ),
        _load(
            "--output-len",
            type=int,
            default=128,
            show_default=True,
            metavar="N",
            help="Generated tokens per request, the first one included.",
        ),
        _load(
            "--decode-keys",
            type=int,
            metavar="N",
            help="Keys that the shown decode step reads per sequence [default: the prompt length].",
        ),
        _load("--slo-ttft-ms", type=float, metavar="MS", help="Limit of the mean time to first token."),
        _load("--slo-tpot-ms", type=float, metavar="MS", help="Limit of the mean time per output token."),
    )


def formats(*, many_files: bool = False) -> Callable[[F], F]:
    """The options of a deployment; `many_files` lets --deployment be repeated."""
    more = " Repeat it to compare." if many_files else ""
    return together(
        _deployment(
            "--weights", type=_choice(STORAGE_DTYPES), help="Storage of the layers' weight matrices."
        ),
        _deployment(
            "--weight-group-size",
            type=int,
            metavar="N",
            help="Weights that share a scale; 0 is one scale per channel [default: 128 for int4].",
        ),
        _deployment("--lm-head", type=_choice(STORAGE_DTYPES), help="Storage of lm_head and the embedding."),
        _deployment(
            "--activations",
            type=_choice(OPERAND_DTYPES),
            help="Operands of the weight GEMMs; int8 or fp8 compute needs weights of the same format.",
        ),
        _deployment("--kv", type=_choice(KV_DTYPES), help="Storage of the KV cache."),
        _deployment(
            "--attention",
            type=_choice(("fused", "unfused")),
            help="fused: scores stay on the chip (FlashAttention); unfused: they go through memory "
            "[default: fused].",
        ),
        _deployment(
            "--deployment",
            "deployment_files" if many_files else "deployment_file",
            multiple=many_files,
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            metavar="FILE",
            help=f"JSON or TOML file with these options as keys; options given here win.{more}",
        ),
    )


def device(function: F) -> F:
    """The option that replaces figures of the device."""
    return _device(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Replace a figure of the device for this question; repeatable. Keys: bandwidth_bytes_per_s, "
        "memory_bytes, usable_memory_bytes, price_usd_per_hour, peaks.<dtype>.",
    )(function)


def basis(function: F) -> F:
    """The option that asks for the datasheet roofline alone."""
    return _answer(
        "--ideal",
        is_flag=True,
        help="The datasheet roofline alone: every peak attained, nothing costs a launch.",
    )(function)


def catalog_revision(function: F) -> F:
    """The option that repeats an answer on the catalog that it was given on."""
    return _answer(
        "--catalog-revision",
        type=REVISION,
        metavar="N",
        help="Answer on the catalog as it was at this revision, to repeat an answer that names it.",
    )(function)


def output(function: F) -> F:
    """The option for the form of the answer."""
    return _answer(
        "-o",
        "--output",
        type=click.Choice(("table", "json", "csv")),
        default="table",
        show_default=True,
        help="Form of the answer. With json, stdout carries JSON alone.",
    )(function)


def connection(function: F) -> F:
    """The options that say whom to ask."""
    return together(
        _connection(
            "--server",
            metavar="HOST:PORT",
            help="Ask this server [default: RIDGELINE_SERVER; else run in this process].",
        ),
        _connection(
            "--timeout",
            type=float,
            default=30.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for a server's answer.",
        ),
    )(function)
