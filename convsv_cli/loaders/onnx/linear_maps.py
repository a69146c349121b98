"""ONNX nodes that are linear maps by a constant: one rule an operator type."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from convsv_cli.loaders.onnx.bits import matmul_n_bits
from convsv_cli.loaders.onnx.einsum import einsum
from convsv_cli.loaders.onnx.node import LinearMap, Site, Unsupported
from convsv_cli.loaders.onnx.products import NOT_CONSTANT, convolve, multiply
from convsv_cli.loaders.onnx.quantised import conv_integer, matmul_integer, qlinear_conv, qlinear_matmul
from convsv_cli.loaders.onnx.tensors import Array
from convsv_cli.loaders.usage import LOOK_UP
from convsv_cli.model.layer import Geometry

Rule = Callable[[Site], Iterator[LinearMap | Unsupported]]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
RECURRENT = "a gate matrix; the recurrence through it can amplify more"


def convolution(site: Site) -> Iterator[LinearMap | Unsupported]:
    """Conv and ConvTranspose: the weight is input 1."""
    weight = site.constant(1)
    if weight is None:
        yield Unsupported(reason=NOT_CONSTANT)
        return
    yield from convolve(site, weight)


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
    """Matrices on either side; a product of two activations or of two constants is no layer."""
    left, right = site.constant(0), site.constant(1)
    if left is None and right is not None:
        yield from multiply(site, right, other=0)
    elif left is not None and right is None:
        yield from multiply(site, left, other=1)


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
    """A look-up in a constant table of floats, by indices that vary."""
    table = site.computed(0)
    if table is not None and site.scope.varies(site.node.input[1]) and _is_weight(table.shape, table.dtype):
        yield Unsupported(reason=LOOK_UP, constant=table, applicable=False)


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
    "GatherElements": gather,
    "GatherND": gather,
    "ConvInteger": conv_integer,
    "MatMulInteger": matmul_integer,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
    "DeformConv": unknown("a deformable convolution: its taps depend on the input"),
}
CONTRIBUTED: dict[str, Rule] = {"MatMulNBits": matmul_n_bits}
"""Operators of onnxruntime's own domain."""
FOREIGN = "an operator of the domain {domain!r}, which convsv does not know"


def linear_maps(site: Site) -> list[LinearMap | Unsupported]:
    """The linear maps of a node by its constants; none for a node without weights."""
    domain = site.node.domain
    if domain == "com.microsoft" and site.node.op_type in CONTRIBUTED:
        return list(CONTRIBUTED[site.node.op_type](site))
    if domain not in ("", "ai.onnx"):
        return list(unknown(FOREIGN.format(domain=domain))(site))
    rule = RULES.get(site.node.op_type)
    return list(rule(site)) if rule else []
