"""Graphs rewritten so that nothing rounds: the errors of quantisers become inputs, and codes real numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from convsv_cli.lipschitz.dependencies import consumed, wanted
from convsv_cli.lipschitz.operation import MALFORMED
from convsv_cli.lipschitz.quantised.grids import BITS, Code, Dynamic, Grid, Stored, grid_of
from convsv_cli.model.graph import Body, Constant, Graph, Names, Node, UnknownValueError
from convsv_cli.numerics.intervals import ANYTHING, Range
from convsv_cli.numerics.rounding import UP_MANY


@dataclass(frozen=True, kw_only=True)
class Error:
    """An input that stands for what a quantiser rounds off.

    Attributes:
        quantiser: the node.
        most: what the norm of a difference of two values is at most: of the error, or of the error over its
            scale where the input decides on that.
        dynamic: whether the input decides on the scale, which is in proportion to what it is added to.
    """

    quantiser: str
    most: float
    dynamic: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Smooth:
    """A network without steps.

    Attributes:
        graph: without what only its steps needed.
        errors: the inputs that are added, by name.
    """

    graph: Graph
    errors: Mapping[str, Error]


class Smoothing:
    """A graph that is being rewritten, node by node.

    The original quantisers stay where something else uses their codes: these are in the way of a bound.

    Attributes:
        graph: as it was.
        codes: tensors of whole numbers that stand for real ones, by name.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.codes: dict[str, Code] = {}
        nodes = (node.name for node in graph.main.nodes)
        self._names = Names({*graph.inputs, *graph.shapes, *graph.constants, *graph.makers, *nodes})
        self._constants, self._shapes = dict(graph.constants), dict(graph.shapes)
        self._dtypes, self._ranges = dict(graph.dtypes), dict(graph.ranges)
        self._errors: dict[str, Error] = {}
        self._nodes: list[Node] = []
        self._given: set[str] = set()

    def result(self, operators: Mapping[str, Callable[[Node, Smoothing], None]]) -> Smooth:
        """The graph after each node was offered to what knows its operator.

        Args:
            operators: by type.
        """
        for node in self.graph.main.nodes:
            if node.op in operators:
                with suppress(UnknownValueError, *MALFORMED):  # then its own rule says what is wrong
                    operators[node.op](node, self)
            if self._given.isdisjoint(node.outputs):
                self._nodes.append(node)
        outputs = self.graph.main.outputs
        body = Body(nodes=wanted(self._nodes, outputs), outputs=outputs)
        used = consumed(body)
        errors = {name: error for name, error in self._errors.items() if name in used}
        graph = replace(
            self.graph,
            main=body,
            inputs=(*self.graph.inputs, *errors),
            constants=self._constants,
            shapes=self._shapes,
            dtypes=self._dtypes,
            ranges=self._ranges,
        )
        return Smooth(graph=graph, errors=errors)

    def sizes(self, name: str) -> tuple[int, ...] | None:
        """Of a tensor; None where one is unknown."""
        shape = self._shapes.get(name)
        if shape is None or None in shape:
            return None
        return tuple(size for size in shape if size is not None)

    def add(self, op: str, like: Node, inputs: tuple[str, ...], *, to: str = "", **attributes: object) -> str:
        """Append a node with one result, and give the name of that.

        Args:
            op: operator type.
            like: the node that it stands for, whose attributes it has but for others that are given.
            inputs: names of tensors, of which the first is as large as the result unless that is given.
            to: the result, a tensor of the original graph, which this gives from now on; empty for a new one.
        """
        result = to or self.tensor(f"{like.outputs[0]}.{op}", self._shapes.get(inputs[0]))
        self.append(replace(like, op=op, inputs=inputs, outputs=(result,), attributes=attributes))
        if to:
            self._given.add(to)
        return result

    def append(self, node: Node) -> None:
        """Append a node whose results are new; it gets a name of its own."""
        self._nodes.append(replace(node, name=self._names.new(f"{node.name}.{node.op}")))

    def tensor(self, base: str, shape: tuple[int | None, ...] | None) -> str:
        """A new name of real numbers."""
        name = self._names.new(base)
        if shape is not None:
            self._shapes[name] = shape
        self._dtypes[name] = "float"
        return name

    def number(self, base: str, values: float | np.ndarray) -> str:
        """A new constant."""
        array = np.asarray(values, np.float64)
        return self.constant(
            Constant(name=base, shape=array.shape, dtype="float64", identity=base, read=lambda: array)
        )

    def constant(self, found: Constant) -> str:
        """One whose values are read when they are needed."""
        name = self._names.new(f"{found.name}.real")
        found = replace(found, identity=name) if found.identity == found.name else found
        self._constants[name] = lambda: found
        self._shapes[name], self._dtypes[name] = found.shape, "double"
        return name

    def quantised(self, source: str, result: str, node: Node, grid: Grid | None) -> None:
        """Let codes stand for what a quantiser gives: it clips, and rounds off an error.

        Args:
            source: the tensor of real numbers that is quantised.
            result: the codes.
            node: the quantiser.
            grid: what its codes stand for; None for nothing that is known.
        """
        kind, sizes = self.graph.dtypes.get(result, ""), self.sizes(result)
        if grid is None or sizes is None or kind not in BITS:
            return
        bits, signed = BITS[kind]
        least = -(2 ** (bits - 1)) if signed else 0
        ends = [grid.real(least, len(sizes)), grid.real(least + 2**bits - 1, len(sizes))]
        low, high = (
            self.number(f"{result}.{name}", end) for name, end in zip(("low", "high"), ends, strict=True)
        )
        if grid.axis is None:
            clipped = self.add("Clip", node, (source, low, high))
        else:
            clipped = self.add("Min", node, (self.add("Max", node, (source, low)), high))
        step, most = float(grid.scale.max()), grid.error(sizes) * UP_MANY
        error = self._error(Error(quantiser=node.name, most=most), sizes, step)
        self.codes[result] = Code(real=self.add("Add", node, (clipped, error)), grid=grid)

    def quantised_by_range(self, node: Node) -> None:
        """The same of a DynamicQuantizeLinear, which clips nothing."""
        source, sizes = node.inputs[0], self.sizes(node.inputs[0])
        if sizes is None or len(node.outputs) != 3:
            return
        most = math.sqrt(math.prod(sizes)) * UP_MANY
        error = self._error(Error(quantiser=node.name, most=most, dynamic=True), sizes, None)
        grid = Dynamic(scale=node.outputs[1], zero=node.outputs[2])
        self.codes[node.outputs[0]] = Code(real=self.add("Add", node, (source, error)), grid=grid)

    def _error(self, error: Error, sizes: tuple[int, ...], step: float | None) -> str:
        name = self.tensor(f"{error.quantiser}.error", sizes)
        self._errors[name] = error
        self._ranges[name] = ANYTHING if step is None else Range(lower=-step / 2, upper=step / 2)
        return name

    def dequantised(self, node: Node, stored: Stored, to: str = "") -> str | None:
        """The real numbers that codes stand for where an operator takes them; None where that is not known.

        Args:
            node: the operator.
            stored: the codes, and what it takes them for.
            to: as of `add`.
        """
        known = self.codes.get(stored.codes)
        if known is None:
            return None
        if isinstance(known.grid, Dynamic):
            same = known.grid == Dynamic(scale=stored.scale, zero=stored.zero)
            return self.add("Identity", node, (known.real,), to=to) if same else None
        sizes = self.sizes(stored.codes) or ()
        grid = grid_of(self.graph, stored.scale, stored.zero, stored.axis, sizes)
        if grid is None:
            return None
        if grid == known.grid:
            return self.add("Identity", node, (known.real,), to=to)
        return self.affine(known, grid, node, to)

    def affine(self, code: Code, new: Grid, node: Node, to: str) -> str | None:
        """What codes stand for in a new grid; None where both grids are not of one scale.

        With q = r / s + z that is t (q - w) = (r / s) t + t (z - w).
        """
        old = code.grid
        if isinstance(old, Dynamic) or old.axis is not None or new.axis is not None:
            return None
        steps = self.add("Div", node, (code.real, self.number(f"{node.name}.old", old.scale)))
        scaled = self.add("Mul", node, (steps, self.number(f"{node.name}.new", new.scale)))
        shift = self.number(f"{node.name}.shift", new.scale * (old.zero - new.zero))
        return self.add("Add", node, (scaled, shift), to=to)
