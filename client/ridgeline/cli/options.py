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
OPERAND_DTYPES = ("fp32", "bf16", "fp16", "fp8", "int8", "nvfp4", "mxfp4")
KV_DTYPES = ("fp32", "bf16", "fp16", "fp8", "int8", "int4", "int2")

_load = partial(click.option, cls=SectionOption, section="Load")
_formats = partial(click.option, cls=SectionOption, section="Number formats (unset: the checkpoint's own)")
_devices = partial(
    click.option, cls=SectionOption, section="Devices (tp x attention-dp is a stage, x pp a replica)"
)
_serving = partial(click.option, cls=SectionOption, section="Engine, steps and cache")
_draft = partial(click.option, cls=SectionOption, section="Speculative decoding")
_savings = partial(click.option, cls=SectionOption, section="Offloading, sparsity, experts")
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
            metavar="N",
            help="Static batch: N requests start together and run in step [default: 1].",
        ),
        _load(
            "--concurrency",
            type=int,
            metavar="N",
            help="Closed loop instead: N requests are in flight at any time; one that ends is replaced.",
        ),
        _load(
            "--request-rate",
            type=float,
            metavar="R",
            help="Open loop instead: R requests a second arrive at random; not for advice.",
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


def deployment(*, many_files: bool = False) -> Callable[[F], F]:
    """The options of a deployment; `many_files` lets --deployment be repeated."""
    return together(
        _number_formats,
        _spread,
        _engine_and_steps(many_files=many_files),
        _speculation,
        _offload_and_sparsity,
    )


def _number_formats(function: F) -> F:
    return together(
        _formats("--weights", type=_choice(STORAGE_DTYPES), help="Storage of the layers' weight matrices."),
        _formats(
            "--weight-group-size",
            type=int,
            metavar="N",
            help="Weights that share a scale; 0 is one scale per channel [default: 128 for int4].",
        ),
        _formats("--lm-head", type=_choice(STORAGE_DTYPES), help="Storage of lm_head and the embedding."),
        _formats(
            "--activations",
            type=_choice(OPERAND_DTYPES),
            help="Operands of the weight GEMMs; low-bit compute needs weights of the same format.",
        ),
        _formats("--kv", type=_choice(KV_DTYPES), help="Storage of the KV cache."),
        _formats(
            "--module-format",
            "module_formats",
            multiple=True,
            metavar="MODULE=DTYPE[:gGROUP][:ACTIVATIONS]",
            help="One class of modules that is stored otherwise, such as experts=mxfp4 or attention=fp8:fp8; "
            "repeatable. Classes: attention, mixer, mlp, experts, shared_expert, router, embedding, lm_head.",
        ),
    )(function)


def _spread(function: F) -> F:
    return together(
        _devices(
            "--tp",
            type=int,
            metavar="N",
            help="Tensor parallel: N devices divide each matrix; two all_reduce per layer [default: 1].",
        ),
        _devices(
            "--pp",
            type=int,
            metavar="N",
            help="Pipeline parallel: N stages divide the layers; more memory, no shorter steps [default: 1].",
        ),
        _devices(
            "--ep",
            type=int,
            metavar="N",
            help="Expert parallel: a stage's devices hold whole experts, N ways; with --attention-dp tokens "
            "travel to them by all_to_all [default: 1].",
        ),
        _devices(
            "--attention-dp",
            type=int,
            metavar="N",
            help="Groups of a stage's devices that divide the sequences for attention, and share experts "
            "[default: 1].",
        ),
        _devices(
            "--dp",
            type=int,
            metavar="N",
            help="Replicas that divide the load and share nothing [default: 1].",
        ),
        _devices(
            "--node-bandwidth",
            "node_bandwidth_bytes_per_s",
            type=float,
            metavar="BYTES/S",
            help="What each device sends to another link domain, one direction [default: 50e9, a 400 Gb/s "
            "port].",
        ),
    )(function)


def _engine_and_steps(*, many_files: bool) -> Callable[[F], F]:
    more = " Repeat it to compare." if many_files else ""
    return together(
        _serving(
            "--engine",
            metavar="NAME[@VERSION]",
            help="What serves, such as vllm@0.19.0: it decides kernels, steps, first tokens and memory. "
            "Without a version it is the newest known one, and memory has wider intervals.",
        ),
        _serving(
            "--memory-utilization",
            type=float,
            metavar="SHARE",
            help="Share of a device that the engine may use [default: the engine's own].",
        ),
        _serving(
            "--eager",
            is_flag=True,
            default=None,
            help="The host launches each kernel of a decode step (vLLM's --enforce-eager) instead of "
            "replaying captured graphs.",
        ),
        _serving(
            "--attention",
            type=_choice(("fused", "unfused")),
            help="fused: scores stay on the chip (FlashAttention); unfused: they go through memory "
            "[default: fused].",
        ),
        _serving(
            "--chunk-tokens",
            type=int,
            metavar="N",
            help="Chunked prefill: steps of at most N prompt tokens [default: all prompts in one step].",
        ),
        _serving(
            "--prefix-hit-rate",
            type=float,
            metavar="SHARE",
            help="Share of each prompt whose keys and values are cached already [default: 0].",
        ),
        _serving(
            "--kv-keep-ratio",
            type=float,
            metavar="SHARE",
            help="KV eviction: share of a sequence's keys that decode still holds and reads [default: 1].",
        ),
        _serving(
            "--kv-window",
            type=int,
            metavar="N",
            help="Most keys of a sequence that decode holds and reads, the first and the last ones, in every "
            "layer [default: all].",
        ),
        _serving(
            "--from-command",
            "launch_command",
            metavar="'COMMAND'",
            help="Today's launch command of vLLM, TensorRT-LLM, SGLang or llama.cpp, quoted: it states the "
            "deployment; options given beside it win.",
        ),
        _serving(
            "--deployment",
            "deployment_files" if many_files else "deployment_file",
            multiple=many_files,
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            metavar="FILE",
            help="JSON or TOML file with the deployment's options as keys, or an answer's JSON; options "
            f"given here win.{more}",
        ),
    )


def _speculation(function: F) -> F:
    return together(
        _draft(
            "--draft",
            metavar="ngram|heads|MODEL",
            help="What drafts tokens: a lookup in the text, one extra layer per token (EAGLE, multi-token "
            "prediction), or a small model of the same vocabulary.",
        ),
        _draft("--draft-tokens", type=int, metavar="N", help="Tokens that are drafted for one step."),
        _draft(
            "--draft-weights",
            type=_choice(STORAGE_DTYPES),
            help="Storage format of a drafting model's weights [default: its checkpoint's].",
        ),
        _draft(
            "--acceptance-rate",
            type=float,
            metavar="SHARE",
            help="Chance that a drafted token is kept when those before it were [default: published ones, "
            "0.65 for a model, 0.85 for heads; ngram has none].",
        ),
    )(function)


def _offload_and_sparsity(function: F) -> F:
    return together(
        _savings(
            "--offload-weights",
            type=float,
            metavar="SHARE",
            help="Share of the layers' weights in the host's memory, read over its link [default: 0].",
        ),
        _savings(
            "--offload-kv",
            type=float,
            metavar="SHARE",
            help="Share of the KV cache in the host's memory [default: 0].",
        ),
        _savings(
            "--host-bandwidth",
            "host_bandwidth_bytes_per_s",
            type=float,
            metavar="BYTES/S",
            help="The link to the host, one direction [default: 25e9, PCIe 4.0 x16].",
        ),
        _savings(
            "--sparse-weights",
            is_flag=True,
            default=None,
            help="2:4 sparsity: two of each four weights are zero, and skipped.",
        ),
        _savings(
            "--skip-layers",
            type=float,
            metavar="SHARE",
            help="Share of the layers that tokens skip, such as by early exit [default: 0].",
        ),
        _savings(
            "--expert-spread",
            type=float,
            metavar="X",
            help="How unevenly the router picks experts: the coefficient of variation of their popularity "
            "[default: 0, balanced].",
        ),
    )(function)


def device(function: F) -> F:
    """The option that replaces figures of the device."""
    return _device(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Replace a figure of the device for this question; repeatable. Keys: bandwidth_bytes_per_s, "
        "memory_bytes, usable_memory_bytes, clock_hz, price_usd_per_hour, peaks.<dtype>.",
    )(function)


def assumptions(function: F) -> F:
    """What techniques have to assume about traffic."""
    return together(
        click.option(
            "--assume",
            "assumed",
            cls=SectionOption,
            section="Assumptions",
            multiple=True,
            metavar="FIGURE=VALUE",
            help="A figure of your traffic that a technique's gain rests on; repeatable. Figures: "
            "prefix_hit_rate, draft_model_acceptance_rate, heads_acceptance_rate, mtp_acceptance_rate, "
            "ngram_acceptance_rate, kv_keep_ratio, skipped_layer_share, kv_window.",
        ),
        click.option(
            "--draft-model",
            cls=SectionOption,
            section="Assumptions",
            metavar="MODEL",
            help="The model that would draft [default: the catalog's smallest of MODEL's family and "
            "vocabulary].",
        ),
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


SECURITY = "ridgeline.security"
"""Where click's context keeps what the options below say, for whoever connects: no command passes it on."""


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value is not None:
        context.meta.setdefault(SECURITY, {})[parameter.name] = value


_security = partial(_connection, expose_value=False, callback=_keep)


def connection(function: F) -> F:
    """The options that say whom to ask, and how the way there is secured.

    There is none for a token itself: whoever lists the machine's processes would read it.
    """
    return together(
        _connection(
            "--server",
            metavar="HOST:PORT",
            help="Ask this server [default: RIDGELINE_SERVER; else run in this process].",
        ),
        _connection(
            "--timeout",
            type=float,
            metavar="SECONDS",
            help="How long to wait for a server's answer [default: 30; 300 where it is about many rows].",
        ),
        _security(
            "--token-file",
            metavar="FILE",
            help="Show the token in FILE [default: RIDGELINE_TOKEN, RIDGELINE_TOKEN_FILE].",
        ),
        _security(
            "--tls", is_flag=True, default=None, help="Encrypt [default: RIDGELINE_TLS, or with a CA]."
        ),
        _security(
            "--tls-ca",
            "ca",
            metavar="FILE",
            help="Encrypt; the server's certificate is from this CA, in PEM [default: RIDGELINE_TLS_CA].",
        ),
        _security(
            "--client-certificate",
            "certificate",
            metavar="FILE",
            help="Show this certificate, in PEM [default: RIDGELINE_CLIENT_CERTIFICATE].",
        ),
        _security(
            "--client-key",
            "key",
            metavar="FILE",
            help="The key of that certificate, in PEM [default: RIDGELINE_CLIENT_KEY].",
        ),
    )(function)
