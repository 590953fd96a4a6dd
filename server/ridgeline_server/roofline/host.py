"""The host's part of a decode step: how long it takes to launch the step's kernels one by one.

A device runs one kernel while the host launches the next ones, so that the slower of the two sets the pace:
the device works on, or waits for the host. A captured graph is launched in one go.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.efficiency import Estimate
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.table import OperatorTable
from ridgeline_server.roofline.scenario import Scenario

Array = NDArray[np.float64]

HOST_LAUNCH_S = Estimate(31e-6, 19e-6, 88e-6)
"""The host's time for a launch of an engine that runs in Python, the engine's own work around it included:
what published steps without graphs leave for each kernel as operator tables count them, if all of it is the
host's. GPT-2 at batch 1 on an H200: 41 us under SGLang and 40 us under vLLM (deepspeedai/DeepSpeed pull
request 8352, 205.1 and 207.7 tokens/s, less some 0.8 ms that a step takes otherwise). Llama-3-8B under
SGLang: 28 and 32 us with two kernels of attention (sgl-project/sglang pull request 1401, 8.23 and 9.28 ms).
Qwen3-0.6B under SGLang on an RTX 5090: 19 us, the low end (sgl-project/sglang pull request 40346, 5.44 ms).
Qwen2.5-Omni-7B's language model under vLLM on an A800: 88 us, the high end (vllm-project/vllm-omni issue
7960, 22 to 23 ms). The hosts' processors and the engines' Python make the difference. The value is the
geometric mean of the first five.
"""


def kernels_of_step(table: OperatorTable) -> float:
    """How many kernels a step launches on one device."""
    return float(table.count @ table.launches)


def launching_s(
    table: OperatorTable, scenarios: Sequence[Scenario], stage: Stage, runs: Array
) -> Array | None:
    """Seconds that the host takes to launch a step of S scenarios with so many `runs` of a table's rows, of
    shape (S, R): shape (S, 1), 0 where a graph is launched; None where it is everywhere. A prefill is
    launched kernel by kernel either way, which its measured launches tell.
    """
    if stage is Stage.PREFILL or not any(scenario.deployment.eager for scenario in scenarios):
        return None
    eager = np.array([float(scenario.deployment.eager) for scenario in scenarios])
    # A product of matrices would add up in another order for one scenario than for several.
    seconds: Array = eager * (runs * table.launches).sum(axis=1) * HOST_LAUNCH_S.value
    return seconds[:, None]
