"""Rows outside of the layers: embedding, final norm, lm_head, and what pipeline stages hand on."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from ridgeline_server.domain.model import Model
from ridgeline_server.domain.tensors import ModuleClass, TensorKind
from ridgeline_server.roofline.operators.layer import Placement, product_counts
from ridgeline_server.roofline.operators.rows import Collective, Quantity, Row, Terms, Work, norm_terms
from ridgeline_server.roofline.operators.variables import ONE, POSITIONS, TOKENS


def _outer(
    name: str,
    terms: Terms,
    work: Work = Work.ELEMENTWISE,
    module: ModuleClass = ModuleClass.NORM,
    *,
    count: float = 1.0,
    collective: Collective | None = None,
    ranks: int = 1,
    depth: float = 0.0,
) -> Row:
    return Row(name, "", count, terms, work, module, collective, ranks, in_layers=False, depth=depth)


def input_rows(model: Model, placement: Placement) -> Iterator[Row]:
    """The embedding, summed over devices that each hold a share of the vocabulary, and its norm. Rows of
    further tables are added: positions to the embedding, what each layer has of its own to a projection of
    it.
    """
    hidden, tp = model.hidden_size, placement.parallel.tp
    widths = {t.operator: float(t.shape[1]) for t in model.tensors if t.kind is TensorKind.TABLE}
    gathered, embedded = sum(widths.values()), hidden + widths.get("per_layer_embedding", 0.0)
    yield _outer(
        "embedding",
        {
            Quantity.WEIGHTS: {TOKENS: gathered},
            Quantity.OUT_WIDE: {TOKENS: embedded},
            Quantity.FLOPS: {TOKENS: gathered - widths["embedding"]},
        },
        module=ModuleClass.EMBEDDING,
    )
    if tp > 1:
        yield _outer(
            "all_reduce",
            {Quantity.MESSAGE_WIDE: {TOKENS: embedded}},
            Work.COLLECTIVE,
            collective=Collective.ALL_REDUCE,
            ranks=tp,
        )
    if any(t.operator == "embedding_norm" for t in model.tensors):
        yield _outer("embedding_norm", norm_terms(hidden, Quantity.OUT_WIDE))


def head_rows(model: Model, placement: Placement) -> Iterator[Row]:
    """What follows the last layer, logits at the step's positions alone; and what pipeline stages send."""
    hidden, parallel = model.hidden_size, placement.parallel
    if parallel.pp > 1:
        yield _outer(
            "point_to_point",
            {Quantity.MESSAGE_WIDE: {TOKENS: float(hidden * model.residual_streams)}},
            Work.COLLECTIVE,
            count=parallel.pp - 1,
            collective=Collective.POINT_TO_POINT,
            ranks=2 * parallel.stage_devices,
        )
    for tensor in model.tensors:
        if tensor.kind is TensorKind.MATRIX and tensor.operator != "lm_head":
            rows, columns = tensor.shape
            terms: Terms = {
                Quantity.FLOPS: {TOKENS: 2.0 * rows * columns},
                Quantity.WEIGHTS: {ONE: float(rows * columns)},
                Quantity.IN_GEMM: {TOKENS: float(columns)},
                Quantity.OUT_WIDE: {TOKENS: float(rows)},
            }
            terms |= product_counts(float(columns))
            yield _outer(tensor.operator, terms, Work.GEMM, tensor.module, depth=float(columns))
    yield _outer("final_norm", norm_terms(hidden, Quantity.OUT_WIDE))
    head = next(t for t in model.tensors if t.operator == "lm_head" and t.kind is TensorKind.MATRIX)
    vocab, width = ceil(head.shape[0] / parallel.tp), head.shape[1]
    yield _outer(
        "lm_head",
        {
            Quantity.FLOPS: {POSITIONS: 2.0 * vocab * width},
            Quantity.WEIGHTS: {ONE: float(vocab * width)},
            Quantity.IN_WIDE: {POSITIONS: float(width)},
            Quantity.OUT_WIDE: {POSITIONS: float(vocab)},
            **product_counts(float(width), POSITIONS),
        },
        Work.GEMM,
        ModuleClass.LM_HEAD,
        depth=float(width),
    )
    if parallel.tp > 1:
        yield _outer(
            "all_gather",
            {Quantity.MESSAGE_WIDE: {POSITIONS: float(vocab * parallel.tp)}},
            Work.COLLECTIVE,
            collective=Collective.ALL_GATHER,
            ranks=parallel.tp,
        )
