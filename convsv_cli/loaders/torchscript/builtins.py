"""What TorchScript computes with numbers, texts, lists and sizes, none of which an input's values change."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from convsv_cli import limits
from convsv_cli.loaders.torchscript.arithmetic import COMPARED, left, ordered, power, times_below
from convsv_cli.loaders.torchscript.tree import UnfollowedError
from convsv_cli.loaders.torchscript.values import Kept, KeptPairs, Path, Tensor, Value, counted

KINDS = {
    0: torch.uint8, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.int64, 5: torch.float16,
    6: torch.float32, 7: torch.float64, 11: torch.bool, 15: torch.bfloat16,
}  # fmt: skip
"""Element types by the numbers that TorchScript has for them."""
CODES = {kind: code for code, kind in KINDS.items()}
DEVICE, TEXT = Path("cpu"), Path("a text")
"""The only device; and a text that is for people."""
SETTINGS = frozenset(("torch.is_grad_enabled", "torch.is_autocast_enabled", "ops.prim.requires_grad"))
"""What asks how the code is run."""
BRANCHES = "forward branches on data"
CHANGED = "forward changes a list of its module"
Builtin = Callable[..., Value]


def number(value: Value) -> float:
    """The number that a tensor of one is, or a number itself.

    Raises:
        UnfollowedError: it depends on the data.
    """
    if isinstance(value, Tensor):
        if value.number is None:
            raise UnfollowedError("forward takes a number out of its data")
        found = value.number.item()
        return float(found) if isinstance(found, float) else int(found)
    if isinstance(value, int | float):
        return value
    raise TypeError("no number")


def truth(value: Value) -> bool:
    """Whether a condition holds.

    Raises:
        UnfollowedError: it depends on the data.
    """
    if isinstance(value, Tensor) and value.number is None:
        raise UnfollowedError(BRANCHES)
    return bool(number(value))


def _whole(value: Value) -> int:
    if isinstance(value, str):
        raise TypeError("a number in a text")
    return int(number(value))


def _added(a: Value, b: Value) -> Value:
    _check_length(_length(a) + _length(b))
    return list(a) + list(b) if isinstance(a, list) else counted(a + b)


def _times(a: Value, b: Value) -> Value:
    if isinstance(a, list):
        times = _whole(b)
        _check_length(len(a) * max(times, 0))
        return list(a) * times
    return counted(number(a) * number(b))


def _length(value: Value) -> int:
    return len(value) if isinstance(value, list | tuple | str) else 0


def _check_length(length: int) -> None:
    limits.spend(limits.OBJECT * length, "the lists of TorchScript")
    limits.hold(limits.OBJECT * length, "the lists of TorchScript")


def _is(a: Value, b: Value) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor) and a is not b and a.shares() == b.shares():
        raise UnfollowedError("forward asks whether two tensors are one")
    return a is b


def _size(x: Value, axis: int | None = None) -> Value:
    return list(_tensor(x).shape) if axis is None else _tensor(x).shape[axis]


def _tensor(value: Value) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError("no tensor")
    return value


def _count(x: Value) -> int:
    if isinstance(x, Tensor):
        return x.shape[0]
    return len(x)


def _own(items: Value) -> list[Value]:
    """A list that the code made itself."""
    if isinstance(items, Kept) or not isinstance(items, list):
        raise UnfollowedError(CHANGED)
    return items


def _appended(items: Value, item: Value) -> Value:
    _own(items).append(item)
    limits.spend(limits.OBJECT, "the lists of TorchScript")
    return items


def _extended(items: Value, more: Value) -> Value:
    counted(more)
    _own(items).extend(list(more))
    return items


def _inserted(items: Value, place: Value, item: Value) -> None:
    _check_length(_length(items))
    _own(items).insert(_whole(place), item)


def _taken(items: Value, place: Value = -1) -> Value:
    _check_length(_length(items))
    return _own(items).pop(_whole(place))


def _set(items: Value, key: Value, value: Value) -> None:
    if isinstance(items, KeptPairs):
        raise UnfollowedError(CHANGED)
    if isinstance(items, dict):
        items[as_key(key)] = value
    else:
        _own(items)[key] = value


def as_key(value: Value) -> Value:
    """A key of a dictionary.

    Raises:
        TypeError: it is none in TorchScript.
    """
    if not isinstance(value, int | float | str):
        raise TypeError("no key")
    return value


def item(of: Value, key: Value) -> Value:
    """What is at a place of a list or a tuple, or by a key."""
    if isinstance(of, dict):
        return of[as_key(key)]
    if not isinstance(of, list | tuple | str):
        raise TypeError("nothing with items")
    return of[_whole(key)]


def _sliced(items: Value, start: int | None = None, end: int | None = None, step: int = 1) -> Value:
    if not isinstance(items, list | tuple | str):
        raise TypeError("no list")
    limits.spend(limits.OBJECT * len(items), "the lists of TorchScript")
    return items[slice(start, end, step)]


def _equal(a: Value, b: Value) -> bool:
    """Of numbers, texts, devices, and lists of these: of lists in lists, there is no end."""
    parts = [list(counted(each)) if isinstance(each, list | tuple) else [each] for each in (a, b)]
    if TEXT in (*parts[0], *parts[1]):
        raise UnfollowedError("forward compares a text that it writes")
    if not all(each is None or isinstance(each, int | float | str | Path) for part in parts for each in part):
        raise TypeError("no numbers")
    if {each for part in parts for each in part if isinstance(each, Path)} - {DEVICE}:
        raise UnfollowedError("forward asks which device it runs on")
    for each in (*parts[0], *parts[1]):
        ordered(each if isinstance(each, float) else 0)
    alike = isinstance(a, list | tuple) == isinstance(b, list | tuple)
    return alike and parts[0] == parts[1]


def _contains(items: Value, value: Value) -> bool:
    if isinstance(items, str):
        return value in items
    return any(_equal(each, value) for each in counted(items))


def _device(name: Value, index: Value = None) -> Value:
    return DEVICE if (name, index) == ("cpu", None) else Path(f"the device {name}")


def _range_length(start: int, end: int, step: int) -> int:
    return len(range(start, end, step))


def _named_kind(x: Value) -> int:
    return CODES[_tensor(x).meta.dtype]


def _extreme(function: Callable[[Sequence[Value]], Value]) -> Builtin:
    def build(*values: Value) -> Value:
        given = values[0] if len(values) == 1 else values
        return function([ordered(number(each)) for each in counted(list(given))])

    return build


def _plain(function: Callable[..., Value], *, of: Callable[[Value], Value] = number) -> Builtin:
    """A function of numbers."""
    return lambda *values: counted(function(*(of(each) for each in values)))


def _constant(value: Value) -> Builtin:
    return lambda *_, **__: value


BUILTINS: Mapping[str, Builtin] = {
    **{f"torch.{name}": _plain(function) for name, function in COMPARED.items()},
    **dict.fromkeys(("int", "torch.Int", "torch.IntImplicit"), _plain(lambda a: a, of=_whole)),
    **dict.fromkeys(("float", "torch.Float"), _plain(float)),
    **dict.fromkeys(("bool", "torch.Bool"), truth),
    "torch.item": number,
    "torch.add": _added,
    "torch.mul": _times,
    "torch.sub": _plain(lambda a, b: a - b),
    "torch.div": _plain(lambda a, b: a / b),
    **dict.fromkeys(("torch.floordiv", "torch.floor_divide"), _plain(times_below)),
    "torch.remainder": _plain(left),
    "torch.pow": _plain(power),
    "torch.neg": _plain(lambda a: -a),
    **dict.fromkeys(("torch.abs", "ops.prim.abs"), _plain(abs)),
    "torch.ceil": _plain(math.ceil),
    "torch.floor": _plain(math.floor),
    "torch.round": _plain(lambda a: float(round(a))),
    "torch.sqrt": _plain(math.sqrt),
    "torch.exp": _plain(math.exp),
    "torch.log": _plain(math.log),
    "ops.prim.min": _extreme(min),
    "ops.prim.max": _extreme(max),
    "torch.eq": _equal,
    "torch.ne": lambda a, b: not _equal(a, b),
    "torch.__not__": lambda a: not truth(a),
    "torch.__and__": lambda a, b: a & b,
    "torch.__or__": lambda a, b: a | b,
    "torch.__is__": _is,
    "torch.__isnot__": lambda a, b: not _is(a, b),
    "torch.__contains__": _contains,
    "torch.any": lambda items: any(map(truth, counted(list(items)))),
    "torch.all": lambda items: all(map(truth, counted(list(items)))),
    "torch.__range_length": _range_length,
    "torch.__derive_index": _plain(lambda at, start, step: start + at * step),
    **dict.fromkeys(("torch.size", "ops.prim.shape"), _size),
    "torch.dim": lambda x: len(_tensor(x).shape),
    "torch.numel": lambda x: math.prod(_tensor(x).shape),
    "torch.len": _count,
    "torch.is_floating_point": lambda x: _tensor(x).meta.is_floating_point(),
    "torch.is_complex": lambda x: _tensor(x).meta.is_complex(),
    "ops.prim.dtype": _named_kind,
    "ops.prim.device": _constant(DEVICE),
    "torch.device": _device,
    "ops.prim.type": _constant("cpu"),
    "ops.prim.layout": _constant(0),
    "ops.prim.requires_grad": _constant(value=True),
    "torch.is_grad_enabled": _constant(value=True),
    "torch.is_autocast_enabled": _constant(value=False),
    **{f"ops.prim.is_{name}": _constant(value=False) for name in ("nested", "cuda", "sparse", "quantized")},
    **dict.fromkeys(("torch.set_grad_enabled", "torch.warn"), _constant(None)),
    "torch.append": _appended,
    **dict.fromkeys(("torch.extend", "torch.add_"), _extended),
    "torch.insert": _inserted,
    "torch.pop": _taken,
    "torch._set_item": _set,
    "torch.__getitem__": item,
    "torch.list": lambda items: list(counted(items)),
    "torch.slice": _sliced,
    "torch.keys": lambda pairs: list(counted(pairs)),
    "torch.values": lambda pairs: list(counted(pairs).values()),
    "torch.items": lambda pairs: list(counted(pairs).items()),
    **dict.fromkeys(("torch.format", "str"), _constant(TEXT)),
}
"""By the path that the code calls; of those that are operators on tensors, too, with other values."""
