"""`ridgeline analyze`: what limits a model on a device under a load."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ridgeline.cli import aliases, options, output, question, session
from ridgeline.cli.commands import SectionCommand

if TYPE_CHECKING:
    from ridgeline.v1.analysis_service_pb2 import AnalyzeResponse

CSV_COLUMNS = (
    "stage", "name", "layer_kind", "count", "flops", "bytes", "arithmetic_intensity", "bound",
    "ideal_time_us", "expected_time_us", "time_share", "compute_dtype", "attainable_flops_per_s",
    "message_bytes", "ridge_point",
)  # fmt: skip


@click.command(cls=SectionCommand)
@options.model_and_hardware
@options.load(input_len_required=True)
@options.deployment()
@options.device
@options.basis
@options.catalog_revision
@options.output
@options.connection
@click.pass_context
def analyze(ctx: click.Context, /, **given: Any) -> None:
    r"""Show what limits a model on a device.

    The answer has the latency, the memory, and every operator of prefill and decode, on one device or, with
    --tp and its like, on many. MODEL and HARDWARE are names of the catalog (`ridgeline models list`), or
    paths: of a config.json or its folder, and of a device file.

    \b
    Words:
      prefill, decode  the prompt in one pass; a step for each further token
      TTFT, TPOT       time to first token; mean time between output tokens
      FLOP/B           arithmetic intensity: operations per byte moved
      ridge point      the FLOP/B at which memory and arithmetic take equal time
      bound            what time is spent on: memory, compute, latency (launches),
                       communication (links between devices), or balanced:
                       memory and compute within 20%
      ridge batch      the batch from which the weight GEMMs are compute-bound
      flip             the nearest change after which another bound leads
      collective       what devices exchange: all_reduce, all_to_all,
                       point_to_point; its MB are those of one message
      KV pool          what is left of a device's memory for the KV cache
      ideal, expected  the datasheet roofline; the calibrated prediction

    \b
    Examples:
      ridgeline analyze llama-2-7b rtx-a6000 --input-len 2048 --output-len 128
      ridgeline analyze llama-2-7b rtx-a6000 --input-len 2048 --ideal
      ridgeline analyze ./config.json h100-sxm --batch 32 --input-len 4000 \
          --weights fp8 --activations fp8
      ridgeline analyze llama-2-7b rtx-a6000 --input-len 2048 -o json \
          --set bandwidth_bytes_per_s=1.5e12
      ridgeline analyze deepseek-v3 h200-sxm --tp 8 --ep 8 --concurrency 64 \
          --input-len 4000 --output-len 500 --engine vllm@0.19.0
      ridgeline analyze llama-3.1-70b-instruct h100-sxm --tp 4 --input-len 2000 \
          --draft llama-3.2-1b --draft-tokens 4

    Exit code 1 says that the deployment does not fit or misses an SLO that was given.
    """
    arguments = question.load(given) | question.deployment(given, given["deployment_file"])
    arguments |= question.circumstances(given)
    with session.client(given["server"], given["timeout"]) as client:
        response = client.analyze(given["model"], given["hardware"], **arguments)
        taken = ""
        if given["output"] == "table":
            taken = aliases.answered(
                client, given["hardware"], response.hardware_id, response.catalog_revision
            )
    if given["output"] == "json":
        output.write_json(response)
    elif given["output"] == "csv":
        output.write_csv(CSV_COLUMNS, rows(response))
    else:
        from ridgeline.cli import analyze_screen

        analyze_screen.show(response, taken, output.console())
    ctx.exit(session.NO if says_no(response) else session.ANSWER)


def says_no(response: AnalyzeResponse) -> bool:
    """Whether the deployment does not fit, or misses an SLO."""
    from ridgeline.v1 import common_pb2

    missed = any(notice.code == common_pb2.NOTICE_CODE_SLO_MISSED for notice in response.notices)
    return missed or not response.memory.fits


def rows(response: AnalyzeResponse) -> Iterator[dict[str, object]]:
    """One row for each operator of both stages, as in the JSON."""
    from ridgeline import jsonform
    from ridgeline.v1 import types_pb2

    for stage in response.stages:
        name = jsonform.enum_name(types_pb2.Stage.DESCRIPTOR, stage.stage)
        for operator in stage.operators:
            yield {"stage": name, **jsonform.to_dict(operator)}
