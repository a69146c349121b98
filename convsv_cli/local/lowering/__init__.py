"""The steps of a graph's nodes: one rule per operator, by families."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convsv_cli.lipschitz.collapse import collapsed
from convsv_cli.lipschitz.dependencies import needs, real_outputs, relevant, sources
from convsv_cli.lipschitz.norms import Norms
from convsv_cli.lipschitz.operation import MALFORMED
from convsv_cli.local.lowering import arithmetic, axes, elementwise, linear, movement, pooling
from convsv_cli.local.lowering.context import MOST, Lowering, Table
from convsv_cli.local.steps import NoLocalCertificateError, Program
from convsv_cli.model.graph import Graph, Node

FAMILIES = (arithmetic, axes, elementwise, linear, movement, pooling)
ROWS: Table = {op: lower for family in FAMILIES for op, lower in family.ROWS.items()}
SEVERAL = "no local certificate, because the network has {} inputs and {} outputs, not one of each"
BECAUSE = "no local certificate, because {op} {name!r} is in the way: {reason}"


def lowered(graph: Graph, norms: Norms) -> Program:
    """The steps from the graph's one real input to its one real output.

    Functions of one number that an exporter has taken apart are put together where that is needed.

    Args:
        graph: at the size of one sample: its axis for the batch has length 1.
        norms: certified, of its linear maps.

    Raises:
        NoLocalCertificateError: some node has no rule.
    """
    inputs, outputs = sources(graph), real_outputs(graph)
    if len(inputs) != 1 or len(outputs) != 1:
        raise NoLocalCertificateError(SEVERAL.format(len(inputs), len(outputs)))
    try:
        return _lowered(graph, norms, inputs[0], outputs[0])
    except NoLocalCertificateError:
        return _lowered(collapsed(graph), norms, inputs[0], outputs[0])


def _lowered(graph: Graph, norms: Norms, source: str, output: str) -> Program:
    to = Lowering(graph, norms, source)
    for node in relevant(graph):
        _lower(node, to)
    return to.program(output)


def unknown(_node: Node, _to: Lowering) -> None:
    """Any other operator."""
    raise NoLocalCertificateError("there are no linear bounds of this operator")


def _lower(node: Node, to: Lowering) -> None:
    if not any(to.varies(name) for name in needs(node)):
        return
    try:
        _check_sizes(node, to)
        ROWS.get(node.op, unknown)(node, to)
    except NoLocalCertificateError as error:
        raise NoLocalCertificateError(BECAUSE.format(op=node.op, name=node.name, reason=error)) from error
    except MALFORMED as error:
        reason = "its attributes, inputs and shapes do not fit together"
        raise NoLocalCertificateError(BECAUSE.format(op=node.op, name=node.name, reason=reason)) from error


def _check_sizes(node: Node, to: Lowering) -> None:
    """Before anything of it is in memory; a window may be padded to far more than it gives."""
    pads: Sequence[int] = node.attribute("pads", ())
    windows = math.prod(node.attribute("kernel_shape", ())) if node.op.endswith("Pool") else 1
    if any(to.graph.shapes.get(name) == () for name in node.outputs):
        raise NoLocalCertificateError("it makes a number without axes")
    for name in (*node.inputs[:1], *node.outputs):
        sizes = [1 if size is None else size for size in to.graph.shapes.get(name, ())]
        if min(sizes, default=1) < 1:
            raise NoLocalCertificateError("it is of tensors without entries")
        padded = sizes[:2] + [size + sum(pads[axis :: len(sizes) - 2]) for axis, size in enumerate(sizes[2:])]
        if math.prod(padded) * windows > MOST:
            raise NoLocalCertificateError(f"it makes more than {MOST:,} entries of one sample")
