"""A probe as JSON and back, so that one process measures and another one uses it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.probe.case import Operation
from ridgeline_server.probe.machine import Gpu, Processor
from ridgeline_server.probe.report import Probe, Skipped, Timing

PROGRESS = "probing "
"""How a line of progress on stderr begins; `done/count label` follows."""


def to_json(probe: Probe) -> str:
    """The probe's fields by their names."""
    return json.dumps(asdict(probe))


def from_json(text: str) -> Probe:
    """The probe that `to_json` wrote. Raises ValueError where the text is not one."""
    try:
        return _probe(json.loads(text))
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is no probe of this version: {error!r}") from error


def _probe(fields: dict[str, Any]) -> Probe:
    processor = fields["processor"]
    return Probe(
        **{
            **fields,
            "processor": Processor(**{**processor, "instruction_sets": tuple(processor["instruction_sets"])}),
            "gpu": None if fields["gpu"] is None else Gpu(**fields["gpu"]),
            "libraries": tuple(fields["libraries"]),
            "timings": tuple(
                Timing(**{**t, "operation": Operation(t["operation"]), "dtype": Dtype(t["dtype"])})
                for t in fields["timings"]
            ),
            "skipped": tuple(Skipped(**s) for s in fields["skipped"]),
        }
    )
