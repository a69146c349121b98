"""Shapes of a model's tensors: what users ask for of its inputs, and what is known of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from convsv_cli.errors import UsageError
from convsv_cli.loaders.onnx.scopes import Scope, bodies
from convsv_cli.model.network import InputSize

Dims = tuple[int | str, ...]
"""Unknown dimensions are names or "?"."""
REAL = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Shapes:
    """What is known of all tensors.

    Attributes:
        inputs: names and dimensions of what users feed.
        by_scope, dtypes: dimensions and types by name, for each scope by its path.
        notes: why some are not known, in plain words.
    """

    inputs: tuple[tuple[str, Dims], ...]
    by_scope: dict[str, dict[str, Dims]]
    dtypes: dict[str, dict[str, str]]
    notes: tuple[str, ...] = ()

    def find(self, scope: Scope, name: str) -> Dims | None:
        """The dimensions of the tensor that a name means in a scope; None where nothing is known."""
        home, _ = scope.find(name)
        return self.by_scope[home.path].get(name)

    def dtype(self, scope: Scope, name: str) -> str | None:
        """The element type of the tensor that a name means in a scope; None where it is not known."""
        home, _ = scope.find(name)
        return self.dtypes[home.path].get(name)


def shapes_of(inferred: list[Scope], scopes: list[Scope], inputs: set[str]) -> Shapes:
    """What a model with inferred shapes says of the `scopes` before inference; users feed `inputs`."""
    pairs = [(own.path, each.graph) for own, each in zip(scopes, inferred, strict=True)]
    return Shapes(
        inputs=tuple((value.name, dims(value)) for value in inferred[0].graph.input if value.name in inputs),
        by_scope={path: _dims_by_name(graph) for path, graph in pairs},
        dtypes={path: _types_by_name(graph) for path, graph in pairs},
    )


def _dims_by_name(graph: GraphProto) -> dict[str, Dims]:
    values = [*graph.input, *graph.value_info, *graph.output]
    declared = {value.name: dims(value) for value in values if has_shape(value)}
    return {tensor.name: tuple(tensor.dims) for tensor in graph.initializer} | declared


def _types_by_name(graph: GraphProto) -> dict[str, str]:
    values = [*graph.input, *graph.value_info, *graph.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name: TensorProto.DataType.Name(kind).lower() for name, kind in types.items() if kind}


def has_shape(value: ValueInfoProto) -> bool:
    """Whether anything is said of a tensor's dimensions, if only how many there are."""
    return bool(value.type.tensor_type.HasField("shape"))


def dims(value: ValueInfoProto) -> Dims:
    """A tensor's dimensions: numbers, names, or "?"."""
    shape = value.type.tensor_type.shape
    return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in shape.dim)


def inputs_of(graph: GraphProto) -> set[str]:
    """Names of what the user feeds: graph inputs without a default."""
    stored = {tensor.name for tensor in graph.initializer}
    return {value.name for value in graph.input} - stored - {s.values.name for s in graph.sparse_initializer}


