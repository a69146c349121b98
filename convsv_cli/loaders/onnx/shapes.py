"""Shapes of all tensors at the input size that the user asks for, by ONNX shape inference."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

from convsv_cli.errors import UsageError
from convsv_cli.loaders.onnx.constants import Constants, NotFoldableError
from convsv_cli.loaders.onnx.freezing import freeze
from convsv_cli.loaders.onnx.scopes import Scope, bodies, scopes
from convsv_cli.loaders.onnx.shape_table import Shapes, dims, shapes_of
from convsv_cli.network import InputSize

SMALL = 1024
"""Initializers of so many elements may be shapes that inference wants to see; it needs no larger one."""


ROUNDS = 3
"""Of inference: values that follow from shapes decide on further shapes."""


def infer(model: ModelProto, model_scopes: list[Scope], size: InputSize, path: Path) -> Shapes:
    """Infer all shapes with the inputs' dimensions replaced by what `size` says.

    Raises:
        UsageError: `size` names an unknown input, has the wrong number of axes, or is impossible.
    """
    inputs = _inputs(model.graph)
    skeleton = _skeleton(model)
    _fold(skeleton, path)
    resized = _resized(skeleton, inputs, size, path)
    inferred = _run(resized, skeleton, size, path)
    for _ in range(ROUNDS):
        found = list(scopes(inferred.graph))
        own = shapes_of(found, found, inputs)
        if own.complete or not freeze(found, own):
            break
        _fold(inferred, path)
        inferred = _run(inferred, skeleton, size, path)
    return shapes_of(list(scopes(inferred.graph)), model_scopes, inputs)


def _inputs(graph: GraphProto) -> set[str]:
    """Names of what the user feeds: graph inputs without a default."""
    stored = {tensor.name for tensor in graph.initializer}
    return {value.name for value in graph.input} - stored - {s.values.name for s in graph.sparse_initializer}


def _skeleton(model: ModelProto) -> ModelProto:
    """The model without large initializers, which become inputs of their shape, and without old results."""
    skeleton = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = skeleton.graph
    graph.name = model.graph.name or "graph"
    graph.node.extend(model.graph.node)
    graph.output.extend(model.graph.output)
    names = _inputs(model.graph)
    graph.input.extend(value for value in model.graph.input if value.name in names)
    for value in graph.input:
        _open_sizes(value)
    for tensor in model.graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL and math.prod(tensor.dims) <= SMALL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for sparse in model.graph.sparse_initializer:
        kind = sparse.values.data_type
        graph.input.append(onnx.helper.make_tensor_value_info(sparse.values.name, kind, sparse.dims))
    return skeleton


def _fold(skeleton: ModelProto, path: Path) -> None:
    """Compute small constants, such as the pads that torch exports as expressions: inference stops there."""
    opsets = {entry.domain: entry.version for entry in skeleton.opset_import}
    constants = Constants(model=path, opsets=opsets)
    for scope in scopes(skeleton.graph):
        for node in scope.graph.node:
            if node.op_type == "Constant" or len(node.output) != 1 or scope.varies(node.output[0]):
                continue
            with contextlib.suppress(NotFoldableError):
                constant = constants.find(scope, node.output[0])
                if constant is not None and math.prod(constant.shape) <= SMALL:
                    value = onnx.numpy_helper.from_array(constant.read())
                    node.CopyFrom(onnx.helper.make_node("Constant", [], node.output, value=value))


def _open_sizes(value: ValueInfoProto) -> None:
    """Forget sizes of 0 and -1, by which some exporters mean that any will do."""
    for dim in value.type.tensor_type.shape.dim:
        if dim.dim_value < 1:
            dim.ClearField("dim_value")


def _resized(skeleton: ModelProto, inputs: set[str], size: InputSize, path: Path) -> ModelProto:
    model = ModelProto()
    model.CopyFrom(skeleton)
    shapes = dict(size.shapes)
    unknown = shapes.keys() - inputs
    if unknown:
        raise UsageError(
            f"the graph has no input {min(unknown)!r}",
            where=str(path),
            hint=f"its inputs are {', '.join(sorted(inputs))}",
        )
    fed = [value for value in model.graph.input if value.name in inputs]
    images = _images([value for value in fed if value.name not in shapes], size, path) if size.size else []
    for value in fed:
        _resize(value, shapes.get(value.name) or _sized(value, size, spatial=value in images), path)
    if shapes or size.size:
        del model.graph.value_info[:]
        for output in model.graph.output:
            if output.type.HasField("tensor_type"):
                output.type.tensor_type.ClearField("shape")
    return model


def _resize(value: ValueInfoProto, shape: tuple[int, ...], path: Path) -> None:
    """Give an input this shape, of which 0 leaves a dimension as it is, and () all of them."""
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
            hint=f"it is {'x'.join(map(str, dims(value)))}",
        )
    for one, wanted in zip(dim, shape, strict=True):
        if wanted:
            one.dim_value = wanted


def _images(values: list[ValueInfoProto], size: InputSize, path: Path) -> list[ValueInfoProto]:
    """The inputs [batch, channels, *spatial] that `size` is for: those of open sizes, or else all.

    Raises:
        UsageError: it fits none of them.
    """
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    spatial = [v for v in values if len(dims(v)) > 2 and v.type.tensor_type.elem_type in floats]
    open_ = [v for v in spatial if any(not isinstance(size, int) for size in dims(v)[2:])]
    fitting = [v for v in open_ or spatial if size.for_axes(len(dims(v)) - 2)]
    if not fitting and not size.shapes:
        shapes = [f"{v.name}:{'x'.join(map(str, dims(v)))}" for v in open_ or values]
        raise UsageError(
            f"no input has the spatial axes of the input size {size}",
            where=str(path),
            hint=f"use --input-shape; its inputs are {', '.join(shapes)}",
        )
    return fitting


def _sized(value: ValueInfoProto, size: InputSize, *, spatial: bool) -> tuple[int, ...]:
    """An input's shape with one sample a batch, and at the size asked for; 0 is what is left as it is."""
    known = dims(value)
    batch = tuple(0 if isinstance(first, int) else 1 for first in known[:1])
    asked = size.for_axes(len(known) - 2) if spatial else None
    return (*batch, 0, *asked) if asked else (*batch, *(0 for _ in known[1:]))


