"""Which form of an operator takes given arguments, and what it gives for tensors without values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from convsv_cli import limits
from convsv_cli.loaders.torchscript.builtins import KINDS
from convsv_cli.loaders.torchscript.tree import UnfollowedError
from convsv_cli.loaders.torchscript.values import Path, Tensor, Value

FORMATS = (torch.contiguous_format, torch.preserve_format, torch.channels_last, torch.channels_last_3d)
WHOLE_DIVISION, REAL_FULL = 4, 5
"""Versions before which operators did something else."""
RECURRENT = frozenset(("lstm", "gru", "rnn_tanh", "rnn_relu"))
RESULT = 20 * limits.OBJECT
"""Steps of the model's allowance for each of the tensors in a list that an operator gives."""
Overload = Any
Bound = dict[str, Value]
"""Arguments by name."""


class RefusedError(UnfollowedError):
    """Torch refuses the call: other inputs might be taken."""


def of_today(
    version: int, name: str, arguments: Sequence[Value], named: Mapping[str, Value]
) -> tuple[Sequence[Value], Mapping[str, Value]]:
    """Arguments with which an operator does today what it did in a version.

    Before version 4, whole numbers were divided towards zero; before 5, torch.full gave real numbers where no
    type was asked for. (Of others that changed, only what they left out did: see torch's
    `torch/csrc/jit/operator_upgraders/upgraders_entry.cpp`.)
    """
    if version < WHOLE_DIVISION and name in {"div", "div_"} and not any(map(_is_real, arguments)):
        return arguments, {"rounding_mode": "trunc", **named}
    if version < REAL_FULL and name == "full" and named.get("dtype") is None:
        size, filling = arguments
        return (size, float(filling)), named
    return arguments, named


def _is_real(value: Value) -> bool:
    return value.meta.is_floating_point() if isinstance(value, Tensor) else isinstance(value, float)


def overload_for(name: str, arguments: Sequence[Value], named: Mapping[str, Value]) -> tuple[Overload, Bound]:
    """The form of an operator that takes such arguments, the first in torch's order, and these by name.

    Raises:
        UnfollowedError: there is none.
    """
    packet = getattr(torch.ops.aten, name)
    for each in packet.overloads():
        overload = getattr(packet, each)
        bound = _bound(overload._schema.arguments, arguments, named)  # noqa: SLF001  (its only name)
        if bound is not None and "out" not in bound and not each.startswith("prim_"):
            return overload, bound
    raise UnfollowedError(f"forward calls torch.{name} in a form that convsv does not know")


def _bound(
    parameters: Sequence[Any], arguments: Sequence[Value], named: Mapping[str, Value]
) -> dict[str, Value] | None:
    """The arguments by name; None where they do not fit."""
    places = [each.name for each in parameters if not each.kwarg_only]
    found = dict(zip(places, arguments, strict=False))
    if len(arguments) > len(places) or found.keys() & named.keys():
        return None
    found |= named
    kinds = {each.name: each.type for each in parameters}
    if not found.keys() <= kinds.keys() or not all(_fits(found[name], kinds[name]) for name in found):
        return None
    whole = all(each.name in found or each.has_default_value() for each in parameters)
    return found if whole else None


def _fits(value: Value, kind: Any) -> bool:  # noqa: ANN401  (torch has no public name for types)
    """Whether a value is of a type of TorchScript."""
    word = kind.kind()
    if word == "OptionalType":
        return value is None or _fits(value, kind.getElementType())
    if word == "ListType":
        return isinstance(value, list | tuple) and all(_fits(each, kind.getElementType()) for each in value)
    if word == "TensorType":
        return isinstance(value, Tensor)
    if word in {"DeviceObjType", "LayoutType", "MemoryFormatType"}:
        return isinstance(value, Path)
    types = {"IntType": (int,), "FloatType": (float, int), "NumberType": (int, float), "BoolType": (bool,)}
    if word == "StringType":
        return isinstance(value, str)
    is_bool = isinstance(value, bool)
    return isinstance(value, types.get(word, ())) and (not is_bool or word in {"BoolType", "NumberType"})