def resized(model: ModelProto, inputs: set[str], size: InputSize, path: Path) -> ModelProto:
    """A copy whose inputs have the shapes that `size` asks for, with one sample per batch.

    Raises:
        UsageError: `size` names an unknown input, or has the wrong number of axes.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    shapes = dict(size.shapes)
    unknown = shapes.keys() - inputs
    if unknown:
        raise UsageError(
            f"the graph has no input {min(unknown)!r}",
            where=str(path),
            hint=f"its inputs are {', '.join(sorted(inputs))}",
        )
    fed = [value for value in copy.graph.input if value.name in inputs]
    images = _images([value for value in fed if value.name not in shapes], size, path) if size.size else []
    for value in fed:
        _resize(value, shapes.get(value.name) or _sized(value, size, spatial=value in images), path)
    if shapes or size.size:
        forget_outputs(copy.graph)
    return copy


def forget_outputs(graph: GraphProto) -> None:
    """Forget the shapes that outputs are declared to have."""
    for output in graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")


def _resize(value: ValueInfoProto, shape: tuple[int, ...], path: Path) -> None:
    """Give an input this shape; 0 leaves a dimension as it is, and () leaves all of them."""
    tensor = value.type.tensor_type
    if not shape:
        return
    if not tensor.HasField("shape"):
        tensor.shape.dim.extend([onnx.TensorShapeProto.Dimension() for _ in shape])
    dim = tensor.shape.dim
    if len(shape) != len(dim):
        raise UsageError(
            f"the input {value.name!r} has {len(dim)} dimensions, not {len(shape)}",
            where=str(path),
            hint=f"it is {_times(dims(value))}",
        )
    for one, wanted in zip(dim, shape, strict=True):
        if wanted:
            one.dim_value = wanted


def _images(values: list[ValueInfoProto], size: InputSize, path: Path) -> list[ValueInfoProto]:
    """The inputs [batch, channels, *spatial] that `size` is for: those with open sizes if any, else all.

    Raises:
        UsageError: it fits none of them.
    """
    spatial = [v for v in values if len(dims(v)) > 2 and v.type.tensor_type.elem_type in REAL]
    open_ = [v for v in spatial if any(not isinstance(size, int) for size in dims(v)[2:])]
    fitting = [v for v in open_ or spatial if size.for_axes(len(dims(v)) - 2)]
    if not fitting and not size.shapes:
        shapes = [f"{v.name}:{_times(dims(v))}" for v in open_ or values]
        raise UsageError(
            f"no input has as many spatial axes as the input size {size}",
            where=str(path),
            hint=f"use --input-shape; its inputs are {', '.join(shapes)}",
        )
    return fitting


def _sized(value: ValueInfoProto, size: InputSize, *, spatial: bool) -> tuple[int, ...]:
    """An input's shape with one sample per batch, and at the size asked for; 0 for what is left as it is."""
    known = dims(value)
    batch = tuple(0 if isinstance(first, int) else 1 for first in known[:1])
    asked = size.for_axes(len(known) - 2) if spatial else None
    return (*batch, 0, *asked) if asked else (*batch, *(0,) * len(known[1:]))


def _times(dims: Dims) -> str:
    return "x".join(map(str, dims))


def impossible(size: InputSize, path: Path, reason: str) -> UsageError:
    """The error for an input size that the network does not accept."""
    asked = str(size) or ", ".join(f"{name}:{_times(shape)}" for name, shape in size.shapes)
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    return UsageError(
        f"the network does not accept the input size {asked}: {lines[-1] if lines else 'shapes contradict'}",
        where=str(path),
        hint="choose another --input-size, or give --input-shape" if size.size else "choose other shapes",
    )


def freeze(scopes: list[Scope], shapes: Shapes) -> None:
    """Make Shape and Size nodes constants where the dimensions are known, and CastLike a Cast."""
    for scope in scopes:
        for node in scope.graph.node:
            first, second = (*node.input, "", "")[:2]
            like = shapes.dtype(scope, second)
            kind = TensorProto.DataType.Value(like.upper()) if like else 0
            if not any(bodies(node)):  # shapes are known by the paths of bodies, which stay as they are
                frozen(node, shapes.find(scope, first), kind)


def frozen(node: NodeProto, sizes: Dims | None, like: int) -> bool:
    """Make a Shape or Size a constant, and a CastLike a Cast, in place; whether that was done.

    Args:
        node: may be any other as well, which stays as it is.
        sizes: dimensions of its first input; None where nothing is known of them.
        like: element type of its second input, of `TensorProto.DataType`; 0 where that is not known.
    """
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "CastLike" and like:
        node.CopyFrom(onnx.helper.make_node("Cast", node.input[:1], node.output, node.name, to=like))
        return True
    if node.op_type not in ("Shape", "Size") or sizes is None or not all(isinstance(n, int) for n in sizes):
        return False
    numbers = np.array(sizes, np.int64)
    window = {attribute.name: attribute.i for attribute in node.attribute}
    value = numbers[window.get("start", 0) : window.get("end", len(numbers))]
    if node.op_type == "Size":
        value = np.asarray(np.prod(numbers), np.int64)
    constant = onnx.numpy_helper.from_array(value)
    node.CopyFrom(onnx.helper.make_node("Constant", [], node.output, node.name, value=constant))
    return True
