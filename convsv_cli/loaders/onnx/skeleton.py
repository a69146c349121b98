"""A model for shape inference: without weights, and without results of an earlier inference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    ValueInfoProto,
)

from convsv_cli.loaders.onnx.confined import LARGE
from convsv_cli.loaders.onnx.scopes import bodies, constant_tensor
from convsv_cli.loaders.onnx.tensors import embed, external_file

SMALL = 1024
"""Initializers of so many elements may be shapes that inference wants to see; it needs no larger one."""
STORED = "convsv"
"""The domain of nodes that stand for large tensors where those cannot be inputs."""


def inputs_of(graph: GraphProto) -> set[str]:
    """Names of what the user feeds: graph inputs without a default."""
    stored = {tensor.name for tensor in graph.initializer}
    return {value.name for value in graph.input} - stored - {s.values.name for s in graph.sparse_initializer}


def skeleton_of(model: ModelProto, path: Path) -> ModelProto:
    """The model without large initializers, which become inputs of their shape, and without old results.

    Small ones are in it, also those that the file at `path` keeps in others.

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
    _mend_output_paddings(graph, {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer})
    return skeleton


def _mend_output_paddings(graph: GraphProto, outer: Mapping[str, tuple[int, ...]]) -> None:
    """Leave so much of them that inference comes to the sizes that runtimes come to.

    With SAME_UPPER and SAME_LOWER, the output of a ConvTranspose is no longer than input times stride,
    whatever its output padding; inference adds that on top. `outer` are shapes of constants around the graph;
    where that of the kernel is not known, nor is the output's.
    """
    shapes = {**outer, **dict(_constant_shapes(graph))}
    for node in graph.node:
        for _, body in bodies(node):
            _mend_output_paddings(body, shapes)
        attributes = {entry.name: entry for entry in node.attribute}
        further = attributes.get("output_padding")
        same = "auto_pad" in attributes and attributes["auto_pad"].s.startswith(b"SAME")
        if node.op_type != "ConvTranspose" or not same or "output_shape" in attributes:
            continue
        if further is None or not any(further.ints):
            continue
        axes = len(further.ints)
        kernel = _integers(attributes.get("kernel_shape")) or shapes.get(node.input[1], ())[2:]
        strides, dilations = (_integers(attributes.get(n)) or (1,) * axes for n in ("strides", "dilations"))
        if not len(kernel) == len(strides) == len(dilations) == axes:
            node.domain = STORED
            continue
        room = [max(0, s - d * (k - 1) - 1) for s, d, k in zip(strides, dilations, kernel, strict=True)]
        further.ints[:] = list(map(min, further.ints, room))


def _constant_shapes(graph: GraphProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    """By name, of initializers, of what Constant nodes hold, and of what nodes stand for."""
    for tensor in graph.initializer:
        yield tensor.name, tuple(tensor.dims)
    values = {value.name: value.type.tensor_type.shape for value in graph.value_info}
    for node in graph.node:
        held = constant_tensor(node)
        if held is not None:
            yield node.output[0], tuple(held.dims)
        elif node.domain == STORED:
            yield node.output[0], tuple(dim.dim_value for dim in values[node.output[0]].dim)


def _integers(attribute: AttributeProto | None) -> tuple[int, ...]:
    return () if attribute is None else tuple(attribute.ints)


def forget_results(graph: GraphProto) -> None:
    """Where declared shapes contradict what is computed, runtimes go by the latter."""
    stored = {node.output[0] for node in graph.node if node.domain == STORED}
    kept = [value for value in graph.value_info if value.name in stored]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    for output in graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    for node in graph.node:
        for _, body in bodies(node):
            forget_results(body)


def _embed(graph: GraphProto, path: Path) -> None:
    """Put the values of external tensors in: inference does not look for them elsewhere."""
    for tensor in graph.initializer:
        if external_file(tensor) is not None:
            embed(tensor, path)
    for node in graph.node:
        for _, body in bodies(node):
            _embed(body, path)


def _open_sizes(value: ValueInfoProto) -> None:
    """Forget sizes of 0 and -1, by which some exporters mean that any will do."""
    for dim in value.type.tensor_type.shape.dim:
        if dim.dim_value < 1:
            dim.ClearField("dim_value")


def _is_small(tensor: TensorProto) -> bool:
    return bool(math.prod(tensor.dims) <= SMALL and tensor.ByteSize() <= LARGE)


def _value(name: str, stored: TensorProto | SparseTensorProto) -> ValueInfoProto:
    kind = stored.values.data_type if isinstance(stored, SparseTensorProto) else stored.data_type
    return onnx.helper.make_tensor_value_info(name, kind, stored.dims)


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


def _add_stored(name: str, stored: TensorProto | SparseTensorProto, graph: GraphProto) -> None:
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
