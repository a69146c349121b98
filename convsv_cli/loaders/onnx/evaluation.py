"""One node of a constant expression: what it gives by its own operator set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
from onnx import FunctionProto, NodeProto, OperatorSetIdProto
from onnx.reference import ReferenceEvaluator

from convsv_cli.loaders.onnx.costs import is_text
from convsv_cli.loaders.onnx.history import as_newest, unchanged
from convsv_cli.loaders.onnx.rewriting import Reading
from convsv_cli.loaders.onnx.signatures import NEWEST, UnreadableNodeError
from convsv_cli.loaders.onnx.tensors import Array, embed, external_file, stored_parts
from convsv_cli.model.graph import Names, UnknownValueError

SHORT = 1024
"""Bytes of the longest node whose evaluator is kept: that of a longer one may take much memory."""


def self_contained(node: NodeProto, model: Path) -> NodeProto:
    """The node with the values of its attributes' tensors embedded.

    The reference implementation would look for external files in the current folder.

    Raises:
        UnknownValueError: an external tensor has more than one entry; no foldable operator takes such.
        UnreadableModelError, UnsafeModelError: as `tensors.check`, of these tensors.
    """
    if all(external_file(part) is None for part in stored_parts(node)):
        return node
    copy = NodeProto()
    copy.CopyFrom(node)
    for part in stored_parts(copy):
        if external_file(part) is None:
            continue
        if math.prod(part.dims) != 1:
            raise UnknownValueError(f"a constant {node.op_type} with more than one number in another file")
        embed(part, model)
    return copy


def reading(node: NodeProto, operands: Sequence[Array | None], opset: int) -> Reading:
    """The node in the newest operator set.

    Raises:
        UnknownValueError: its operator set does not define it.
    """
    try:
        return unchanged(node, opset) or as_newest(
            node,
            opset,
            shapes=[None if operand is None else operand.shape for operand in operands],
            dtypes=[None if operand is None else operand.dtype for operand in operands],
            new=Names((*node.input, *node.output)).new,
        )
    except UnreadableNodeError as error:
        raise UnknownValueError(f"a constant {node.op_type} of opset {opset}, {error}") from error


def named(names: Iterable[str], values: Iterable[Array | None]) -> dict[str, Array]:
    """The values that are not None, by name."""
    pairs = zip(names, values, strict=False)
    return {name: value for name, value in pairs if name and value is not None}


def applied(node: NodeProto, operands: Sequence[Array | None], opset: int) -> dict[str, Array]:
    """The results, by name, of a node of the newest operator set, in the types that the graph says.

    They are computed by onnx's reference implementation; `opset` matters only where it is newer than what
    convsv knows.

    Raises:
        UnknownValueError: it does not implement the operator, or the node is damaged.
    """
    if is_text(node, operands):
        raise UnknownValueError(f"a constant {node.op_type} of strings, which convsv does not compute")
    if node.op_type == "DequantizeLinear":
        return {node.output[0]: _dequantise(node, operands)}
    if node.op_type == "Slice" and len(operands) > 4:
        operands = _begun(operands)
    form = _form(node)
    make = _remembered if len(form) <= SHORT else _evaluator
    feeds = {f"x{index}": value for index, value in enumerate(operands) if value is not None}
    try:
        with np.errstate(all="ignore"):
            results = make(form, max(opset, NEWEST)).run(None, feeds, {})
    except Exception as error:
        raise UnknownValueError(
            f"a constant {node.op_type} of opset {opset} that cannot be computed: {error}"
        ) from error
    outputs = (name for name in node.output if name)
    found = {name: np.asarray(result) for name, result in zip(outputs, results, strict=True)}
    if node.input:
        return found
    return {name: result.copy() for name, result in found.items()}  # an evaluator keeps its own constants


def _begun(operands: Sequence[Array | None]) -> Sequence[Array | None]:
    """Those of a Slice, where one that goes backwards begins at the first entry, if not behind it.

    So ONNX's definition has it; the reference implementation slices as NumPy does, and takes nothing.
    """
    data, starts, ends, axes, steps = operands[:5]
    if data is None or starts is None or steps is None:
        return operands
    along = range(starts.size) if axes is None else axes.astype(np.int64).tolist()
    places, back = starts.astype(np.int64), steps.astype(np.int64) < 0
    try:
        first = np.array([-data.shape[axis] for axis in along], np.int64)
        return data, np.where(back, np.maximum(places, first), places), ends, axes, steps
    except (IndexError, ValueError):  # they do not fit together, which the reference says
        return operands


def _form(node: NodeProto) -> bytes:
    """The node with its inputs and outputs numbered: equal for nodes that do the same."""
    form = NodeProto(op_type=node.op_type, domain=node.domain, attribute=node.attribute)
    form.input.extend([name and f"x{index}" for index, name in enumerate(node.input)])
    form.output.extend([name and f"y{index}" for index, name in enumerate(node.output)])
    return bytes(form.SerializeToString())


def _evaluator(form: bytes, opset: int) -> ReferenceEvaluator:
    node = NodeProto.FromString(form)
    alone = FunctionProto(
        name="alone",
        node=[node],
        input=filter(None, node.input),
        output=filter(None, node.output),
        opset_import=[OperatorSetIdProto(version=opset)],
    )
    return ReferenceEvaluator(alone)


_remembered = lru_cache(maxsize=64)(_evaluator)


def _dequantise(node: NodeProto, operands: Sequence[Array | None]) -> Array:
    """`(values - zero_point) * scale`, as onnxruntime has it for every operator set and in its own domain.

    In float32 unless the scale is float64; then rounded to the type of the result.
    """
    values, scale, zero_point = (*operands, None)[:3]
    if values is None or scale is None:
        raise UnknownValueError("a DequantizeLinear without a scale")
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)
    kind = attributes.get("output_dtype", 0)
    wide = np.float64 if scale.dtype == np.float64 else np.float32
    try:
        scales = _spread(scale, values.shape, axis, block)
        if zero_point is None or not zero_point.any():
            shifted = values.astype(wide)
        else:
            zeros = _spread(zero_point, values.shape, axis, block)
            shifted = (values.astype(np.int64) - zeros.astype(np.int64)).astype(wide)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind) if kind else scale.dtype
        return np.asarray((shifted * scales.astype(wide)).astype(dtype))
    except (ValueError, IndexError, KeyError) as error:
        raise UnknownValueError(f"a DequantizeLinear that cannot be computed: {error}") from error


def _spread(parameter: Array, shape: tuple[int, ...], axis: int, block: int) -> Array:
    """Broadcastable to `shape`: one scale or zero point, one per entry of `axis`, or one per block of it."""
    if block > 0:
        if parameter.ndim != len(shape) or parameter.shape[axis] != -(-shape[axis] // block):
            raise ValueError("scales that do not fit the blocks")
        if parameter.shape[:axis] + parameter.shape[axis:][1:] != shape[:axis] + shape[axis:][1:]:
            raise ValueError("scales that do not fit the blocks")
        return np.asarray(parameter.take(np.arange(shape[axis]) // block, axis))
    if parameter.size == 1:
        return parameter.reshape(())
    if parameter.shape != (shape[axis],):
        raise ValueError("scales that do not fit the axis")
    return parameter.reshape([-1 if i == axis % len(shape) else 1 for i in range(len(shape))])
