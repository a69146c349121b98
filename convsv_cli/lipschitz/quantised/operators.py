"""Operators on codes, by what they do to the real numbers that these stand for.

All of it is in real arithmetic: codes are whole numbers, sums of these do not overflow, and a quantiser takes
the nearest one. So a QLinearConv is the convolution of what its codes stand for, plus the bias times both
scales, and a quantiser; padding is with the zero point, which stands for 0. The whole numbers that a
ConvInteger or MatMulInteger gives, times the scales of both factors, are the product of what these stand for.
An entry that is moved, or the largest of some, is so before the increasing map from codes to numbers, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from convsv_cli.lipschitz.dependencies import REAL
from convsv_cli.lipschitz.quantised.grids import Code, Dynamic, Grid, Stored, constant, grid_of
from convsv_cli.lipschitz.quantised.smoothing import Smoothing
from convsv_cli.model.graph import Node
from convsv_cli.model.layer import CONV
from convsv_cli.model.linear_map import LinearMap
from convsv_cli.model.linear_maps import linear_maps
from convsv_cli.model.linear_maps.quantised import INTEGERS

ONE = Grid(scale=np.ones(()), zero=np.zeros(()))
"""Codes that stand for themselves."""
MOVING = (
    "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "SpaceToDepth", "Split",
    "Squeeze", "Tile", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Whose results are entries of their first input, where the others are constant."""


def quantise(node: Node, smoothing: Smoothing) -> None:
    """QuantizeLinear: by a constant grid."""
    sizes = smoothing.sizes(node.inputs[0])
    if sizes is None or node.inputs[0] in smoothing.graph.constants or node.attribute("block_size", 0):
        return
    axis = node.attribute("axis", 1)
    grid = grid_of(smoothing.graph, node.input(1), node.input(2), axis, sizes)
    smoothing.quantised(node.inputs[0], node.outputs[0], node, grid)


def quantise_by_range(node: Node, smoothing: Smoothing) -> None:
    """DynamicQuantizeLinear."""
    smoothing.quantised_by_range(node)


def dequantise(node: Node, smoothing: Smoothing) -> None:
    """DequantizeLinear."""
    if not node.attribute("block_size", 0):
        stored = replace(Stored.at(node, 0), axis=node.attribute("axis", 1))
        smoothing.dequantised(node, stored, to=node.outputs[0])


def cast(node: Node, smoothing: Smoothing) -> None:
    """Cast of codes to real numbers: these, with a step of 1."""
    code = smoothing.codes.get(node.inputs[0])
    if code is not None and smoothing.graph.dtypes.get(node.outputs[0]) in REAL:
        smoothing.affine(code, ONE, node, node.outputs[0])


def move(node: Node, smoothing: Smoothing) -> None:
    """Of codes along an axis of several scales only what leaves these where they are, or says where."""
    code = smoothing.codes.get(node.inputs[0])
    if code is None or any(name and name not in smoothing.graph.constants for name in node.inputs[1:]):
        return
    grid = _moved(code.grid, node)
    if grid is not None:
        _on_reals(node, smoothing, (code.real, *node.inputs[1:]), grid)


def _moved(grid: Grid | Dynamic, node: Node) -> Grid | Dynamic | None:
    if isinstance(grid, Dynamic) or grid.axis is None or node.op == "Identity":
        return grid
    order = node.attribute("perm", ())
    return replace(grid, axis=order.index(grid.axis)) if node.op == "Transpose" and order else None


def join(node: Node, smoothing: Smoothing) -> None:
    """Concat of codes of the same grid, with one scale."""
    codes = [smoothing.codes.get(name) for name in node.inputs]
    known = [code for code in codes if code is not None]
    grid = known[0].grid if known else None
    alike = len(known) == len(codes) and all(code.grid == grid for code in known)
    if grid is not None and alike and (isinstance(grid, Dynamic) or grid.axis is None):
        _on_reals(node, smoothing, tuple(code.real for code in known), grid)


def pool(node: Node, smoothing: Smoothing) -> None:
    """MaxPool: each window is in one channel, on axis 1, and what is padded is never the largest."""
    code = smoothing.codes.get(node.inputs[0])
    if code is None or any(node.outputs[1:]):
        return
    if isinstance(code.grid, Dynamic) or code.grid.axis in (None, 1):
        _on_reals(node, smoothing, (code.real,), code.grid)


def clip(node: Node, smoothing: Smoothing) -> None:
    """Relu and Clip of codes: ends are codes, and stand for numbers."""
    code = smoothing.codes.get(node.inputs[0])
    if code is None or isinstance(code.grid, Dynamic) or code.grid.axis is not None:
        return
    ends = [""]
    if node.op == "Relu":
        ends.append(smoothing.number(f"{node.name}.zero", code.grid.real(0, 0)))
    for name in node.inputs[1:]:
        value = constant(smoothing.graph, name, 1)
        if value is None and name:
            return
        shown = "" if value is None else smoothing.number(name, code.grid.real(float(value.reshape(())), 0))
        ends.append(shown)
    clipped = replace(node, op="Clip", attributes={})
    _on_reals(clipped, smoothing, (code.real, *ends[1:]), code.grid)


