"""Attention by distances, written out: softmax(mask - c |q_i - q_j|^2) V, of queries that are the keys, too.

What a row of scores has in common, softmax takes off, such as |q_i|^2: 2 c Q K^T - c |k_j|^2 is enough. Masks
are constants that are not positive, and leave each token itself as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from convsv_cli.lipschitz.dependencies import passes
from convsv_cli.lipschitz.written_out.algebra import Algebra
from convsv_cli.lipschitz.written_out.alike import same
from convsv_cli.lipschitz.written_out.attention import MATRIX, MOST_STEPS, softmax_before
from convsv_cli.lipschitz.written_out.squares import CLOSE, as_squares
from convsv_cli.model.graph import Graph, Node, UnknownValueError

MOST_TERMS, PAIR = 8, 2
VIEWS = ("Unsqueeze", "Reshape", "Expand")


@dataclass(frozen=True, kw_only=True)
class Distances:
    """What a product of a softmax and a matrix is.

    Attributes:
        tokens: Q, [..., n, d].
        value: V, [..., n, e].
        factor: c.
        steps: what V is Q after, in order: operators, constants, and results; None where V is something else.
    """

    tokens: str
    value: str
    factor: float
    steps: tuple[tuple[str, str, str], ...] | None


@dataclass(frozen=True, kw_only=True)
class _Term:
    """A number times a tensor."""

    factor: float
    tensor: str


def distances_at(node: Node, graph: Graph, algebra: Algebra) -> Distances | None:
    """The attention whose result a MatMul is; None where it is none.

    Args:
        node: of the graph.
        graph: at one input size.
        algebra: its forms.
    """
    softmax = softmax_before(node, graph, guarded=False)
    if softmax is None:
        return None
    found = _Scores(graph, algebra).read(softmax.inputs[0])
    if found is None:
        return None
    tokens, factor = found
    value = node.inputs[1]
    shapes = [graph.shapes.get(name) or () for name in (tokens, value, node.outputs[0])]
    if any(None in shape or len(shape) < MATRIX for shape in shapes):
        return None
    alike = shapes[0][:-MATRIX] == shapes[2][:-MATRIX]  # as many heads before as after
    steps = _steps(value, tokens, graph) if alike else None
    return Distances(tokens=tokens, value=value, factor=factor, steps=steps)


def _steps(value: str, tokens: str, graph: Graph) -> tuple[tuple[str, str, str], ...] | None:
    """Products with constant matrices, and constants added to all tokens alike, as weights add up to 1."""
    steps = list[tuple[str, str, str]]()
    for _ in range(MOST_STEPS):
        if same(value, tokens, graph):
            return tuple(reversed(steps))
        node = graph.makers.get(value)
        if node is None or (node.op not in ("MatMul", "Add") and not passes(node, graph)):
            return None
        constant = next((name for name in node.inputs if name in graph.constants), "")
        if node.op == "MatMul" and constant != node.input(1):
            return None
        if node.op in ("MatMul", "Add"):
            if not constant or not _alike(node, constant, graph):
                return None
            steps.append((node.op, constant, value))
        value = next(name for name in node.inputs if name != constant)
    return None


def _alike(node: Node, constant: str, graph: Graph) -> bool:
    """Whether a constant does the same to all tokens, of as many heads as before."""
    shape, result = graph.shapes.get(constant), graph.shapes.get(node.outputs[0])
    if shape is None or result is None:
        return False
    if node.op == "MatMul":
        source = graph.shapes.get(node.inputs[0])
        return len(shape) >= MATRIX and source is not None and result[:-1] == source[:-1]
    return result == graph.shapes.get(next(i for i in node.inputs if i != constant)) and (
        len(shape) < MATRIX or shape[-2] == 1
    )


class _Scores:
    def __init__(self, graph: Graph, algebra: Algebra) -> None:
        self._graph, self._algebra = graph, algebra

    def read(self, name: str) -> tuple[str, float] | None:
        """Q and c, where the scores are -c |q_i - q_j|^2, but for what a row has in common, and masks."""
        terms = list(self._terms(_Term(factor=1.0, tensor=name), MOST_STEPS))
        if len(terms) > MOST_TERMS:
            return None
        varying = [term for term in terms if not self._common(term) and not self._mask(term)]
        if len(varying) == 1:
            return self._differences(varying[0])
        if len(varying) == PAIR:
            return self._expanded(*varying) or self._expanded(*reversed(varying))
        return None

    def _terms(self, term: _Term, depth: int) -> Iterator[_Term]:
        """The terms of a sum, each with its factor."""
        node = self._graph.makers.get(term.tensor)
        inner = None if node is None or not depth else self._parts(node)
        if inner is None:
            yield term
            return
        for part in inner:
            yield from self._terms(replace(part, factor=part.factor * term.factor), depth - 1)

    def _parts(self, node: Node) -> list[_Term] | None:
        """What a node adds up."""
        shape = self._graph.shapes.get(node.outputs[0])
        if node.op in ("Add", "Sub"):
            second = -1.0 if node.op == "Sub" else 1.0
            parts = [_Term(factor=1.0, tensor=node.inputs[0]), _Term(factor=second, tensor=node.inputs[1])]
        elif node.op == "Neg" or passes(node, self._graph):
            parts = [_Term(factor=-1.0 if node.op == "Neg" else 1.0, tensor=node.inputs[0])]
        elif node.op in ("Mul", "Div"):
            numbers = [self._algebra.form(name).number for name in node.inputs]
            value = next((number for number in numbers if number is not None), None)
            if not value or (node.op == "Div" and numbers[1] is None):
                return None
            varying = node.inputs[0 if numbers[0] is None else 1]
            parts = [_Term(factor=1 / value if node.op == "Div" else value, tensor=varying)]
        else:
            return None
        ranks = [len(self._graph.shapes.get(part.tensor) or ()) for part in parts]
        return parts if shape is not None and max(ranks) == len(shape) else None

    def _common(self, term: _Term) -> bool:
        """Whether all entries of a row are alike."""
        shape = self._graph.shapes.get(term.tensor)
        return shape is not None and (not shape or shape[-1] == 1)

    def _mask(self, term: _Term) -> bool:
        """Whether it is a constant that is not positive, and zero for each token itself."""
        if term.tensor not in self._graph.constants:
            return False
        try:
            values = np.asarray(self._graph.constants[term.tensor]().read(), np.float64) * term.factor
        except (UnknownValueError, ValueError):
            return False
        square = values.ndim >= MATRIX and values.shape[-1] == values.shape[-2]
        return bool(square and (values <= 0).all() and (np.diagonal(values, 0, -2, -1) == 0).all())

    def _differences(self, term: _Term) -> tuple[str, float] | None:
        """A multiple of the sum of squares of q_i - q_j, broadcast to a tensor of their own."""
        found = self._squares(term.tensor)
        if found is None or found.axis != -1:
            return None
        node = self._graph.makers.get(found.tensor)
        factor = -term.factor * found.factor
        if node is None or node.op != "Sub" or not factor > 0:
            return None
        sides = [self._unsqueezed(name) for name in node.inputs]
        places = dict(side for side in sides if side is not None)
        if places.keys() != {-2, -3} or not same(places[-2], places[-3], self._graph):
            return None
        return places[-2], factor

    def _unsqueezed(self, name: str) -> tuple[int, str] | None:
        """The axis, -2 or -3, along which a tensor of tokens is repeated, and the tensor."""
        for _ in range(len(VIEWS)):
            node = self._graph.makers.get(name)
            if node is None or node.op not in VIEWS:
                return None
            before, after = (self._graph.shapes.get(each) for each in (node.inputs[0], name))
            if before is None or after is None or None in before or None in after:
                return None
            if node.op != "Expand":
                axes = [axis for axis in (-2, -3) if (*after[:axis], *after[axis + 1 :]) == before]
                fits = len(axes) > 0 and after[axes[0]] == 1
                return (axes[0], node.inputs[0]) if fits else None
            name = node.inputs[0]
        return None

    def _squares(self, name: str) -> _Squares | None:
        """A number times a sum of squares of a tensor along one of its axes."""
        found = as_squares(self._algebra.form(name))
        if found is None or found.mean is None or not found.mean.count or len(found.mean.axes) != 1:
            return None
        ((root, weight),), mean = found.parts, found.mean
        count = float(mean.count or 1)
        for sign in (1.0, -1.0):
            tensor = self._algebra.tensor(root.times(sign), mean.shape, name)
            if tensor is not None:
                axis = mean.axes[0] - len(mean.shape)
                return _Squares(factor=weight / count, tensor=tensor, axis=axis)
        return None

    def _expanded(self, product: _Term, squares: _Term) -> tuple[str, float] | None:
        """2 c Q K^T - c |k_j|^2."""
        node = self._graph.makers.get(product.tensor)
        if node is None or node.op != "MatMul" or set(node.inputs) & self._graph.constants.keys():
            return None
        query, key = node.inputs
        lengths = self._lengths(squares.tensor)
        if lengths is None or not product.factor > 0:
            return None
        factor = -squares.factor * lengths.factor
        fits = abs(2 * factor - product.factor) <= CLOSE * product.factor
        keys = same(lengths.tensor, query if lengths.axis == -1 else key, self._graph)
        return (query, factor) if fits and keys and self._transposes(key, query) else None

    def _lengths(self, name: str) -> _Squares | None:
        """A tensor [..., 1, n] as squares of lengths of tokens: of rows of a tensor, or of its columns."""
        shape, node = self._graph.shapes.get(name), self._graph.makers.get(name)
        if shape is None or len(shape) < MATRIX or shape[-2] != 1:
            return None
        found = self._squares(name)
        if found is not None:
            return found if found.axis == -MATRIX else None
        if node is None or node.op not in ("Transpose", "Unsqueeze", "Reshape"):
            return None
        before = self._graph.shapes.get(node.inputs[0])
        flat = (*shape[:-2], shape[-1])
        if before is None or (node.op == "Transpose" and not self._swaps(node)):
            return None
        if node.op != "Transpose" and before not in (flat, (*flat, 1)):
            return None
        found = self._squares(node.inputs[0])
        return found if found is not None and found.axis == -1 else None

    def _transposes(self, key: str, query: str) -> bool:
        """Whether one is the other with its last two axes swapped, by Transposes of the same tensor."""
        (first, moved), (second, order) = self._moved(key), self._moved(query)
        if len(moved) != len(order) or len(order) < MATRIX:
            return False
        swapped = (*order[:-2], order[-1], order[-2])
        return moved == swapped and same(first, second, self._graph)

    def _moved(self, name: str) -> tuple[str, tuple[int, ...]]:
        """A tensor, and how its axes were moved."""
        order = tuple(range(len(self._graph.shapes.get(name) or ())))
        for _ in range(MOST_STEPS):
            node = self._graph.makers.get(name)
            if node is not None and passes(node, self._graph):
                name = node.inputs[0]
            elif node is not None and node.op == "Transpose":
                moves = node.attribute("perm", tuple(reversed(range(len(order)))))
                order, name = tuple(moves[axis] for axis in order), node.inputs[0]
            else:
                break
        return name, order

    def _swaps(self, node: Node) -> bool:
        rank = len(self._graph.shapes.get(node.inputs[0]) or ())
        whole = tuple(range(rank))
        perm = tuple(node.attribute("perm", tuple(reversed(whole))))
        return rank >= MATRIX and perm == (*whole[:-2], rank - 1, rank - 2)


@dataclass(frozen=True, kw_only=True)
class _Squares:
    """A factor times a sum of squares of a tensor along an axis, counted from the last one."""

    factor: float
    tensor: str
    axis: int
