"""Networks that are quantised: what they differ by from ones with no steps, and what two of their outputs do.

A quantiser followed by its dequantiser is y = s (clip(round(x / s) + z, low, high) - z), with a scale s and a
zero point z: it jumps, and has no Lipschitz constant. But y = c(x) + e(x), where c clips x to the range of y
and is non-expansive, and no entry of e is above s / 2: s round(x / s) is so close to x, and clipping both
brings them no further apart. Now let the errors be inputs of the network as well. With L its bound where they
are held, and L_i that from the error i to the outputs where all else is held,

    |f(x) - f(y)| <= L |x - y| + sum_i L_i |e_i(x) - e_i(y)| <= L |x - y| + sum_i L_i s_i sqrt(n_i)

with n_i the entries of the tensor, by moving from the values of one run to those of the other in turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from convsv_cli import limits
from convsv_cli.limits import LimitError
from convsv_cli.lipschitz.dependencies import sources
from convsv_cli.lipschitz.ends import only
from convsv_cli.lipschitz.pairs import because
from convsv_cli.lipschitz.segments import Composed
from convsv_cli.model.graph import Constant, Graph, Names, Node, UnknownValueError
from convsv_cli.numerics.intervals import Range
from convsv_cli.numerics.rounding import UP, UP_MANY, times, total
from convsv_cli.report import NetworkBound, Quantised

BITS = {f"{sign}int{bits}": (bits, not sign) for sign in ("", "u") for bits in (4, 8, 16)}
"""Bits of the types whose steps are all alike, and whether they are signed."""
BEYOND = "it is beyond 1e308"
VISIT = 4 * limits.OBJECT
"""Steps of bounding one node."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Smooth:
    """A network without steps.

    Attributes:
        graph: with a Clip and an Add in place of each quantiser and its dequantisers.
        errors: the inputs that are added, each with what the norm of its difference is at most.
    """

    graph: Graph
    errors: Mapping[str, float]


def smooth(graph: Graph) -> Smooth:
    """The network in whose graph errors stand for the steps of quantisers, as far as these are known.

    Args:
        graph: at one input size.
    """
    return _Smoothing(graph).result()


def steps(
    graph: Graph,
    bound: Callable[[Graph], NetworkBound],
    simplify: Callable[[Graph], Graph],
    compose: Callable[[Graph], Composed],
) -> Quantised | None:
    """What is proven of a network that rounds; None for another one.

    Args:
        graph: at one input size.
        bound: of a graph, from all of its inputs to all of its outputs.
        simplify: makes a graph one that has smaller bounds, with the same inputs.
        compose: bounds the pieces of that by rules.
    """
    found = smooth(graph)
    if not found.errors:
        return None
    none = Quantised(lipschitz=math.inf, added=math.inf, quantisers=len(found.errors))
    try:
        limits.spend(VISIT * len(found.errors) * len(graph.main.nodes), "bounding quantisers", share=0.5)
    except LimitError as error:
        return replace(none, reason=str(error))
    whole = bound(only(found.graph, *sources(graph)))
    if not math.isfinite(whole.lipschitz):
        return replace(none, reason=whole.reason or because(whole.obstacles) or BEYOND)
    simple = simplify(found.graph)
    free = replace(simple, ranges=compose(simple).ranges)
    factors = {name: [each.factor for each in compose(only(free, name)).segments] for name in found.errors}
    added = total(times(*factors[name], most, UP) for name, most in found.errors.items())
    if not math.isfinite(added):
        return replace(none, reason=BEYOND)
    return replace(none, lipschitz=whole.lipschitz, added=added)


