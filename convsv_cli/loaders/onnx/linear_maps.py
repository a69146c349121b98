"""ONNX nodes that are linear maps by a constant: one rule an operator type."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from convsv_cli.loaders.onnx.einsum import einsum
from convsv_cli.loaders.onnx.node import LinearMap, Site, Unsupported
from convsv_cli.loaders.onnx.padding import padding, spatial_size
from convsv_cli.loaders.onnx.tensors import Array
from convsv_cli.network import Geometry

Rule = Callable[[Site], Iterator[LinearMap | Unsupported]]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
RECURRENT = "a gate matrix; the recurrence through it can amplify more"
STACKED = "one matrix for each entry of a batch, taken together: this over-estimates the norm"
NOT_CONSTANT = "its weight is computed from the network's input"


def convolution(site: Site) -> Iterator[LinearMap | Unsupported]:
    """Conv and ConvTranspose: the weight is input 1, as [c_out, c_in / g, *k] or [c_in, c_out / g, *k]."""
    weight = site.constant(1)
    if weight is None:
        yield Unsupported(reason=NOT_CONSTANT)
        return
    axes = len(weight.shape) - 2
    if axes < 1:
        yield Unsupported(reason=f"a kernel with {len(weight.shape)} axes is no convolution", constant=weight)
        return
    ones = (1,) * axes
    strides, dilations = site.attribute("strides", ones), site.attribute("dilations", ones)
    groups, pads = site.attribute("group", 1), site.attribute("pads", ones * 2)
    fits = (len(strides), len(dilations), len(pads)) == (axes, axes, 2 * axes)
    if not fits or min(*strides, *dilations, groups) < 1:
        yield Unsupported(reason="strides, dilations, pads or groups that fit no kernel", constant=weight)
        return
    size = spatial_size(site, axes)
    pads, assumed = padding(site, weight.shape[2:], size)
    yield LinearMap(
        constant=weight,
        kernel_shape=weight.shape,
        arrange=lambda values: values,
        geometry=Geometry(
            stride=strides,
            dilation=dilations,
            groups=groups,
            transposed=site.node.op_type == "ConvTranspose",
            padding=pads,
        ),
        input_size=size,
        assumed=assumed,
    )


def gemm(site: Site) -> Iterator[LinearMap | Unsupported]:
    """The map of `alpha A' B' + beta C` where one of A and B is constant."""
    left, right = site.constant(0), site.constant(1)
    if (left is None) == (right is None):
        return  # a product of two activations or of two constants is no layer
    alpha = site.attribute("alpha", 1.0)
    constant, flip = (
        (right, not site.attribute("transB", 0)) if right else (left, bool(site.attribute("transA", 0)))
    )
    if constant is None or len(constant.shape) != 2:
        yield Unsupported(reason="a Gemm by what is no matrix", constant=constant)
        return

    def arrange(values: Array) -> Array:
        matrix = values.T if flip else values
        return matrix if alpha == 1 else np.asarray(matrix.astype(np.float64) * alpha)

    shape = constant.shape[::-1] if flip else constant.shape
    yield LinearMap(
        constant=constant, kernel_shape=shape, arrange=arrange, variant=alpha, geometry=Geometry()
    )


def matmul(site: Site) -> Iterator[LinearMap | Unsupported]:
    """Matrices on either side: [*batch, c_in, c_out] on the right, [*batch, c_out, c_in] on the left."""
    left, right = site.constant(0), site.constant(1)
    if (left is None) == (right is None):
        return
    constant, other = (right, 0) if right else (left, 1)
    if constant is None or not constant.shape:
        yield Unsupported(reason="a MatMul by a scalar", constant=constant)
        return
    *batch, rows, columns = constant.shape if len(constant.shape) > 1 else (1, *constant.shape)
    turned = right is not None and len(constant.shape) > 1
    c_out, c_in = (columns, rows) if turned else (rows, columns)
    count = math.prod(batch)
    blocks = count > 1 and (site.dims(other) or ())[:-2][-len(batch) :] == tuple(batch)

    def arrange(values: Array) -> Array:
        matrices = values.reshape(count, rows, columns)
        return (matrices.swapaxes(1, 2) if turned else matrices).reshape(-1, c_in)

    yield LinearMap(
        constant=constant,
        kernel_shape=(count * c_out, c_in),
        arrange=arrange,
        geometry=Geometry(groups=count if blocks else 1),
        assumed=(STACKED,) if count > 1 and not blocks else (),
    )


def recurrent(site: Site) -> Iterator[LinearMap | Unsupported]:
    """LSTM, GRU and RNN: W [directions, gates * hidden, in] and R [directions, gates * hidden, hidden]."""
    for index, role in ((1, "W"), (2, "R")):
        constant = site.constant(index)
        if constant is None or len(constant.shape) != 3:
            yield Unsupported(reason=NOT_CONSTANT, constant=constant)
            continue
        directions, rows, columns = constant.shape
        yield LinearMap(
            constant=constant,
            kernel_shape=(directions * rows, columns),
            arrange=lambda values: values.reshape(-1, values.shape[-1]),
            geometry=Geometry(groups=directions if role == "R" else 1),
            assumed=(RECURRENT,),
            role=role,
        )


def gather(site: Site) -> Iterator[LinearMap | Unsupported]:
    """A look-up in a constant table of floats."""
    table = site.computed(0)
    if table is not None and site.scope.varies(site.node.input[1]) and _is_weight(table.shape, table.dtype):
        yield Unsupported(reason="a table look-up of integer indices: it amplifies nothing", constant=table)


def unknown(reason: str) -> Rule:
    """The rule of an operator that convsv cannot audit, but only where it has weights."""

    def rule(site: Site) -> Iterator[LinearMap | Unsupported]:
        constants = [site.computed(i) for i in range(len(site.node.input)) if site.varies]
        weights = [c for c in constants if c is not None and sum(size > 1 for size in c.shape) >= 2]
        if weights:
            yield Unsupported(reason=reason, constant=max(weights, key=lambda c: math.prod(c.shape)))

    return rule


def _is_weight(shape: tuple[int, ...], dtype: str) -> bool:
    return len(shape) >= 2 and dtype.startswith(("float", "bfloat"))


QUANTISED = "quantised arithmetic, which convsv does not read yet"
RULES: dict[str, Rule] = {
    "Conv": convolution,
    "ConvTranspose": convolution,
    "Gemm": gemm,
    "MatMul": matmul,
    "Einsum": einsum,
    "LSTM": recurrent,
    "GRU": recurrent,
    "RNN": recurrent,
    "Gather": gather,
    "ConvInteger": unknown(QUANTISED),
    "MatMulInteger": unknown(QUANTISED),
    "QLinearConv": unknown(QUANTISED),
    "QLinearMatMul": unknown(QUANTISED),
    "DeformConv": unknown("a deformable convolution: its taps depend on the input"),
}
FOREIGN = "an operator of the domain {domain!r}, which convsv does not know"


def linear_maps(site: Site) -> list[LinearMap | Unsupported]:
    """The linear maps of a node by its constants; none for a node without weights."""
    domain = site.node.domain
    if domain not in ("", "ai.onnx"):
        return list(unknown(FOREIGN.format(domain=domain))(site))
    rule = RULES.get(site.node.op_type)
    return list(rule(site)) if rule else []
