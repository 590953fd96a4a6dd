"""Product lines: devices of one class, each faster than the one before it."""

from __future__ import annotations

from itertools import pairwise

PRODUCT_LINES: tuple[tuple[str, ...], ...] = (
    ("v100-sxm2-32gb", "a100-sxm-80gb", "h100-sxm", "h200-sxm", "b200-sxm", "b300-sxm", "rubin-sxm"),
    ("v100-pcie-32gb", "a100-pcie-80gb", "h100-pcie", "h100-nvl", "h200-nvl"),
    ("p4", "t4", "l4"),
    ("a40", "l40", "l40s"),
    ("rtx-2060", "rtx-3060-12gb", "rtx-4060", "rtx-5060"),
    ("rtx-3060-ti", "rtx-4060-ti-8gb", "rtx-5060-ti-8gb"),
    ("rtx-2070", "rtx-3070", "rtx-4070", "rtx-5070"),
    ("rtx-3070-ti", "rtx-4070-ti", "rtx-5070-ti"),
    ("rtx-2080", "rtx-3080-10gb", "rtx-4080", "rtx-5080"),
    ("rtx-2080-ti", "rtx-3090", "rtx-4090", "rtx-5090"),
    ("quadro-rtx-4000", "rtx-a4000", "rtx-4000-ada", "rtx-pro-4000-blackwell"),
    ("rtx-a4500", "rtx-4500-ada", "rtx-pro-4500-blackwell"),
    ("quadro-rtx-5000", "rtx-a5000", "rtx-5000-ada", "rtx-pro-5000-blackwell"),
    ("quadro-rtx-6000", "rtx-a6000", "rtx-6000-ada", "rtx-pro-6000-blackwell"),
    ("jetson-agx-xavier-32gb", "jetson-agx-orin-64gb", "jetson-agx-thor-t5000"),
    ("mi60", "mi100", "mi210"),
    ("mi250x", "mi300x", "mi325x", "mi355x", "mi455x"),
    ("rx-6900-xt", "rx-7900-xtx"),
    ("gaudi2", "gaudi3"),
    ("trainium1", "trainium2", "trainium3"),
    ("tpu-v3", "tpu-v4", "tpu-v5p", "tpu-v7x"),
    ("tpu-v5e", "tpu-v6e"),
    ("apple-m1", "apple-m2", "apple-m3", "apple-m4"),
    ("apple-m1-pro", "apple-m2-pro", "apple-m3-pro", "apple-m4-pro"),
    ("apple-m1-max", "apple-m2-max", "apple-m3-max", "apple-m4-max", "apple-m5-max"),
    ("apple-m1-ultra", "apple-m2-ultra", "apple-m3-ultra"),
    ("ascend-910b2", "ascend-910c"),
    ("xeon-8480p", "xeon-8592p", "xeon-6980p"),
    ("epyc-9654", "epyc-9755"),
    ("graviton3", "graviton4"),
    ("ampere-altra-q80-30", "ampereone-a192-32x"),
)
"""Ids of the catalog, the older device first."""

PREDECESSOR: dict[str, str] = {newer: older for line in PRODUCT_LINES for older, newer in pairwise(line)}
