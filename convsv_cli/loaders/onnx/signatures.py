"""What each version of an operator takes, and whether a node of a file keeps to it.

The only place that reads attributes as a file has them: what passes here has the type that the operator's
definition says, and is no larger than any that is in use, so that nothing else has to ask.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import onnx
from onnx import AttributeProto, NodeProto

from convsv_cli.loaders.onnx.attributes import CONTRIBUTED
from convsv_cli.model.graph import FOREIGN

NEWEST = 28
"""The operator set of which every definition was looked at."""
HARMLESS = frozenset(("consumed_inputs",))
"""Attributes that make no difference to what is computed."""
OWN = ("", "ai.onnx")
UNREAD = "convsv.reason"
"""The attribute of a contributed node that cannot be read as ONNX's own: why not."""
REASON: Mapping[str, int] = {"reason": AttributeProto.STRING}
"""Of those that stand for operators of PyTorch that have no translation: why not."""
WORDS: Mapping[int, str] = {
    AttributeProto.UNDEFINED: "of no type",
    AttributeProto.FLOAT: "a number",
    AttributeProto.INT: "an integer",
    AttributeProto.STRING: "a string",
    AttributeProto.TENSOR: "a tensor",
    AttributeProto.GRAPH: "a graph",
    AttributeProto.SPARSE_TENSOR: "a sparse tensor",
    AttributeProto.TYPE_PROTO: "a type",
    AttributeProto.FLOATS: "a list of numbers",
    AttributeProto.INTS: "a list of integers",
    AttributeProto.STRINGS: "a list of strings",
    AttributeProto.TENSORS: "a list of tensors",
    AttributeProto.GRAPHS: "a list of graphs",
    AttributeProto.SPARSE_TENSORS: "a list of sparse tensors",
    AttributeProto.TYPE_PROTOS: "a list of types",
}
LARGEST = 2**48
"""Of an integer: no size, step or axis is larger, and products of a few still fit 64 bits."""
MOST, LONGEST = 2**16, 4096
"""Entries of a list, and bytes of a string."""
UNLIMITED = frozenset(
    ("starts", "ends", "start", "end", "value_int", "value_ints", "value_floats", "value_strings")
)
"""Attributes in which the largest integer means the end of an axis, or that hold a tensor."""


class UnreadableNodeError(Exception):
    """The node's meaning is unknown; the reason, in words that continue "a Mul of opset 6, "."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What a version of an operator takes.

    Attributes:
        inputs: at most so many.
        types: of its attributes, by name, as `AttributeProto` numbers them.
        known: attributes that some version has.
        foreign: those that only other versions have.
    """

    inputs: float = math.inf
    types: Mapping[str, int]
    known: frozenset[str]
    foreign: frozenset[str] = frozenset()


def check_signature(node: NodeProto, opset: int) -> None:
    """Refuse attributes and inputs that an operator's version does not have: runtimes do, too.

    Args:
        node: of any operator; of those that convsv does not know, nothing is said.
        opset: of ONNX's own operators.

    Raises:
        UnreadableNodeError: the node has some, or attributes of a type or size that is none.
    """
    signature = _signature_of(node, opset)
    if signature is None:
        return
    names = [attribute.name for attribute in node.attribute]
    wrong = signature.foreign.intersection(names)
    if wrong:
        raise UnreadableNodeError(f"which has no attribute {min(wrong)!r}")
    if len(set(names)) < len(names):
        raise UnreadableNodeError("which has two attributes of one name")
    for attribute in node.attribute:
        expected = signature.types.get(attribute.name)
        if expected is not None:
            _check_attribute(attribute, expected)
    if len(node.input) > signature.inputs:
        raise UnreadableNodeError(f"which has no input {signature.inputs}")


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """The values of a node that `check_signature` accepted, by name, as far as some version has them.

    Numbers, strings, tensors and tuples of these; graphs are left out, and all of an operator that convsv
    does not know.

    Args:
        node: of the file, or in a newer operator set.
    """
    signature = _signature_of(node, NEWEST)
    known = frozenset[str]() if signature is None else signature.known
    graphs = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
    return {
        each.name: _value(each) for each in node.attribute if each.type not in graphs and each.name in known
    }


def _signature_of(node: NodeProto, opset: int) -> Signature | None:
    domain = "" if node.domain in OWN else node.domain
    types = CONTRIBUTED.get((domain, node.op_type))
    if types is not None:
        return Signature(types={**types, UNREAD: AttributeProto.STRING}, known=frozenset(types))
    if node.domain in OWN:
        return _signature(node.op_type, opset)
    return Signature(types=REASON, known=frozenset(REASON)) if f"{node.domain}." == FOREIGN else None


def why_unread(node: NodeProto) -> str:
    """Why a contributed node could not be read as ONNX's own; empty where it was, or is none.

    Args:
        node: that `check_signature` accepted.
    """
    if ("" if node.domain in OWN else node.domain, node.op_type) not in CONTRIBUTED:
        return ""
    return next((each.s.decode("utf-8", "replace") for each in node.attribute if each.name == UNREAD), "")


@cache
def _signature(op: str, opset: int) -> Signature:
    """Of the version that an operator set has; of the oldest where it has none yet."""
    versions = list(_versions(op))
    known = frozenset(name for schema in versions for name in schema.attributes)
    if not versions:
        return Signature(types={}, known=known)
    current = next((schema for schema in versions if schema.since_version <= opset), None)
    types = {
        name: AttributeProto.AttributeType.Value(str(attribute.type).rpartition(".")[2])
        for name, attribute in (current or versions[-1]).attributes.items()
    }
    if current is None:
        return Signature(types=types, known=known)
    return Signature(
        inputs=current.max_input, types=types, known=known, foreign=known - types.keys() - HARMLESS
    )


def _versions(op: str) -> Iterator[onnx.defs.OpSchema]:
    """All of one of ONNX's own operators, the newest first."""
    version = NEWEST
    while version > 0:
        try:
            schema = onnx.defs.get_schema(op, version, "")
        except onnx.defs.SchemaError:
            return
        yield schema
        version = schema.since_version - 1


def _check_attribute(attribute: AttributeProto, expected: int) -> None:
    name = attribute.name
    if attribute.ref_attr_name:
        raise UnreadableNodeError(f"whose attribute {name!r} is that of a function, which it is not in")
    if attribute.type != expected:
        kinds = WORDS.get(attribute.type, "of no type"), WORDS[expected]
        raise UnreadableNodeError(
            f"whose attribute {name!r} has the wrong type: it is {kinds[0]}, not {kinds[1]}"
        )
    if name in UNLIMITED:
        return
    count = max(len(attribute.ints), len(attribute.floats), len(attribute.strings))
    if count > MOST:
        raise UnreadableNodeError(f"whose attribute {name!r} has {count:,} entries, more than {MOST:,}")
    if max([len(attribute.s), *map(len, attribute.strings)]) > LONGEST:
        raise UnreadableNodeError(f"whose attribute {name!r} is longer than {LONGEST:,} characters")
    far = max(attribute.i, *attribute.ints, key=abs) if attribute.ints else attribute.i
    if abs(far) > LARGEST:
        raise UnreadableNodeError(f"whose attribute {name!r} is {far}, beyond all sizes and steps in use")


def _value(attribute: AttributeProto) -> Any:  # noqa: ANN401  (what kind it is, each rule knows)
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if attribute.type in (AttributeProto.FLOATS, AttributeProto.INTS, AttributeProto.STRINGS):
        return tuple(each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in value)
    return value
