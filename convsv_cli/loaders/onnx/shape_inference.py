"""Shapes of all tensors at the input size that the user asks for, by ONNX shape inference.

onnx is given a skeleton of the model: without weights, and without results of an earlier inference.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from convsv_cli import limits
from convsv_cli.confinement import StoppedError
from convsv_cli.limits import LimitError
from convsv_cli.loaders.onnx.confined import LARGE, ContradictionError, run
from convsv_cli.loaders.onnx.constants import Constants
from convsv_cli.loaders.onnx.history import standard_opset
from convsv_cli.loaders.onnx.runtime_sizes import STORED, as_runtimes
from convsv_cli.loaders.onnx.scopes import Scope, bodies, constant_tensor, scopes
from convsv_cli.loaders.onnx.settling import SMALL
from convsv_cli.loaders.onnx.shapes import (
    Shapes,
    dims,
    forget_outputs,
    has_shape,
    impossible,
    inputs_of,
    resized,
    shapes_of,
)
from convsv_cli.loaders.onnx.stand_ins import stand_in
from convsv_cli.loaders.onnx.tensors import Stored, embed, external_file, head
from convsv_cli.model.graph import UnknownValueError
from convsv_cli.model.network import InputSize

ROUND = 100
"""Steps of a round of inference, for each byte of the skeleton: there are as many as find something."""
STOPPED = "the input sizes of its layers are unknown: shape inference was stopped because {}"


def infer(model: ModelProto, model_scopes: list[Scope], size: InputSize, path: Path) -> Shapes:
    """Infer all shapes with the inputs' dimensions replaced by what `size` says.

    Raises:
        UsageError: `size` names an unknown input, has the wrong number of axes, or is impossible.
    """
    inputs = inputs_of(model.graph)
    skeleton = skeleton_of(model, path)
    _fold(skeleton, path)
    inferred, notes = resized(skeleton, inputs, size, path), list[str]()
    try:
        inferred = _run(inferred, skeleton, size, path)
        seen = list[
            ModelProto
        ]()  # where branches of an If contradict each other, what was noted is forgotten
        while not _complete(inferred.graph) and inferred not in seen:
            limits.spend(ROUND * inferred.ByteSize(), "a round of shape inference", share=0.25)
            seen = [*seen[-1:], inferred]
            settled = run("settled", inferred)
            if settled == inferred:
                break
            inferred = _run(settled, skeleton, size, path)
    except (StoppedError, LimitError) as error:
        notes.append(STOPPED.format(error))
    return replace(shapes_of(list(scopes(inferred.graph)), model_scopes, inputs), notes=tuple(notes))


def _complete(graph: GraphProto) -> bool:
    """Whether all dimensions of all results in a graph, and in the bodies in it, are known."""
    values = {value.name: dims(value) for value in (*graph.value_info, *graph.output) if has_shape(value)}
    names = (name for node in graph.node for name in node.output if name)
    known = all(all(isinstance(n, int) for n in values.get(name, "?")) for name in names)
    return known and all(_complete(body) for node in graph.node for _, body in bodies(node))


def _fold(skeleton: ModelProto, path: Path) -> None:
    """Compute small constants, such as the pads that torch exports as expressions: inference stops there."""
    opsets = {entry.domain: entry.version for entry in skeleton.opset_import}
    constants = Constants(model=path, opsets=opsets)
    for scope in scopes(skeleton.graph):
        for node in scope.graph.node:
            if node.op_type == "Constant" or len(node.output) != 1 or scope.varies(node.output[0]):
                continue
            with contextlib.suppress(UnknownValueError):
                constant = constants.find(scope, node.output[0])
                if constant is not None and math.prod(constant.shape) <= SMALL:
                    value = onnx.numpy_helper.from_array(constant.read())
                    node.CopyFrom(onnx.helper.make_node("Constant", [], node.output, value=value))


def _run(model: ModelProto, original: ModelProto, size: InputSize, path: Path) -> ModelProto:
    """Inference that stops at contradictions, unless the graph has some at its `original` input size too.

    A graph with bodies may: one branch of an If is for other sizes than the other.

    Raises:
        UsageError: the input size is impossible.
        StoppedError: it took too long or too much memory, or crashed.
    """
    try:
        return run("infer_strictly", model)
    except ContradictionError as error:
        asked = size.size or size.shapes
        branching = any(any(bodies(node)) for node in original.graph.node)
        if asked and not branching and _consistent(original):
            raise impossible(size, path, str(error)) from error
    _forget_results(model.graph)
    try:
        return run("infer", model)
    except ContradictionError:
        return model


def _consistent(model: ModelProto) -> bool:
    try:
        run("infer_strictly", model)
    except ContradictionError:
        return False
    return True


def _forget_results(graph: GraphProto) -> None:
    """Forget declared shapes: where they contradict what is computed, runtimes go by the latter."""
    stored = {node.output[0] for node in graph.node if node.domain == STORED}
    kept = [value for value in graph.value_info if value.name in stored]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    forget_outputs(graph)
    for node in graph.node:
        for _, body in bodies(node):
            _forget_results(body)


def skeleton_of(model: ModelProto, path: Path) -> ModelProto:
    """The model without large initializers, which become inputs of their shape, and without old results.

    It keeps small ones, and embeds those that the file at `path` stores in external files.

    Raises:
        UnreadableModelError, UnsafeModelError: as `tensors.check`, of these.
    """
    skeleton = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    skeleton.opset_import.add(domain=STORED, version=1)
    graph = skeleton.graph
    graph.name = model.graph.name or "graph"
    for node in model.graph.node:
        _add_node(node, graph)
    graph.output.extend(model.graph.output)
    names = inputs_of(model.graph)
    graph.input.extend(value for value in model.graph.input if value.name in names)
    for value in graph.input:
        _open_sizes(value)
    for tensor in model.graph.initializer:
        if _is_small(tensor):
            graph.initializer.append(tensor)
        else:
            graph.input.append(_value(tensor.name, tensor))
    graph.input.extend(_value(sparse.values.name, sparse) for sparse in model.graph.sparse_initializer)
    _embed(graph, path)
    opset = standard_opset({entry.domain: entry.version for entry in model.opset_import})
    graph.input.extend(stand_in(graph, opset))
    as_runtimes(graph, {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer})
    for node in graph.node:
        for _, body in bodies(node):
            _forget_results(body)
    return skeleton


def _open_sizes(value: ValueInfoProto) -> None:
    """Forget sizes of 0 and -1, by which some exporters mean any size."""
    for dim in value.type.tensor_type.shape.dim:
        if dim.dim_value < 1:
            dim.ClearField("dim_value")


def _is_small(tensor: TensorProto) -> bool:
    return bool(math.prod(tensor.dims) <= SMALL and tensor.ByteSize() <= LARGE)


def _value(name: str, stored: Stored) -> ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, head(stored).data_type, stored.dims)


def _add_node(node: NodeProto, graph: GraphProto) -> None:
    stored = constant_tensor(node)
    if node.ByteSize() <= LARGE:
        graph.node.append(node)
    elif stored is not None:
        _add_stored(node.output[0], stored, graph)
    else:
        copy = graph.node.add(
            op_type=node.op_type, domain=node.domain, name=node.name, input=node.input, output=node.output
        )
        for attribute in node.attribute:
            _add_attribute(attribute, copy)


def _add_stored(name: str, stored: Stored, graph: GraphProto) -> None:
    graph.node.add(op_type="Stored", domain=STORED, output=[name])
    graph.value_info.append(_value(name, stored))


def _add_attribute(attribute: AttributeProto, node: NodeProto) -> None:
    if attribute.type not in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
        node.attribute.append(attribute)
        return
    copy = node.attribute.add(name=attribute.name, type=attribute.type)
    if attribute.HasField("g"):
        _copy_body(attribute.g, copy.g)
    for body in attribute.graphs:
        _copy_body(body, copy.graphs.add())


def _copy_body(body: GraphProto, copy: GraphProto) -> None:
    copy.name = body.name
    copy.input.extend(body.input)
    copy.output.extend(body.output)
    copy.value_info.extend(body.value_info)
    copy.sparse_initializer.extend(body.sparse_initializer)
    defaults = {value.name for value in body.input}
    for tensor in body.initializer:
        if _is_small(tensor) or tensor.name in defaults:
            copy.initializer.append(tensor)
        else:
            _add_stored(tensor.name, tensor, copy)
    for node in body.node:
        _add_node(node, copy)


def _embed(graph: GraphProto, path: Path) -> None:
    """Embed the values of external tensors: inference does not look for them in files."""
    for tensor in graph.initializer:
        if external_file(tensor) is not None:
            embed(tensor, path)
    for node in graph.node:
        for _, body in bodies(node):
            _embed(body, path)