def results(name: str, overload: Overload, bound: Bound) -> Any:  # noqa: ANN401  (a tensor, or several)
    """The sizes and types of what an operator gives, as tensors without values.

    Raises:
        RefusedError: torch refuses these arguments.
        LimitError: it gives too many tensors.
    """
    if name in RECURRENT:
        return _recurrent(bound)
    if name == "batch_norm":
        return torch.empty_like(bound["input"].meta)
    limits.spend(RESULT * _count(name, bound), "the calls of TorchScript")
    given = taken(overload, bound, lambda each: each.meta, "meta")
    try:
        with torch.no_grad():
            found = overload(**given)
    except (RuntimeError, ArithmeticError, LookupError, TypeError, ValueError, AssertionError) as error:
        first = str(error).partition("\n")[0][:200]
        raise RefusedError(f"torch refuses a call of {name} in forward: {first}") from error
    parts = [found] if isinstance(found, torch.Tensor) else found
    if not isinstance(parts, list | tuple) or not all(isinstance(each, torch.Tensor) for each in parts):
        raise UnfollowedError(f"forward calls torch.{name} of other than tensors")
    return found


def _count(name: str, bound: Bound) -> int:
    """How many tensors an operator gives, where that is a number in the file."""
    if not any(word in name for word in ("split", "chunk", "unbind")):
        return 1
    x = bound["self"]
    size = x.shape[bound.get("dim", 0)] if x.shape else 1
    keys = ("split_size", "split_sizes", "chunks", "sections", "indices")
    said = next((bound[key] for key in keys if key in bound), 1)
    if not isinstance(said, int):
        return 1 + (len(said) if isinstance(said, list | tuple) else size)
    return (
        max(said, 1)
        if name == "tensor_split"
        else min(size, max(said, 1))
        if "chunk" in name
        else -(-size // max(said, 1))
    )


def _recurrent(bound: Bound) -> tuple[torch.Tensor, ...]:
    """Outputs as long as the input, and last states that are like the first ones."""
    if "input" not in bound:
        raise UnfollowedError("forward runs a recurrent layer on packed sequences")
    x, states = bound["input"].meta, bound["hx"]
    metas = [each.meta for each in (states if isinstance(states, list | tuple) else (states,))]
    ways = 2 if bound["bidirectional"] else 1
    if not metas or x.ndim != 3 or metas[0].ndim != 3:
        raise UnfollowedError("forward runs a recurrent layer on other than a batch of sequences")
    return x.new_empty((*x.shape[:2], ways * metas[0].shape[-1])), *map(torch.empty_like, metas)


def taken(
    overload: Overload, bound: Bound, of: Callable[[Tensor], torch.Tensor | None], device: str
) -> dict[str, Any]:
    """Arguments as torch takes them.

    Args:
        overload: of what.
        bound: as the code has them.
        of: what stands for a tensor.
        device: on which all of these are.
    """
    parameters = overload._schema.arguments  # noqa: SLF001  (the only name of what an operator takes)
    kinds = {each.name: str(each.real_type) for each in parameters}
    given = {key: _as_taken(value, kinds[key], of) for key, value in bound.items()}
    return given | ({"device": torch.device(device)} if "device" in kinds else {})


def _as_taken(value: Value, kind: str, of: Callable[[Tensor], torch.Tensor | None]) -> Any:  # noqa: ANN401
    if isinstance(value, Tensor):
        return of(value)
    if isinstance(value, list | tuple):
        return [_as_taken(each, kind, of) for each in value]
    if "ScalarType" in kind and value is not None:
        return KINDS[value]
    if "MemoryFormat" in kind and value is not None:
        return FORMATS[value]
    return None if "Layout" in kind or isinstance(value, Path) else value
