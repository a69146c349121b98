"""Nodes in order, each by its operator, for one sample at a time; `torch.vmap` makes batches of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from convsv_cli.differentiable.operators import OPERATORS
from convsv_cli.differentiable.values import UndifferentiableError, Values
from convsv_cli.graph import Graph, Node, UnknownValueError

__all__ = ["UndifferentiableError", "differentiable"]
Function = Callable[[torch.Tensor], torch.Tensor]
MOST = 2**26
"""Entries of all tensors of one sample together; more would not fit into memory in batches."""


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
            _apply(node, tensors, graph.opset)
        return tensors[output][0]

    _rehearse(graph, source, nodes, constants)
    return torch.vmap(single)


def _apply(node: Node, tensors: dict[str, torch.Tensor], opset: int) -> int:
    """Add what the node makes to the tensors; how many entries that has."""
    inputs = tuple(tensors[name] if name else None for name in node.inputs)
    found = OPERATORS[node.op](Values(node=node, inputs=inputs, opset=opset))
    made = found if isinstance(found, tuple) else (found,)
    tensors.update(zip(node.outputs, made, strict=False))
    return sum(each.numel() for each in made)


def _constants(graph: Graph, nodes: tuple[Node, ...]) -> dict[str, torch.Tensor]:
    names = {name for node in nodes for name in node.inputs if name in graph.constants}
    try:
        values = {name: np.array(graph.constants[name]()) for name in sorted(names)}
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
) -> None:
    """Go through the nodes with tensors that have no entries, so that none is too large later."""
    shape = graph.shapes.get(source) or ()
    tensors = {name: _weightless(value) for name, value in constants.items()}
    tensors[source] = torch.empty([size or 1 for size in shape], device="meta")
    entries = 0
    for node in nodes:
        try:
            entries += _apply(node, tensors, graph.opset)
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise UndifferentiableError(f"{node.op} is not understood: {reason}") from error
        if entries > MOST:
            raise UndifferentiableError(f"it has more than {MOST:,} intermediate values")


def _weightless(value: torch.Tensor) -> torch.Tensor:
    """Single numbers, and those that shapes depend on, stay; weights do not."""
    return value.to("meta") if value.is_floating_point() and value.ndim else value
