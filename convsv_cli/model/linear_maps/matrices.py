"""Gemm, MatMul and Einsum by one constant: a matrix, or one for each entry of a batch."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from convsv_cli.model.graph import Constant, Dims, Graph, Node
from convsv_cli.model.layer import Geometry
from convsv_cli.model.linear_map import Array, LinearMap, Maps, unsupported

STACKED = "one matrix for each entry of a batch, taken together: this overestimates the norm"


def gemm(node: Node, graph: Graph) -> Maps:
    """The map of `alpha A' B' + beta C` where one of A and B is constant."""
    left, right = graph.constant(node.input(0)), graph.constant(node.input(1))
    if (left is None) == (right is None):
        return  # a product of two activations or of two constants is no layer
    constant, flip = (
        (right, not node.attribute("transB", 0)) if right else (left, bool(node.attribute("transA", 0)))
    )
    if constant is None or len(constant.shape) != 2:
        yield unsupported(node, "a Gemm with an operand that is not a matrix", constant)
        return
    bias = node.input(2)
    yield LinearMap(
        op=node.type,
        constant=constant,
        kernel_shape=constant.shape[::-1] if flip else constant.shape,
        arrange=lambda values: values.T if flip else values,
        factor=node.attribute("alpha", 1.0),
        geometry=Geometry(),
        data=1 if right is None else 0,
        bias=(bias, node.attribute("beta", 1.0)) if bias else None,
    )


def matmul(node: Node, graph: Graph) -> Maps:
    """Matrices on either side; a product of two activations or of two constants is no layer."""
    left, right = graph.constant(node.input(0)), graph.constant(node.input(1))
    if left is None and right is not None:
        yield from multiply(node, graph, right, data=0)
    elif left is not None and right is None:
        yield from multiply(node, graph, left, data=1)


def multiply(node: Node, graph: Graph, constant: Constant, data: int) -> Maps:
    """The product of the input `data`: if 0, with [*batch, c_in, c_out], else by [*batch, c_out, c_in]."""
    if not constant.shape:
        yield unsupported(node, "a MatMul by a scalar", constant)
        return
    *batch, rows, columns = constant.shape if len(constant.shape) > 1 else (1, *constant.shape)
    turned = data == 0 and len(constant.shape) > 1
    c_out, c_in = (columns, rows) if turned else (rows, columns)
    count = math.prod(batch)
    blocks = count > 1 and (graph.shapes.get(node.input(data)) or ())[:-2][-len(batch) :] == tuple(batch)

    def arrange(values: Array) -> Array:
        matrices = values.reshape(count, rows, columns)
        return (matrices.swapaxes(1, 2) if turned else matrices).reshape(-1, c_in)

    yield LinearMap(
        op=node.type,
        constant=constant,
        kernel_shape=(count * c_out, c_in),
        arrange=arrange,
        variant=turned if count > 1 and not blocks else None,
        geometry=Geometry(groups=count if blocks else 1),
        data=data,
        assumed=(STACKED,) if count > 1 and not blocks else (),
    )


def einsum(node: Node, graph: Graph) -> Maps:
    """Labels of the weight: in data and output, batch; in data only, columns; in output only, rows.

    A label of the weight alone is summed out first. Labels of the data that reach the output untouched
    repeat the same map, which changes no norm.
    """
    constants = [graph.constant(node.input(i)) for i in range(len(node.inputs))]
    constant_at = [i for i, constant in enumerate(constants) if constant is not None]
    if not constant_at or len(constant_at) == len(constants):
        return
    constant = constants[constant_at[0]]
    terms, output = labels(node)
    if len(constants) != 2 or len(terms) != 2 or constant is None:
        yield unsupported(node, "an Einsum of other than two operands", constant)
        return
    weight, data = terms[constant_at[0]], terms[1 - constant_at[0]]
    lengths = _lengths(data, graph.shapes.get(node.input(1 - constant_at[0])))
    reason = _reason(weight, data, output, constant.shape) or _stretched(weight, constant.shape, lengths)
    if reason:
        yield unsupported(node, reason, constant)
        return
    batch, rows, columns = (
        [label for label in weight if (label in output, label in data) == where]
        for where in ((True, True), (True, False), (False, True))
    )
    sizes = dict(zip(weight, constant.shape, strict=True))
    groups, c_out, c_in = (math.prod(sizes[label] for label in each) for each in (batch, rows, columns))

    def arrange(values: Array) -> Array:
        summed = np.einsum(f"{weight}->{''.join([*batch, *rows, *columns])}", values.astype(np.float64))
        return np.asarray(summed.reshape(groups * c_out, c_in))

    yield LinearMap(
        op=node.type,
        constant=constant,
        kernel_shape=(groups * c_out, c_in),
        arrange=arrange,
        variant=(weight, *batch, *rows, *columns),
        geometry=Geometry(groups=groups),
        data=1 - constant_at[0],
    )


def labels(node: Node) -> tuple[list[str], str]:
    """The labels of an Einsum's operands and of its output; an implicit output is sorted, ellipsis first."""
    equation = node.attribute("equation", "").replace(" ", "")
    inputs, arrow, output = equation.partition("->")
    if not arrow:
        letters = Counter(inputs.replace(",", "").replace("...", ""))
        once = "".join(sorted(label for label, count in letters.items() if count == 1))
        output = ("..." if "..." in inputs else "") + once
    return inputs.split(","), output


def _lengths(labels: str, dims: Dims | None) -> dict[str, int | None]:
    """The length of each labelled axis, as far as it is known; an ellipsis takes what is left."""
    head, _, tail = labels.partition("...")
    if dims is None or len(dims) < len(head + tail):
        return {}
    return dict(zip(head + tail, (*dims[: len(head)], *dims[len(dims) - len(tail) :]), strict=True))


def _stretched(weight: str, shape: tuple[int, ...], lengths: dict[str, int | None]) -> str:
    """Says so where an axis of length 1 meets a longer one, which repeats it; empty where none does."""
    sizes = zip(weight, shape, strict=True)
    stretched = any(isinstance(n := lengths.get(label), int) and n != size for label, size in sizes)
    return "an Einsum that stretches an axis of length 1" if stretched else ""


def _reason(weight: str, data: str, output: str, shape: tuple[int, ...]) -> str:
    """Why it is no such map; empty where it is."""
    if "..." in weight or len(weight) != len(shape):
        return "an Einsum with an ellipsis in its weight"
    plain = data.replace("...", "")
    if any(len(set(each)) < len(each) for each in (weight, plain, output.replace("...", ""))):
        return "an Einsum with a repeated label"
    if set(plain) - set(weight) - set(output) or ("..." in data) != ("..." in output):
        return "an Einsum that sums over an axis of its input only"
    return ""


RULES = {"Gemm": gemm, "MatMul": matmul, "Einsum": einsum}