def _run(resized: ModelProto, original: ModelProto, size: InputSize, path: Path) -> ModelProto:
    """Inference that stops at contradictions, unless the graph has some at its own input size too.

    A graph with bodies may: a branch of an If is for other sizes than another one.
    """
    try:
        return onnx.shape_inference.infer_shapes(resized, strict_mode=True, data_prop=True)
    except Exception as error:
        asked = size.size or size.shapes
        branching = any(any(bodies(node)) for node in original.graph.node)
        if asked and not branching and _consistent(original):
            raise impossible(size, path, str(error)) from error
    _forget_results(resized.graph)
    try:
        return onnx.shape_inference.infer_shapes(resized, data_prop=True)
    except Exception:  # noqa: BLE001
        return resized


def _forget_results(graph: GraphProto) -> None:
    """Where declared shapes contradict what is computed, runtimes go by the latter."""
    del graph.value_info[:]
    for output in graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    for node in graph.node:
        for _, body in bodies(node):
            _forget_results(body)


def _consistent(model: ModelProto) -> bool:
    try:
        onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception:  # noqa: BLE001
        return False
    return True


def impossible(size: InputSize, path: Path, reason: str) -> UsageError:
    """The error for an input size that the network cannot have."""
    asked = str(size) or ", ".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in size.shapes)
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    return UsageError(
        f"the network cannot have the input size {asked}: {lines[-1] if lines else 'shapes contradict'}",
        where=str(path),
        hint="choose another --input-size, or give --input-shape",
    )
