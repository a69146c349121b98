"""The named tensors of a pickled `nn.Module`, as its `state_dict()` would name them, with their usage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from convsv_cli.errors import UnsafeModelError
from convsv_cli.loaders.checkpoint.module_usage import module_usage, plain_class_name
from convsv_cli.loaders.checkpoint.values import Record, Tensor
from convsv_cli.loaders.usage import Usage

MAX_STEPS = 3_000_000
MAX_NAMES = 200_000_000
"""Characters of all modules' names, counted for each thing that they hold."""
Children = Callable[[Record], list[tuple[str, Record]]]
REGISTRIES = ("_modules", "_parameters", "_buffers")


def is_module(value: Any) -> TypeGuard[Record]:
    """Whether it is a record with the attributes that every `nn.Module` has."""
    return isinstance(value, Record) and all(isinstance(value.attributes.get(r), dict) for r in REGISTRIES)


def module_tensors(module: Record) -> dict[str, Tensor]:
    """Its parameters and buffers and those of the modules below it, depth first.

    Raises:
        UnsafeModelError: more of them than any network has: they contain each other.
    """
    tensors: dict[str, Tensor] = {}
    for prefix, inner, owner in walk(module, children=_children):
        for name, tensor in _own(inner):
            tensors[f"{prefix}{name}"] = tensor.used(_usage(owner, prefix, inner, name, tensor))
    return tensors


def submodules(module: Record) -> Iterator[tuple[str, Record]]:
    """The module and those below it, each with its name and a dot.

    Raises:
        UnsafeModelError: as `module_tensors`.
    """
    return ((prefix, inner) for prefix, inner, _ in walk(module, children=_children))


def walk(root: Record, *, children: Children) -> Iterator[tuple[str, Record, Record | None]]:
    """Each module, depth first: name and a dot, itself, and the one whose weight it is a part of, if any.

    Raises:
        UnsafeModelError: as `module_tensors`.
    """
    waiting: list[tuple[str, Record, Record | None]] = [("", root, None)]
    steps = characters = 0
    while waiting:
        prefix, module, owner = waiting.pop()
        below = children(module)
        size = _size(module)
        steps += size
        characters += (len(prefix) + 1) * size
        if steps > MAX_STEPS or characters > MAX_NAMES:
            raise UnsafeModelError("its modules contain each other without end")
        yield prefix, module, owner
        waiting += [
            (f"{prefix}{name}.", child, module if name == "parametrizations" else owner)
            for name, child in reversed(below)
        ]


def _size(module: Record) -> int:
    """How many things it holds, itself included."""
    attributes = module.attributes
    return 1 + len(attributes) + sum(len(value) for value in attributes.values() if isinstance(value, dict))


def _children(module: Record) -> list[tuple[str, Record]]:
    modules = module.attributes["_modules"]
    return [(name, child) for name, child in modules.items() if isinstance(name, str) and is_module(child)]


def _own(module: Record) -> Iterator[tuple[str, Tensor]]:
    for registry in ("_parameters", "_buffers"):
        values: Mapping[Any, Any] = module.attributes[registry]
        for name, value in values.items():
            if isinstance(name, str) and isinstance(value, Tensor):
                yield name, value


def _usage(owner: Record | None, prefix: str, module: Record, name: str, tensor: Tensor) -> Usage | None:
    """The usage by the module itself, or by the one of whose weight this is a parametrization's part."""
    if owner is not None:
        parameter = prefix.rpartition("parametrizations.")[2].partition(".")[0]
        return usage_in(owner, parameter, tensor)
    return usage_in(module, name, tensor)


def usage_in(module: Record, parameter: str, tensor: Tensor) -> Usage | None:
    """What the module does with its parameter."""
    return module_usage(plain_class_name(str(module.maker)), module.attributes, parameter, tensor.shape)
