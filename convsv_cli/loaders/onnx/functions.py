"""Local functions, inlined; how far they unfold is counted first."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import FunctionProto, ModelProto, NodeProto

from convsv_cli.confinement import StoppedError
from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.onnx.confined import ContradictionError, run
from convsv_cli.loaders.onnx.scopes import bodies
from convsv_cli.loaders.onnx.stripping import restore, stripped

MAX_NODES = 100_000
Key = tuple[str, str, str]


def inlined(model: ModelProto) -> ModelProto:
    """The model without local functions; those of other operator sets are converted to the model's.

    Raises:
        UnreadableModelError: one cannot be converted, so that its layers would stay out of sight.
        UnsafeModelError: they call each other in a circle, unfold to more than `MAX_NODES` nodes, or take
            onnx too long.
    """
    if not model.functions:
        return model
    functions = {_key(function): function for function in model.functions}
    counts: dict[Key, int | None] = {}
    if _count(model.graph.node, functions, counts) > MAX_NODES:
        raise UnsafeModelError(f"its local functions unfold to more than {MAX_NODES} nodes")
    result = _inlined(model)
    if result.functions:
        raise UnreadableModelError(
            f"the local function {result.functions[0].name!r} needs other operator versions than the model",
            hint="export the model again with one version for all",
        )
    return result


def _inlined(model: ModelProto) -> ModelProto:
    light, taken = stripped(model)
    try:
        result = run("inline", light)
    except StoppedError as error:
        raise UnsafeModelError(f"its local functions cannot be inlined: {error}") from error
    except ContradictionError as error:
        raise UnreadableModelError(f"its local functions are damaged: {error}") from error
    if taken:
        restore(result, taken)
    return result


def _key(item: FunctionProto | NodeProto) -> Key:
    name = item.name if isinstance(item, FunctionProto) else item.op_type
    return item.domain, name, item.overload


def _count(
    nodes: Iterable[NodeProto], functions: dict[Key, FunctionProto], counts: dict[Key, int | None]
) -> int:
    """Nodes after inlining; `counts` remembers each function, None while it is being counted."""
    total = 0
    for node in nodes:
        total += 1 + sum(_count(body.node, functions, counts) for _, body in bodies(node))
        key = _key(node)
        if key not in functions:
            continue
        if key in counts and counts[key] is None:
            raise UnsafeModelError(f"the local function {key[1]!r} calls itself")
        if key not in counts:
            counts[key] = None
            counts[key] = _count(functions[key].node, functions, counts)
        total += counts[key] or 0
    return total
