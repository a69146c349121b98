"""A graph as a function of torch tensors, to have gradients by: for attacks, never for a proof.

Operators are torch's own; what they compute is held against the runtime's results before it is used. Nodes
are taken in order, for one sample at a time; `torch.vmap` makes batches of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from convsv_cli.differentiable import operators, windows
from convsv_cli.differentiable.operators import MOST, UndifferentiableError, Values
from convsv_cli.model.graph import Graph, Node, UnknownValueError

__all__ = ["Function", "UndifferentiableError", "differentiable"]
OPERATORS = {**operators.OPERATORS, **windows.OPERATORS}
TOGETHER = 2**27
"""Entries of all tensors of a batch together: with their gradients, 1 GB on every core."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Function:
    """Maps batches [n, ..] to batches, in float32.

    Attributes:
        entries: of all tensors of one sample together.
    """

    single: Callable[[torch.Tensor], torch.Tensor]
    entries: int

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        """The batch."""
        results: torch.Tensor = torch.vmap(self.single)(samples)
        return results

    def at_once(self, most: int) -> int:
        """How many samples, at most `most`, have room in memory."""
        return max(1, min(most, TOGETHER // max(1, self.entries)))


def differentiable(graph: Graph, *, source: str, nodes: tuple[Node, ...], output: str) -> Function:
    """A function of batches [n, ..] of the tensor `source`: the tensor `output` of each, in float32.

    Args:
        graph: at the size of one sample: its first axis is 1.
        source: the only input that varies.
        nodes: those between the two, in order.
        output: what is asked for.

    Raises:
        UndifferentiableError: an operator has no gradient here, or what it makes is too large.
    """
    missing = sorted({node.op for node in nodes if node.op not in OPERATORS})
    if missing:
        raise UndifferentiableError(f"convsv has no gradient of {', '.join(missing)}")
    constants = _constants(graph, nodes)

    def single(sample: torch.Tensor) -> torch.Tensor:
        tensors = {**constants, source: sample[None]}
        for node in nodes:
            _apply(node, tensors)
        return tensors[output][0]

    return Function(single=single, entries=_rehearse(graph, source, nodes, constants))


def _apply(node: Node, tensors: dict[str, torch.Tensor]) -> int:
    """Add what the node makes to the tensors; how many entries that has."""
    inputs = tuple(tensors[name] if name else None for name in node.inputs)
    found = OPERATORS[node.op](Values(node=node, inputs=inputs))
    made = found if isinstance(found, tuple) else (found,)
    tensors.update(zip(node.outputs, made, strict=False))
    return sum(each.numel() for each in made)


def _constants(graph: Graph, nodes: tuple[Node, ...]) -> dict[str, torch.Tensor]:
    names = {name for node in nodes for name in node.inputs if name in graph.constants}
    try:
        values = {name: np.array(graph.constants[name]().read()) for name in sorted(names)}
    except UnknownValueError as error:
        raise UndifferentiableError(f"one of its constants is {error}") from error
    odd = [value.dtype for value in values.values() if value.dtype.kind not in "fiub"]
    if odd:
        raise UndifferentiableError(f"one of its constants is of {odd[0]}")
    return {
        name: torch.from_numpy(value.astype(np.float32) if value.dtype.kind == "f" else value)
        for name, value in values.items()
    }


def _rehearse(
    graph: Graph, source: str, nodes: tuple[Node, ...], constants: Mapping[str, torch.Tensor]
) -> int:
    """Go through the nodes with tensors that have no entries, so that none is too large later: how many."""
    shape = graph.shapes.get(source) or ()
    tensors = {name: _weightless(value) for name, value in constants.items()}
    tensors[source] = torch.empty([size or 1 for size in shape], device="meta")
    entries = 0
    for node in nodes:
        try:
            entries += _apply(node, tensors)
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise UndifferentiableError(f"{node.op} is not understood: {reason}") from error
        if entries > MOST:
            raise UndifferentiableError(f"it has more than {MOST:,} intermediate values")
    return entries


def _weightless(value: torch.Tensor) -> torch.Tensor:
    """Single numbers, and those that shapes depend on, stay; weights do not."""
    return value.to("meta") if value.is_floating_point() and value.ndim else value
