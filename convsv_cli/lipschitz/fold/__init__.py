"""Exact folding of linear pieces: the same function, by fewer operations, so that fewer norms are multiplied.

The product of two norms is at least the norm of the product, so that no bound becomes larger. Nothing is
to be done for a global average pool, Flatten and a matrix: the pool is 1/sqrt(n) times a map that keeps the
length of all images whose channels are constant, and those are all that the matrix sees, so that the product
of both norms is already the norm of both together.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from convsv_cli.lipschitz.fold.merges import after, before, matrices, pointwise
from convsv_cli.lipschitz.fold.rewrite import rewritten, without_identities
from convsv_cli.model.graph import Graph

MERGES = (after, before, pointwise, matrices)
"""In this order: a BatchNorm between two maps goes to the first one, which takes its shift too."""
VERBS = {"BatchNorm": "folded", "scaling": "folded", "1×1 convolution": "merged", "matrix": "merged"}
PLURALS = {"matrix": "matrices"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Folding:
    """A graph of the same function, and what was done, in words such as "19 BatchNorms folded"."""

    graph: Graph
    notes: tuple[str, ...]


def folded(graph: Graph) -> Folding:
    """Fold identities, then all that the merges find, until they find nothing.

    Only tensors that one node uses are folded away; outputs of the graph and what bodies use stay. A node
    whose weight changes keeps its name.
    """
    graph = without_identities(graph)
    kinds: Counter[str] = Counter()
    found = True
    while found:
        found = False
        for merge in MERGES:
            graph, times, new = rewritten(graph, merge)
            kinds.update(new)
            found = found or times > 0
    return Folding(graph=graph, notes=tuple(_note(kind, kinds[kind]) for kind in VERBS if kinds[kind]))


def _note(kind: str, count: int) -> str:
    plural = PLURALS.get(kind, f"{kind}s")
    return f"{count} {kind if count == 1 else plural} {VERBS[kind]}"
