"""A row for the nodes of a program that share weight, geometry and input size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from convsv_cli.limits import LimitError
from convsv_cli.loaders.convolution import CONVOLUTION_AXES, NO_AXES
from convsv_cli.loaders.loader import StoredTensor, is_real
from convsv_cli.loaders.names import without_training_state
from convsv_cli.loaders.pt2.expressions import Expressions, NotComputableError, Weight
from convsv_cli.loaders.pt2.layers import EXPORTED, LinearMap, kernel, linear_maps
from convsv_cli.loaders.pt2.program import Node, NoNumberError, Program
from convsv_cli.loaders.rows import layer_name, unique
from convsv_cli.model.layer import DEQUANTISED, LOOK_UP, Geometry, Layer, UnsupportedLayer

UNUSED = "no operator of the graph uses it"
SCALING = frozenset(
    f"aten.{name}"
    for name in (
        "add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor", "layer_norm.default",
        "native_layer_norm.default", "rms_norm.default", "prelu.default",
    )
)  # fmt: skip
"""Operators that shift or scale each element by a tensor of their own, which is no layer's weight."""
LOOKING_UP = "aten.embedding"
INDICES = ("int64", "int32", "bool")
Row = Layer | UnsupportedLayer
Tensors = Mapping[str, StoredTensor]


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A row, the stored tensors it uses, and what it shares with nodes that are the same layer."""

    row: Row
    parts: tuple[str, ...]
    key: object


def rows_of(program: Program, tensors: Tensors) -> tuple[Row, ...]:
    """In the order of the nodes; then weights that no operator multiplies by whose rule convsv has."""
    expressions = Expressions(program=program, tensors=tensors)
    found = [
        _found(node, linear, expressions) for node in program.nodes for linear in linear_maps(node, program)
    ]
    used = {part for item in found for part in item.parts}
    merged = [*_merged(found, tensors), *_left_over(program, tensors, used)]
    names = unique(("", row.name) for row in merged)
    return tuple(replace(row, name=name) for name, row in zip(names, merged, strict=True))


def _found(node: Node, linear: LinearMap, expressions: Expressions) -> _Found:
    """The row of one linear map."""
    parts, tensors = expressions.parts(linear.weight), expressions.tensors
    try:
        weight = expressions.find(linear.weight)
        row = _layer(node, linear, weight, expressions.program, tensors)
    except (NotComputableError, NoNumberError) as error:
        unknown = _unsupported(node, linear, str(error), parts, tensors)
        return _Found(row=unknown, parts=parts, key=(id(node), linear.weight))
    shared = weight.tensor.identity or weight.name, row.kernel_shape, linear.flip, linear.factor
    return _Found(row=row, parts=parts, key=(shared, row.op, row.geometry, row.input_size))


def _layer(node: Node, linear: LinearMap, weight: Weight, program: Program, tensors: Tensors) -> Layer:
    """The audited row.

    Raises:
        NotComputableError, NoNumberError: its values or its geometry are not known.
    """
    _check(weight, linear)
    shape = weight.tensor.shape
    size = _input_size(linear, len(shape) - 2, program)
    return Layer(
        name=layer_name(weight.name, node.name, linear.op, node.name),
        weight=weight.name,
        op=linear.op,
        kernel_shape=shape[::-1] if linear.flip else shape,
        dtype=weight.tensor.dtype,
        geometry=Geometry() if linear.geometry is None else linear.geometry(shape),
        input_size=size,
        assumed=(
            *_dequantised(weight, tensors),
            *linear.assumed,
            *((EXPORTED,) if size and linear.data in program.symbolic else ()),
        ),
        read=lambda: _kernel(weight, linear),
    )


def _kernel(weight: Weight, linear: LinearMap) -> torch.Tensor:
    """The values.

    Raises:
        LimitError: they were computed before, and cannot be again within what the model may take.
    """
    try:
        return kernel(weight.tensor.read(), linear)
    except NotComputableError as error:
        raise LimitError(str(error)) from error


def _input_size(linear: LinearMap, axes: int, program: Program) -> tuple[int, ...] | None:
    """Spatial sizes of what a convolution is applied to, a batch or not; none for a matrix."""
    if linear.geometry is None:
        return ()
    shape = program.shapes.get(linear.data, ())
    fits = len(shape) - axes in (1, 2) and min(shape[-axes:]) > 0
    return shape[-axes:] if fits else None


def _check(weight: Weight, linear: LinearMap) -> None:
    """Raises `NotComputableError` where it cannot be audited."""
    if linear.fault:
        raise NotComputableError(linear.fault)
    tensor, axes = weight.tensor, len(weight.tensor.shape) - 2
    if tensor.fault:
        raise NotComputableError(tensor.fault)
    if linear.geometry is None and axes:
        raise NotComputableError(f"a weight with {axes + 2} axes is not a matrix")
    if linear.geometry is not None and axes not in CONVOLUTION_AXES:
        raise NotComputableError(NO_AXES.format(axes + 2))


def _dequantised(weight: Weight, tensors: Tensors) -> Iterator[str]:
    stored = tensors[weight.name].dtype
    if not is_real(stored):
        yield DEQUANTISED.format(stored)


def _unsupported(
    node: Node, linear: LinearMap, reason: str, parts: tuple[str, ...], tensors: Tensors
) -> UnsupportedLayer:
    present = [part for part in parts if part in tensors]
    weight = max(present, default="", key=lambda part: math.prod(tensors[part].shape))
    stored = tensors.get(weight)
    return UnsupportedLayer(
        name=layer_name(weight, node.name, linear.op, node.name),
        weight=weight or linear.weight,
        op=linear.op,
        kernel_shape=stored.shape if stored else (),
        dtype=stored.dtype if stored else "",
        reason=reason,
    )


def _merged(found: list[_Found], tensors: Tensors) -> Iterator[Row]:
    """One row for all that are the same layer; other names of its weight and further nodes become aliases."""
    tied: dict[object, list[str]] = {}
    for name, tensor in tensors.items():
        tied.setdefault((tensor.identity or name, tensor.shape), []).append(name)
    groups: dict[object, list[Row]] = {}
    for item in found:
        groups.setdefault(item.key, []).append(item.row)
    for first, *others in groups.values():
        stored = tensors.get(first.weight)
        weights = tied[stored.identity or first.weight, stored.shape] if stored else []
        further = (row.weight if row.weight != first.weight else row.name for row in others)
        names = dict.fromkeys((*weights, *further))
        yield replace(first, aliases=tuple(n for n in names if n not in (first.name, first.weight)))


def _left_over(program: Program, tensors: Tensors, used: set[str]) -> Iterator[Row]:
    """Weights that are in no row yet, with what is done with them."""
    users: dict[str, list[str]] = {}
    for node in program.nodes:
        for name in node.tensors:
            if name in program.stored:
                users.setdefault(program.stored[name], []).append(node.target)
    tied = {tensors[name].identity for name in used if name in tensors} - {None}
    for name, tensor in without_training_state(tensors).items():
        targets = users.get(name, [])
        scales = bool(targets) and SCALING.issuperset(targets)
        looked_up = bool(targets) and all(target.startswith(LOOKING_UP) for target in targets)
        is_known = all(target.startswith("aten.") for target in targets)
        is_vector = sum(size != 1 for size in tensor.shape) < 2
        is_plain = is_known and (is_vector or tensor.dtype in INDICES)
        if name in used or tensor.identity in tied or len(tensor.shape) < 2 or is_plain or scales:
            continue
        yield UnsupportedLayer(
            name=layer_name(name, name, "", name),
            weight=name,
            op=targets[0].split(".")[1] if targets else "",
            kernel_shape=tensor.shape,
            dtype=tensor.dtype,
            reason=LOOK_UP if looked_up else tensor.unusable or _use(targets),
            applicable=not looked_up,
            layer=_as_matrix(name, tensor),
        )


def _as_matrix(name: str, tensor: StoredTensor) -> Layer | None:
    """What users may say that it is; None where it is not a matrix of real numbers."""
    if tensor.unusable or len(tensor.shape) != 2 or not is_real(tensor.dtype):
        return None
    return Layer(
        name=name,
        weight=name,
        op="MatMul",
        kernel_shape=tensor.shape,
        dtype=tensor.dtype,
        geometry=Geometry(),
        input_size=(),
        read=tensor.read,
    )


def _use(targets: list[str]) -> str:
    others = [target for target in targets if not target.startswith(LOOKING_UP)]
    return f"used by {others[0]}, which convsv does not know" if others else UNUSED
