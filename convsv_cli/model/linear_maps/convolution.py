"""Conv and ConvTranspose: the convolution by a kernel, or its adjoint, however it is padded."""

from __future__ import annotations

from dataclasses import dataclass

from convsv_cli.model.graph import Constant, Graph, Node
from convsv_cli.model.layer import CONV, TRANSPOSED, Geometry
from convsv_cli.model.linear_map import NOT_CONSTANT, LinearMap, Maps, unsupported

UNKNOWN = "padding {}, whose amount depends on the unknown input size"
MODES = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


def convolution(node: Node, graph: Graph) -> Maps:
    """The weight is input 1, the bias input 2."""
    weight = graph.constant(node.input(1))
    if weight is None:
        yield unsupported(node, NOT_CONSTANT)
        return
    yield from convolve(node, graph, weight, bias=node.input(2))


def convolve(node: Node, graph: Graph, weight: Constant, *, bias: str = "") -> Maps:
    """The convolution of input 0 by [c_out, c_in / g, *k], or its adjoint by [c_in, c_out / g, *k].

    Args:
        node, graph: give the attributes, and the size of the input.
        weight: as its values are.
        bias: the tensor [c_out] that is added; empty for none.
    """
    axes = len(weight.shape) - 2
    if axes < 1:
        yield unsupported(node, f"a convolution cannot have a kernel with {len(weight.shape)} axes", weight)
        return
    ones = (1,) * axes
    strides, dilations = node.attribute("strides", ones), node.attribute("dilations", ones)
    groups = node.attribute("group", 1)
    fits = len(strides) == len(dilations) == axes and padding_fits(node, axes)
    if not fits or min(*strides, *dilations, groups) < 1:
        yield unsupported(node, "strides, dilations, pads or groups that fit no kernel", weight)
        return
    size = spatial_size(node, graph, axes)
    found = padding(node, weight.shape[2:], size)
    yield LinearMap(
        op=node.type,
        constant=weight,
        kernel_shape=weight.shape,
        arrange=lambda values: values,
        geometry=Geometry(
            stride=strides,
            dilation=dilations,
            groups=groups,
            transposed=node.type == TRANSPOSED,
            padding=found.amounts,
            output_padding=found.output_padding,
            either_way=found.either_way,
        ),
        bias=(bias, 1.0) if bias else None,
        input_size=size,
        assumed=found.assumed,
    )


@dataclass(frozen=True, kw_only=True)
class Padding:
    """How a node is padded, as in `Geometry`.

    Attributes:
        amounts: at the beginning of each axis, then at the end of each; empty where unknown.
        output_padding: of a ConvTranspose; empty for none.
        either_way: the odd element may be on the other side.
        assumed: what was taken for granted.
    """

    amounts: tuple[int, ...]
    output_padding: tuple[int, ...] = ()
    either_way: bool = False
    assumed: tuple[str, ...] = ()


def spatial_size(node: Node, graph: Graph, axes: int) -> tuple[int, ...] | None:
    """The spatial size of the data input; None where some of it is unknown."""
    dims = graph.shapes.get(node.input(0))
    if dims is None or len(dims) != axes + 2:
        return None
    sizes = tuple(size for size in dims[2:] if isinstance(size, int))
    return sizes if len(sizes) == axes else None


def padding_fits(node: Node, axes: int) -> bool:
    """Whether the attributes are there for each of so many spatial axes, and are amounts."""
    further, asked = node.attribute("output_padding", ()), node.attribute("output_shape", ())
    counts = len(node.attribute("pads", (0,) * 2 * axes)), len(further or (0,) * axes)
    return (
        counts == (2 * axes, axes)
        and len(asked) in (0, axes, axes + 2)
        and min(further, default=0) >= 0
        and _mode(node) in MODES
    )


def padding(node: Node, kernel: tuple[int, ...], size: tuple[int, ...] | None) -> Padding:
    """The padding of a node whose attributes fit.

    SAME_UPPER and SAME_LOWER, and the output shape of a ConvTranspose, say how long the output is; an odd
    element goes to the end with SAME_UPPER, else to the beginning. For ConvTranspose it was the other way
    round in opset 1 and in older runtimes.
    """
    mode, axes = _mode(node), len(kernel)
    further, asked = _transposed_attributes(node, axes)
    if mode == "NOTSET" and not asked:
        return Padding(amounts=node.attribute("pads", (0,) * 2 * axes), output_padding=further)
    if mode == "VALID" and not asked:
        return Padding(amounts=(0,) * 2 * axes, output_padding=further)
    transposed = node.type == TRANSPOSED
    if size is None and not transposed and set(kernel) == {1}:
        return Padding(amounts=(0,) * 2 * axes)
    if size is None:
        return Padding(amounts=(), assumed=(UNKNOWN.format("by output_shape" if asked else mode),))
    totals = _transposed_totals(node, kernel, size, asked) if transposed else _totals(node, kernel, size)
    smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
    amounts = (*smaller, *larger) if mode == "SAME_UPPER" else (*larger, *smaller)
    return Padding(amounts=amounts, output_padding=further, either_way=transposed and smaller != larger)


def _mode(node: Node) -> str:
    return node.attribute("auto_pad", "NOTSET") or "NOTSET"


def _transposed_attributes(node: Node, axes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Output padding and output shape, each empty for none; a shape may have batch and channels before."""
    if node.type != TRANSPOSED:
        return (), ()
    further = node.attribute("output_padding", ())
    return further if any(further) else (), node.attribute("output_shape", ())[-axes:]


def _totals(node: Node, kernel: tuple[int, ...], size: tuple[int, ...]) -> list[int]:
    """So that the output is ceil(input / stride) long."""
    ones = (1,) * len(kernel)
    strides, dilations = node.attribute("strides", ones), node.attribute("dilations", ones)
    return [
        max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)
    ]


def _transposed_totals(
    node: Node, kernel: tuple[int, ...], size: tuple[int, ...], asked: tuple[int, ...]
) -> list[int]:
    """So that the output is as long as asked, or else input times stride."""
    ones = (1,) * len(kernel)
    strides, dilations = node.attribute("strides", ones), node.attribute("dilations", ones)
    further = node.attribute("output_padding", ()) or (0,) * len(kernel)
    outputs = asked or tuple(n * s for n, s in zip(size, strides, strict=True))
    return [
        max(s * (n - 1) + more + d * (k - 1) + 1 - out, 0)
        for n, k, s, d, more, out in zip(size, kernel, strides, dilations, further, outputs, strict=True)
    ]


RULES = {CONV: convolution, TRANSPOSED: convolution}
