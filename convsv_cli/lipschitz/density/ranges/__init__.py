"""What entries of tensors are known to be in, channel by channel: one rule per operator, by families.

The rules of numbers (`lipschitz.rules`) know one interval for a whole tensor. Here an interval is a pair of
arrays that are broadcast to the tensor's shape, so that each channel has its own, or each entry behind a
Flatten. What has no rule here is known as the rules of numbers know it. Rounded outward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np

from convsv_cli.limits import LimitError
from convsv_cli.lipschitz.density.ranges import elementwise, linear, movement, pooling
from convsv_cli.lipschitz.density.ranges.entries import MOST_AXES, Entries
from convsv_cli.lipschitz.dependencies import relevant
from convsv_cli.lipschitz.operation import MALFORMED, UnboundedError
from convsv_cli.model.graph import Graph, Node, UnknownValueError
from convsv_cli.numerics.intervals import Intervals, Range

FAMILIES = (elementwise, linear, movement, pooling)
ROWS: Mapping[str, Callable[[Node, Entries], tuple[Intervals, ...]]] = {
    op: row for family in FAMILIES for op, row in family.ROWS.items()
}

Ranges = Mapping[str, Intervals]
"""By tensor: arrays with as many axes as it has, each of its length or 1."""


def ranges_of(graph: Graph, inputs: Ranges, known: Mapping[str, Range]) -> Ranges:
    """What the entries of all tensors between the inputs and the outputs are in, as far as steps suffice.

    Args:
        graph: at one input size.
        inputs: of the inputs, as far as anything is known of them.
        known: what the rules of numbers say of tensors, for all their entries.
    """
    entries = Entries(graph, known)
    with np.errstate(all="ignore"), suppress(LimitError):
        for name, found in inputs.items():
            entries.add(name, found)
        for node in relevant(graph):
            row = ROWS.get(node.op)
            if row is None or node.bodies:
                continue
            try:
                results = row(node, entries)
            except (UnboundedError, UnknownValueError, *MALFORMED):
                continue
            for name, found in zip(node.outputs, results, strict=False):
                entries.add(name, found)
    return entries.found


def hulls(ranges: Ranges) -> Mapping[str, Range]:
    """What all entries of each tensor are in.

    Args:
        ranges: of tensors, channel by channel.
    """
    return {
        name: Range(lower=float(each.lower.min()), upper=float(each.upper.max()))
        for name, each in ranges.items()
        if each.lower.size
    }


def alike(graph: Graph, inputs: Range) -> Ranges:
    """One range for all entries of each input whose number of axes is known and not too large.

    Args:
        graph: whose inputs they are.
        inputs: the range, unless the graph knows another.
    """
    found = {}
    for name in graph.inputs:
        over, rank = graph.ranges.get(name, inputs), len(graph.shapes.get(name, (None,) * (MOST_AXES + 1)))
        if rank <= MOST_AXES:
            found[name] = Intervals(np.full((1,) * rank, over.lower), np.full((1,) * rank, over.upper))
    return found
