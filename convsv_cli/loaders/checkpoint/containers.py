"""What containers of a checkpoint hold, whatever kind they are of, and which of them hold weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeGuard

from convsv_cli.errors import UnsafeModelError
from convsv_cli.loaders.checkpoint.calls import array
from convsv_cli.loaders.checkpoint.values import Global, Record, Tensor
from convsv_cli.loaders.loader import Usage
from convsv_cli.loaders.names import begin_reading, owners
from convsv_cli.names import LONGEST_NAME

Pair = tuple[Any, Any]
Count = Callable[[int], None]
"""Counts steps, and raises UnsafeModelError where there are too many: containers may hold each other."""
GLANCES = 4
"""How many things in a container are looked at per step."""
MAX_DEPTH = 64
WITHIN = "part of a {}, whose use convsv does not know"
SUBCLASS = "torch._utils._rebuild_wrapper_subclass"
TORCHAO, AFFINE = "torchao.", frozenset(("Float8Tensor", "Int8Tensor", "IntxUnpackedToInt8Tensor"))
"""Classes of tensors whose parts `loaders.quantised` knows."""
NUMBER = "a number, not a tensor"
_SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")


def plain(value: Any) -> Any:
    """A NumPy array as a tensor; anything else as it is."""
    found = array(value) if isinstance(value, Record) else None
    return value if found is None else found


def is_matrix(value: Any) -> TypeGuard[Tensor]:
    """Whether it is a tensor that could be a weight: of two axes at least."""
    return isinstance(value, Tensor) and value.ndim >= 2


def is_container(value: Any) -> bool:
    """Whether there may be something in it."""
    return isinstance(value, (dict, list, tuple, Record))


def key_name(key: Any) -> str:
    """A key of any type as part of a name.

    Raises:
        UnsafeModelError: it is longer than any name: it may be that of any number of things.
    """
    if isinstance(key, Record):
        return "key"
    return checked(key if isinstance(key, str) else str(key))


def checked(name: str) -> str:
    """The name.

    Raises:
        UnsafeModelError: no network has such a long one.
    """
    if len(name) > LONGEST_NAME:
        raise UnsafeModelError(f"a name longer than {LONGEST_NAME} characters")
    return name


def below(path: str, key: Any) -> str:
    """The path of what a key leads to."""
    return checked(joined(path, key_name(key)))


def joined(first: str, second: str) -> str:
    """Two parts of a name, either of which may be empty."""
    return f"{first}.{second}" if first and second else first or second


def mark(tensor: Tensor) -> tuple[Any, ...]:
    """Equal for tensors that are one in memory."""
    if tensor.storage is None:
        return (id(tensor),)
    return tensor.storage.key, tensor.offset, tensor.shape, tensor.stride


def pairs(value: Any) -> Iterator[Pair]:
    """What a container holds, by key, index or name of an attribute."""
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)
    elif isinstance(value, Record):
        yield from contents(value)
        yield from parts(value)


def contents(record: Record) -> Iterator[Pair]:
    """What a list or a dict of a class of its own holds."""
    yield from enumerate(record.items)
    yield from record.entries.items()


def parts(record: Record) -> Iterator[Pair]:
    """What else an object is made of: attributes, slots, arguments."""
    yield "maker", record.maker
    yield from pairs(record.args)
    state = record.state
    for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
        yield from pairs(part) if isinstance(part, dict) else (("state", part),)


def nested(value: Any, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """The tensors in containers, with what leads to them; containers that were `seen` are left out.

    Raises:
        UnsafeModelError: they are nested deeper than those of any network.
    """
    waiting: list[tuple[tuple[str, ...], Any]] = [((), value)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, Tensor):
            yield checked(".".join(path)), item
        elif is_container(item) and id(item) not in seen:
            seen.add(id(item))
            if len(path) >= MAX_DEPTH:
                raise UnsafeModelError(f"its containers are nested more than {MAX_DEPTH} deep")
            held = [(key, inner) for key, inner in pairs(item) if _may_hold(inner)]
            waiting += reversed([((*path, key_name(key)), inner) for key, inner in held])


def matrices(value: Any, count: Count = lambda _steps: None) -> list[Tensor]:
    """All tensors of two axes and more in it, each once."""
    return list({id(item): item for item in _inside(value, count) if is_matrix(item)}.values())


def containers(value: Any, count: Count) -> list[Any]:
    """It and all containers in it, each once."""
    return [item for item in _inside(value, count) if is_container(item)]


def _inside(value: Any, count: Count) -> Iterator[Any]:
    """It and all tensors and containers in it, containers once."""
    waiting, seen = [value], set[int]()
    while waiting:
        item = plain(waiting.pop())
        if isinstance(item, Tensor):
            yield item
        elif is_container(item) and id(item) not in seen:
            seen.add(id(item))
            yield item
            held = [inner for _, inner in pairs(item)]
            count(1 + len(held) // GLANCES)
            waiting += filter(_may_hold, held)


def _may_hold(value: Any) -> bool:
    return isinstance(value, (Tensor, Record, dict, list, tuple))


def is_number(value: Any) -> bool:
    """Whether it is a number, perhaps one of NumPy's."""
    return type(value) in (int, float) or (isinstance(value, Record) and value.name in _SCALARS)


def number(name: str, value: Any) -> Any:
    """A number as a tensor that cannot be used, where its name says that it may scale; else as it is."""
    if not is_number(value):
        return value
    begin_reading(len(name), "numbers beside weights of few bits")
    if owners(name, is_small=True):
        return Tensor(shape=(), dtype="float64", unusable=NUMBER)
    return value


def heights(root: Any, wanted: Callable[[Any, Any], bool], count: Count) -> dict[int, int]:
    """How far below each container the nearest thing is that is wanted, by `id`; 1: in it.

    `wanted` is asked of each thing and its key.
    """
    above: dict[int, list[int]] = {}
    found: dict[int, int] = {}
    waiting, seen = [root], {id(root)}
    while waiting:
        container = waiting.pop()
        held = list(pairs(container))
        count(1 + len(held) // GLANCES)
        for key, inner in held:
            item = plain(inner)
            if wanted(key, item):
                found[id(container)] = 1
            elif is_container(item):
                above.setdefault(id(item), []).append(id(container))
                if id(item) not in seen:
                    seen.add(id(item))
                    waiting.append(item)
    level = list(found)
    while level:
        outer = {other: found[one] + 1 for one in level for other in above.get(one, ()) if other not in found}
        found |= outer
        level = list(outer)
    return found


def within(record: Record, tensor: Tensor) -> Tensor:
    """A tensor of an object, which is none by itself: only whoever knows its class can say what it is for."""
    is_subclass = record.name == SUBCLASS and isinstance(record.args, tuple) and bool(record.args)
    made = record.args[0] if is_subclass else record.maker
    reason = WITHIN.format(made if isinstance(made, Global) else record.name)
    is_known = isinstance(made, Global) and made.module.startswith(TORCHAO) and made.name in AFFINE
    if is_known and record.attributes.get("act_pre_scale") is None and not tensor.unusable:
        return tensor.used(Usage(reason=reason))
    return replace(tensor, unusable=tensor.unusable or reason)
