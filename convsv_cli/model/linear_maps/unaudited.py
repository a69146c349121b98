"""Operators with weights that are no linear maps, or none that convsv knows, and why not."""

from __future__ import annotations

import math
from collections.abc import Callable

from convsv_cli.model.layer import LOOK_UP
from convsv_cli.model.linear_map import Maps, Site

DEFORMABLE = "a deformable convolution: its taps depend on the input"
FOREIGN = "an operator of the domain {domain!r}, which convsv does not know"


def gather(site: Site) -> Maps:
    """A look-up in a constant table of floats, by indices that vary."""
    table = site.computed(0)
    if table is None or site.name(1) in site.graph.constants:
        return
    if len(table.shape) >= 2 and table.dtype.startswith(("float", "bfloat")):
        yield site.unsupported(LOOK_UP, table, applicable=False)


def unknown(reason: str) -> Callable[[Site], Maps]:
    """The rule of an operator that convsv cannot audit, but only where it has weights."""

    def rule(site: Site) -> Maps:
        constants = [site.computed(index) for index in range(len(site.node.inputs))]
        weights = [c for c in constants if c is not None and sum(size > 1 for size in c.shape) >= 2]
        if weights:
            yield site.unsupported(reason, max(weights, key=lambda c: math.prod(c.shape)))

    return rule


def foreign(site: Site) -> Maps:
    """Of a domain other than ONNX's own."""
    return unknown(FOREIGN.format(domain=site.node.op.rpartition(".")[0]))(site)


RULES = {**dict.fromkeys(("Gather", "GatherElements", "GatherND"), gather), "DeformConv": unknown(DEFORMABLE)}
