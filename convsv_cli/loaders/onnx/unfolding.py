"""What the local functions of a model unfold to, counted before they do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from onnx import FunctionProto, ModelProto, NodeProto

from convsv_cli.confinement import StoppedError
from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.onnx.confined import ContradictionError, restore, run, stripped
from convsv_cli.loaders.onnx.history import own, standard_opset
from convsv_cli.loaders.onnx.protobuf import MAX_NODES
from convsv_cli.loaders.onnx.scopes import bodies

MAX_BYTES = 2**27
"""Of all copies of functions, in addition to one of each."""
MAX_CALLS = 64
"""Calls in calls."""
MISCONVERTED = {"Hardmax": 13, "PRelu": 7, "Resize": 11, "Selu": 6, "Upsample": 11}
"""Operators that onnx's converter takes past the version that changed them, as if it had not."""
Key = tuple[str, str, str]


def inlined(model: ModelProto) -> ModelProto:
    """The model without local functions; those of other operator sets are converted to the model's.

    Raises:
        UnreadableModelError: one cannot be converted, so that its layers would be missed.
        UnsafeModelError: they call each other in a circle or too deeply, unfold to more than `MAX_NODES`
            nodes or `MAX_BYTES` bytes, or take onnx too long.
    """
    if not model.functions:
        return model
    functions = {_key(function): function for function in model.functions}
    nodes, size = _Counter(functions).count(model.graph.node, depth=0)
    once = sum(function.ByteSize() for function in model.functions)
    if nodes > MAX_NODES or size > once + MAX_BYTES:
        raise UnsafeModelError(
            f"its local functions unfold to more than {MAX_NODES} nodes, or {MAX_BYTES // 2**20} MiB"
        )
    _refuse_misconverted(model)
    light, taken = stripped(model)
    try:
        result = run("inline", light)
    except StoppedError as error:
        raise UnsafeModelError(f"its local functions cannot be inlined: {error}") from error
    except ContradictionError as error:
        raise UnreadableModelError(f"its local functions are damaged: {error}") from error
    if taken:
        restore(result, taken)
    if result.functions:
        raise UnreadableModelError(
            f"the local function {result.functions[0].name!r} needs operator versions other than the model's",
            hint="export the model again with one opset for all",
        )
    return result


class _Counter:
    """Counts what nodes unfold to; each function once."""

    def __init__(self, functions: Mapping[Key, FunctionProto]) -> None:
        self._functions = functions
        self._known: dict[Key, tuple[int, int] | None] = {}
        """None for one that is being counted."""

    def count(self, nodes: Iterable[NodeProto], depth: int) -> tuple[int, int]:
        """How many nodes there are after inlining, and bytes of copies of functions."""
        total = size = 0
        for node in nodes:
            total += 1
            inner = [self.count(body.node, depth) for _, body in bodies(node)]
            if _key(node) in self._functions:
                inner.append(self._function(_key(node), depth + 1))
            total += sum(count for count, _ in inner)
            size += sum(more for _, more in inner)
        return total, size

    def _function(self, key: Key, depth: int) -> tuple[int, int]:
        if depth > MAX_CALLS:
            raise UnsafeModelError(f"its local functions are nested more than {MAX_CALLS} deep")
        if key not in self._known:
            self._known[key] = None
            function = self._functions[key]
            total, size = self.count(function.node, depth)
            self._known[key] = total, size + function.ByteSize()
        known = self._known[key]
        if known is None:
            raise UnsafeModelError(f"the local function {key[1]!r} calls itself")
        return known


def _key(item: FunctionProto | NodeProto) -> Key:
    name = item.name if isinstance(item, FunctionProto) else item.op_type
    return item.domain, name, item.overload


def _refuse_misconverted(model: ModelProto) -> None:
    """A function's nodes follow its own operator set; some would be taken for nodes of the model's."""
    target = _opset(model)
    for function in model.functions:
        opset = _opset(function)
        ops = sorted(node.op_type for node in _all_nodes(function.node) if own(node))
        wrong = next((op for op in ops if opset < MISCONVERTED.get(op, 0) <= target), None)
        if wrong is not None:
            raise UnreadableModelError(
                f"the local function {function.name!r} has a {wrong} of opset {opset}, which differs from "
                f"that of the model's opset {target}",
                hint="export the model again with one opset for all",
            )


def _opset(importing: ModelProto | FunctionProto) -> int:
    return standard_opset({entry.domain: entry.version for entry in importing.opset_import})


def _all_nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """With those of bodies, not too deep; what is deeper is refused later."""
    pending = [(node, 0) for node in nodes]
    while pending:
        node, depth = pending.pop()
        yield node
        if depth < MAX_CALLS:
            pending.extend((inner, depth + 1) for _, body in bodies(node) for inner in body.node)
