"""Nodes of a program that are linear maps by a constant: one rule per operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from convsv_cli.loaders.convolution import convolution_op, torch_geometry
from convsv_cli.loaders.pt2.program import Node, NoNumberError, Program
from convsv_cli.model.layer import Geometry

RECURRENT = "a gate matrix; the recurrence through it can amplify more"
EXPORTED = "the input size at which the program was exported; others are possible"


@dataclass(frozen=True, kw_only=True)
class LinearMap:
    """A node's linear map by one constant.

    Attributes:
        weight: the constant's name in the graph.
        op: ONNX operator type.
        flip: the kernel is the constant's transpose.
        factor: that the kernel is multiplied by.
        geometry: for a kernel of this shape; None for a matrix.
        data: name of what it is applied to.
        assumed: what was taken for granted.
        fault: why it cannot be audited; empty where it can.
    """

    weight: str
    op: str
    flip: bool = False
    factor: float = 1.0
    geometry: Callable[[tuple[int, ...]], Geometry] | None = None
    data: str = ""
    assumed: tuple[str, ...] = ()
    fault: str = ""


Rule = Callable[[Node, Program], Iterator[LinearMap]]


def linear_maps(node: Node, program: Program) -> Iterator[LinearMap]:
    """The linear maps of a node by constants; none for a node without weights."""
    rule = RULES.get(node.target)
    return rule(node, program) if rule else iter(())


def convolution(node: Node, _program: Program) -> Iterator[LinearMap]:
    """Convolutions of any kind, transposed ones too; their weight is the argument of that name."""
    transposed = "transpose" in node.target or (node.arguments.get("transposed", {}).get("as_bool") is True)
    yield LinearMap(
        weight=node.tensor("weight"),
        op=convolution_op({"transposed": transposed}),
        geometry=lambda shape: _geometry(node, shape, transposed=transposed),
        data=node.tensor("input"),
    )


def _geometry(node: Node, shape: tuple[int, ...], *, transposed: bool) -> Geometry:
    named = node.arguments.get("padding", {}).get("as_string")
    arguments = {
        **{name: node.integers(name, (1,)) for name in ("stride", "dilation")},
        "groups": node.number("groups", 1),
        "transposed": transposed,
        "padding": named or node.integers("padding", (0,)),
        "output_padding": node.integers("output_padding", (0,)) if transposed else 0,
    }
    found = torch_geometry(arguments, shape)
    if found is None:
        raise NoNumberError("strides, dilations, paddings or groups that fit no kernel")
    return found


def linear(node: Node, _program: Program) -> Iterator[LinearMap]:
    """`x W' + b`."""
    yield LinearMap(weight=node.tensor("weight"), op="Gemm")


def product(left: str, right: str) -> Rule:
    """The rule of a product of matrices of which these arguments are the factors."""

    def rule(node: Node, program: Program) -> Iterator[LinearMap]:
        names = node.tensor(left), node.tensor(right)
        constant = [program.is_constant(name) for name in names]
        if constant[0] == constant[1]:
            return  # a product of two activations or of two constants is not a layer
        index, factor, fault = constant.index(True), 1.0, ""
        try:
            factor = node.number("alpha", 1.0)
        except NoNumberError as error:
            fault = str(error)
        yield LinearMap(
            weight=names[index],
            op="Gemm" if "addmm" in node.target else "MatMul",
            flip=index == 1,
            factor=factor,
            fault=fault,
        )

    return rule


def recurrent(node: Node, program: Program) -> Iterator[LinearMap]:
    """The matrices among the parameters of an LSTM, GRU or RNN."""
    op = node.target.split(".")[1].partition("_")[0].upper()
    for parameter in node.arguments.get("params", {}).get("as_tensors", ()):
        if len(program.shapes.get(parameter["name"], ())) == 2:
            yield LinearMap(weight=parameter["name"], op=op, assumed=(RECURRENT,))


def kernel(values: torch.Tensor, found: LinearMap) -> torch.Tensor:
    """The kernel, from the constant's values."""
    turned = values.movedim(-1, 0) if found.flip else values
    return turned if found.factor == 1 else turned.double() * found.factor


RULES: dict[str, Rule] = {
    **{f"aten.conv{axes}d.{form}": convolution for axes in (1, 2, 3) for form in ("default", "padding")},
    "aten.conv_transpose1d.default": convolution,
    "aten.conv_transpose2d.input": convolution,
    "aten.conv_transpose3d.input": convolution,
    "aten.convolution.default": convolution,
    "aten.linear.default": linear,
    "aten.addmm.default": product("mat1", "mat2"),
    "aten.mm.default": product("self", "mat2"),
    "aten.bmm.default": product("self", "mat2"),
    "aten.matmul.default": product("self", "other"),
    "aten.lstm.input": recurrent,
    "aten.gru.input": recurrent,
    "aten.rnn_tanh.input": recurrent,
    "aten.rnn_relu.input": recurrent,
}