class _Smoothing:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._names = Names({*graph.inputs, *graph.shapes, *graph.constants, *graph.makers})
        self._constants, self._shapes = dict(graph.constants), dict(graph.shapes)
        self._dtypes, self._ranges = dict(graph.dtypes), dict(graph.ranges)
        self._errors: dict[str, float] = {}
        bodies = [body for body in graph.main.all_bodies() if body is not graph.main]
        self._inside = {name for body in bodies for name in body.outputs}
        self._inside.update(name for body in bodies for node in body.nodes for name in node.inputs)

    def result(self) -> Smooth:
        nodes: list[Node] = []
        results: dict[str, str] = {}
        for node in self._graph.main.nodes:
            if node.op == "DequantizeLinear" and node.inputs[0] in results:
                nodes.append(replace(node, op="Identity", inputs=(results[node.inputs[0]],), attributes={}))
                continue
            made = self._quantiser(node) if node.op == "QuantizeLinear" else None
            if made is not None:
                results[node.outputs[0]] = made[-1].outputs[0]
            nodes.extend((node,) if made is None else made)
        graph = replace(
            self._graph,
            main=replace(self._graph.main, nodes=tuple(nodes)),
            inputs=(*self._graph.inputs, *self._errors),
            constants=self._constants,
            shapes=self._shapes,
            dtypes=self._dtypes,
            ranges=self._ranges,
        )
        return Smooth(graph=graph, errors=self._errors)

    def _quantiser(self, node: Node) -> tuple[Node, Node] | None:
        """The Clip and the Add that stand for it; None where it has another form."""
        source, result = node.inputs[0], node.outputs[0]
        grid, sizes = self._grid(node), self._graph.shapes.get(source)
        users = self._graph.users.get(result, ())
        kept = result in self._graph.main.outputs or result in self._inside or not users
        if grid is None or sizes is None or None in sizes or kept or source in self._graph.constants:
            return None
        if any(user.op != "DequantizeLinear" or self._grid(user) != grid for user in users):
            return None
        scale, low, high = grid
        clipped, error, total = (self._names.new(f"{result}.{kind}") for kind in ("clip", "error", "sum"))
        for name in (clipped, error, total):
            self._shapes[name], self._dtypes[name] = sizes, "float"
        self._ranges[error] = Range(lower=-scale / 2, upper=scale / 2)
        self._errors[error] = scale * math.sqrt(math.prod(size or 0 for size in sizes)) * UP_MANY
        ends = tuple(
            self._number(f"{result}.{kind}", value) for kind, value in (("low", low), ("high", high))
        )
        return (
            Node(op="Clip", name=node.name, inputs=(source, *ends), outputs=(clipped,)),
            Node(op="Add", name=error, inputs=(clipped, error), outputs=(total,)),
        )

    def _grid(self, node: Node) -> tuple[float, float, float] | None:
        """The scale, and the least and the largest result, of a quantiser or dequantiser of one step."""
        kind = self._graph.dtypes.get(node.outputs[0] if node.op == "QuantizeLinear" else node.inputs[0], "")
        scale = self._value(node, 1)
        zero = self._value(node, 2) if any(node.inputs[2:3]) else 0.0
        if kind not in BITS or scale is None or zero is None or not 0 < scale < math.inf:
            return None
        bits, signed = BITS[kind]
        least = -(2 ** (bits - 1)) if signed else 0
        return scale, scale * (least - zero), scale * (least + 2**bits - 1 - zero)

    def _value(self, node: Node, index: int) -> float | None:
        """A constant of one number; None for others."""
        read = self._graph.reader(node.inputs[index]) if index < len(node.inputs) else None
        if (
            read is None
            or math.prod(size or 0 for size in self._graph.shapes.get(node.inputs[index], (0,))) != 1
        ):
            return None
        try:
            return float(read().reshape(-1)[0])
        except (UnknownValueError, TypeError, ValueError):
            return None

    def _number(self, like: str, value: float) -> str:
        name, values = self._names.new(like), np.array(value)
        constant = Constant(name=name, shape=(), dtype="float64", identity=name, read=lambda: values)
        self._constants[name] = lambda: constant
        self._shapes[name], self._dtypes[name] = (), "double"
        return name