def _on_reals(node: Node, smoothing: Smoothing, inputs: tuple[str, ...], grid: Grid | Dynamic) -> None:
    """Append the same operator on real numbers; its results stand for codes of a grid."""
    results = [
        smoothing.tensor(f"{name}.real", smoothing.graph.shapes.get(name)) if name else ""
        for name in node.outputs
    ]
    smoothing.append(replace(node, inputs=inputs, outputs=tuple(results)))
    for name, real in zip(node.outputs, results, strict=True):
        if name:
            smoothing.codes[name] = Code(real=real, grid=grid)


def qlinear_conv(node: Node, smoothing: Smoothing) -> None:
    """QLinearConv(x, s, z, w, t, u, r, v, b): quantised by r and v, the convolution, plus s t b."""
    found = _map(node, smoothing)
    if found is None or node.inputs[3] not in smoothing.graph.constants:
        return
    inputs = [smoothing.constant(found.constant)]
    if node.input(8):
        values = _bias(node, smoothing, found.kernel_shape[0])
        if values is None:
            return
        inputs.append(smoothing.number(f"{node.input(8)}.real", values))
    source = smoothing.dequantised(node, Stored.at(node, 0))
    if source is not None:
        result = smoothing.tensor(f"{node.outputs[0]}.sum", smoothing.graph.shapes.get(node.outputs[0]))
        smoothing.append(replace(node, op=CONV, inputs=(source, *inputs), outputs=(result,)))
        _requantise(result, node, smoothing)


def _bias(node: Node, smoothing: Smoothing, channels: int) -> np.ndarray | None:
    """Of a QLinearConv: whole numbers, of which each is worth the product of the scales of both factors."""
    parts = [
        constant(smoothing.graph, node.input(index), most)
        for index, most in ((8, channels), (1, 1), (4, channels))
    ]
    known = [part.ravel() for part in parts if part is not None]
    return known[0] * known[1] * known[2] if len(known) == 3 else None


def qlinear_matmul(node: Node, smoothing: Smoothing) -> None:
    """QLinearMatMul(a, s, z, b, t, u, r, v): quantised by r and v, the product."""
    found = _map(node, smoothing)
    factors: list[str] = []
    for index in (0, 3):
        name = node.inputs[index]
        if name in smoothing.graph.constants:
            if found is None or found.data == index:
                return
            factors.append(smoothing.constant(found.constant))
            continue
        real = smoothing.dequantised(node, Stored.at(node, index))
        if real is None:
            return
        factors.append(real)
    shape = smoothing.graph.shapes.get(node.outputs[0])
    result = smoothing.tensor(f"{node.outputs[0]}.sum", shape)
    smoothing.append(replace(node, op="MatMul", inputs=tuple(factors), outputs=(result,), attributes={}))
    _requantise(result, node, smoothing)


def _requantise(source: str, node: Node, smoothing: Smoothing) -> None:
    """Quantise a result by the scale and the zero point that are inputs 6 and 7."""
    sizes = smoothing.sizes(node.outputs[0])
    if sizes is not None:
        grid = grid_of(smoothing.graph, node.input(6), node.input(7), None, sizes)
        smoothing.quantised(source, node.outputs[0], node, grid)


def integer_product(node: Node, smoothing: Smoothing) -> None:
    """ConvInteger and MatMulInteger, whose result goes through a Cast and is multiplied by both scales.

    Of that product the row of the audit knows the linear map; it is written to where the product was.
    """
    found = _map(node, smoothing)
    if found is None or INTEGERS in found.assumed or INTEGERS in found.constant.assumed:
        return
    code = smoothing.codes.get(node.input(found.data))
    if code is None or not _same_zero(code.grid, node.input(2 + found.data), smoothing):
        return
    behind = smoothing.graph.users[node.outputs[0]][0]  # the Cast, for which alone there is such a map
    product = smoothing.graph.users[behind.outputs[0]][0]
    weight = smoothing.constant(found.constant)
    factors = (code.real, weight) if found.data == 0 else (weight, code.real)
    op = CONV if node.op == "ConvInteger" else "MatMul"
    smoothing.add(op, node, factors, to=product.outputs[0], **node.attributes)


def _same_zero(grid: Grid | Dynamic, zero: str, smoothing: Smoothing) -> bool:
    """Whether a product takes off the zero point of its codes, of one scale."""
    if isinstance(grid, Dynamic):
        return zero == grid.zero
    values = constant(smoothing.graph, zero, 1) if zero else np.zeros(())
    return values is not None and grid.axis is None and float(values.reshape(())) == float(grid.zero)


def _map(node: Node, smoothing: Smoothing) -> LinearMap | None:
    """The one linear map of a node by constants that its row shows, in real numbers."""
    found = linear_maps(node, smoothing.graph)
    first = found[0] if len(found) == 1 else None
    return first if isinstance(first, LinearMap) else None


OPERATORS: dict[str, Callable[[Node, Smoothing], None]] = {
    "QuantizeLinear": quantise,
    "DynamicQuantizeLinear": quantise_by_range,
    "DequantizeLinear": dequantise,
    "Cast": cast,
    **dict.fromkeys(MOVING, move),
    "Concat": join,
    "MaxPool": pool,
    "Relu": clip,
    "Clip": clip,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
    "ConvInteger": integer_product,
    "MatMulInteger": integer_product,
}
"""By type: each adds what it knows of a node to the graph that is being rewritten."""
