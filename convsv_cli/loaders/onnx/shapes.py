"""Shapes of all tensors at the input size that the user asks for, by ONNX shape inference."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto

from convsv_cli.confinement import StoppedError
from convsv_cli.errors import UsageError
from convsv_cli.loaders.onnx.confined import ContradictionError, run
from convsv_cli.loaders.onnx.constants import Constants
from convsv_cli.loaders.onnx.evaluation import NotFoldableError
from convsv_cli.loaders.onnx.freezing import freeze
from convsv_cli.loaders.onnx.scopes import Scope, bodies, scopes
from convsv_cli.loaders.onnx.shape_table import Shapes, dims, shapes_of
from convsv_cli.loaders.onnx.skeleton import SMALL, forget_results, inputs_of, skeleton_of
from convsv_cli.model.network import InputSize

ROUNDS = 3
"""Of inference: values that follow from shapes decide on further shapes."""
STOPPED = "the sizes of its layers are not known: shape inference was stopped, because {}"


def infer(model: ModelProto, model_scopes: list[Scope], size: InputSize, path: Path) -> Shapes:
    """Infer all shapes with the inputs' dimensions replaced by what `size` says.

    Raises:
        UsageError: `size` names an unknown input, has the wrong number of axes, or is impossible.
    """
    inputs = inputs_of(model.graph)
    skeleton = skeleton_of(model, path)
    _fold(skeleton, path)
    inferred, notes = _resized(skeleton, inputs, size, path), list[str]()
    try:
        inferred = _run(inferred, skeleton, size, path)
        for _ in range(ROUNDS):
            found = list(scopes(inferred.graph))
            own = shapes_of(found, found, inputs)
            if own.complete or not freeze(found, own):
                break
            _fold(inferred, path)
            inferred = _run(inferred, skeleton, size, path)
    except StoppedError as error:
        notes.append(STOPPED.format(error))
    return replace(shapes_of(list(scopes(inferred.graph)), model_scopes, inputs), notes=tuple(notes))


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

    Raises:
        StoppedError: it took too long or too much memory, or crashed.
    """
    try:
        return run("infer_strictly", resized)
    except ContradictionError as error:
        asked = size.size or size.shapes
        branching = any(any(bodies(node)) for node in original.graph.node)
        if asked and not branching and _consistent(original):
            raise impossible(size, path, str(error)) from error
    forget_results(resized.graph)
    try:
        return run("infer", resized)
    except ContradictionError:
        return resized


def _consistent(model: ModelProto) -> bool:
    try:
        run("infer_strictly", model)
    except ContradictionError:
        return False
    return True


def impossible(size: InputSize, path: Path, reason: str) -> UsageError:
    """The error for an input size that the network cannot have."""
    asked = str(size) or ", ".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in size.shapes)
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    return UsageError(
        f"the network cannot have the input size {asked}: {lines[-1] if lines else 'shapes contradict'}",
        where=str(path),
        hint="choose another --input-size, or give --input-shape" if size.size else "choose other shapes",
    )
