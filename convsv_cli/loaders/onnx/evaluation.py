"""One node of a constant expression, computed by the rules of its own operator set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
from onnx import FunctionProto, NodeProto, OperatorSetIdProto
from onnx.reference import ReferenceEvaluator

from convsv_cli.loaders.onnx.dequantise import dequantise
from convsv_cli.loaders.onnx.history import NEWEST, Reading, UnreadableNodeError, as_newest, unchanged
from convsv_cli.loaders.onnx.tensors import Array, embed, external_file, stored_parts
from convsv_cli.model.graph import Names, UnknownValueError

SHORT = 1024
"""Bytes of a node that is worth remembering: a longer one may take much memory once it is read."""


class NotFoldableError(UnknownValueError):
    """The expression is constant, but too large to compute or beyond the reference implementation."""


def self_contained(node: NodeProto, model: Path) -> NodeProto:
    """The node with all tensors of its attributes in it.

    The reference implementation would look for those in other files in the current folder.

    Raises:
        NotFoldableError: in other files is more than one number; no foldable operator takes more.
        UnreadableModelError, UnsafeModelError: as `tensors.check`, of these.
    """
    if all(external_file(part) is None for part in stored_parts(node)):
        return node
    copy = NodeProto()
    copy.CopyFrom(node)
    for part in stored_parts(copy):
        if external_file(part) is None:
            continue
        if math.prod(part.dims) != 1:
            raise NotFoldableError(f"a constant {node.op_type} with more than one number in another file")
        embed(part, model)
    return copy


def reading(node: NodeProto, operands: Sequence[Array | None], opset: int) -> Reading:
    """The node in the newest operator set.

    Raises:
        NotFoldableError: its operator set does not define it.
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
        raise NotFoldableError(f"a constant {node.op_type} of opset {opset}, {error}") from error


def named(names: Iterable[str], values: Iterable[Array | None]) -> dict[str, Array]:
    """Those that are there, by name."""
    pairs = zip(names, values, strict=False)
    return {name: value for name, value in pairs if name and value is not None}


def applied(node: NodeProto, operands: Sequence[Array | None], opset: int) -> dict[str, Array]:
    """The results, by name, of a node of the newest operator set, in the types that the graph says.

    They are those of onnx's reference implementation; `opset` counts only where it is newer than what convsv
    knows.

    Raises:
        NotFoldableError: that has none, or the node is damaged.
    """
    if node.op_type == "DequantizeLinear":
        return {node.output[0]: _dequantise(node, operands)}
    form = _form(node)
    make = _remembered if len(form) <= SHORT else _evaluator
    feeds = {f"x{index}": value for index, value in enumerate(operands) if value is not None}
    try:
        with np.errstate(all="ignore"):
            results = make(form, max(opset, NEWEST)).run(None, feeds, {})
    except Exception as error:
        raise NotFoldableError(
            f"a constant {node.op_type} of opset {opset} that cannot be computed: {error}"
        ) from error
    outputs = (name for name in node.output if name)
    return {name: np.asarray(result) for name, result in zip(outputs, results, strict=True)}


def _form(node: NodeProto) -> bytes:
    """The node with its inputs and outputs numbered: what is the same for nodes that do the same."""
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
    """As onnxruntime, of every operator set and in its own domain too."""
    values, scale, zero_point = (*operands, None)[:3]
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    kind = attributes.get("output_dtype", 0)
    if values is None or scale is None:
        raise NotFoldableError("a DequantizeLinear without a scale")
    try:
        return dequantise(
            values,
            scale,
            zero_point,
            axis=attributes.get("axis", 1),
            block_size=attributes.get("block_size", 0),
            dtype=onnx.helper.tensor_dtype_to_np_dtype(kind) if kind else scale.dtype,
        )
    except (ValueError, IndexError, KeyError) as error:
        raise NotFoldableError(f"a DequantizeLinear that cannot be computed: {error}") from error
