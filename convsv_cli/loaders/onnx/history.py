"""What nodes of every operator set mean, said in the newest one that convsv knows.

The only place that knows how operators changed: constants are computed, and networks bounded, of what comes
out here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
from onnx import NodeProto

from convsv_cli.loaders.onnx.changes import CHANGES, Change
from convsv_cli.loaders.onnx.rewriting import Rewriting, UnreadableNodeError
from convsv_cli.loaders.onnx.tensors import Array
from convsv_cli.model.graph import Dims

__all__ = ["NEWEST", "Reading", "UnreadableNodeError", "as_newest", "own", "standard_opset", "unchanged"]
NEWEST = 28
"""The operator set of which every definition was looked at."""
OWN = ("", "ai.onnx")
HARMLESS = frozenset(("consumed_inputs",))
"""What versions differ in, but not what they compute."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A node as nodes of the newest operator set.

    Attributes:
        nodes: in order.
        main: the one that does what the node does, beside moving and reshaping.
        constants: new tensors that are known, by name.
        shapes: of new tensors that the nodes make, as far as they are known.
    """

    nodes: tuple[NodeProto, ...]
    main: NodeProto
    constants: Mapping[str, Array]
    shapes: Mapping[str, Dims]


def standard_opset(imports: Mapping[str, int]) -> int:
    """Which version of ONNX's own operators a model imports; the first where it says nothing."""
    return max((imports[domain] for domain in OWN if domain in imports), default=1)


def own(node: NodeProto) -> bool:
    """Whether it is one of ONNX's own operators."""
    return node.domain in OWN


def unchanged(node: NodeProto, opset: int) -> Reading | None:
    """The node as it is, where it means the same in the newest operator set; None where it may not.

    Raises:
        UnreadableNodeError: as `as_newest`.
    """
    if not own(node):
        return Reading(nodes=(node,), main=node, constants={}, shapes={})
    _check(node, opset)
    if node.domain or opset < 6 or _changes(node.op_type, opset):
        return None
    return Reading(nodes=(node,), main=node, constants={}, shapes={})


def as_newest(
    node: NodeProto,
    opset: int,
    *,
    shapes: Sequence[Dims | None],
    dtypes: Sequence[np.dtype | None] = (),
    new: Callable[[str], str],
) -> Reading:
    """The node as nodes of the newest operator set with the same outputs.

    Args:
        node: is not changed.
        opset: whose rules it follows.
        shapes, dtypes: of its inputs, as far as they are known.
        new: makes a name that no tensor has.

    Raises:
        UnreadableNodeError: that operator set does not define it, or convsv does not know what it means.
    """
    same = unchanged(node, opset)
    if same is not None:
        return same
    rewriting = Rewriting(node, shapes=shapes, dtypes=dtypes, new=new)
    try:
        for change in _changes(node.op_type, opset):
            change(rewriting)
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise UnreadableNodeError("whose attributes and inputs do not fit together") from error
    return Reading(
        nodes=tuple(rewriting.nodes()),
        main=rewriting.node,
        constants=rewriting.constants,
        shapes=rewriting.made,
    )


@cache
def _changes(op: str, opset: int) -> tuple[Change, ...]:
    """Those of an operator since an operator set."""
    return tuple(change for before, change in CHANGES.get(op, ()) if opset < before)


def _check(node: NodeProto, opset: int) -> None:
    """That the node has no attributes and inputs of other versions of its operator: runtimes refuse those.

    Raises:
        UnreadableNodeError: it has.
    """
    signature = _signature(node.op_type, opset)
    if signature is None:
        return
    foreign = signature.foreign.intersection(attribute.name for attribute in node.attribute)
    if foreign:
        raise UnreadableNodeError(f"which has no attribute {min(foreign)!r}")
    if len(node.input) > signature.inputs:
        raise UnreadableNodeError(f"which has no input {signature.inputs}")


@dataclass(frozen=True, kw_only=True)
class _Signature:
    """What one version of an operator may be given, and attributes that only other versions have."""

    inputs: int
    foreign: frozenset[str]


@cache
def _signature(op: str, opset: int) -> _Signature | None:
    """Of the version that an operator set has; None where it has none."""
    versions = list(_versions(op))
    current = next((schema for schema in versions if schema.since_version <= opset), None)
    if current is None:
        return None
    every = {name for schema in versions for name in schema.attributes}
    return _Signature(
        inputs=current.max_input, foreign=frozenset(every - current.attributes.keys() - HARMLESS)
    )


def _versions(op: str) -> Iterable[onnx.defs.OpSchema]:
    """Of one of ONNX's own operators, the newest first."""
    version = NEWEST
    while version > 0:
        try:
            schema = onnx.defs.get_schema(op, version, "")
        except onnx.defs.SchemaError:
            return
        yield schema
        version = schema.since_version - 1
