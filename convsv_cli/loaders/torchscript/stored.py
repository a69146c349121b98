"""What the modules and the code of an archive hold, as variables of the code have it."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from convsv_cli import limits
from convsv_cli.loaders.checkpoint import values
from convsv_cli.loaders.checkpoint.containers import mark
from convsv_cli.loaders.checkpoint.contents import Contents
from convsv_cli.loaders.checkpoint.script import Script
from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.loaders.torchscript.calls import Calls
from convsv_cli.loaders.torchscript.tree import UnfollowedError
from convsv_cli.loaders.torchscript.values import Kept, KeptPairs, Tensor, Value, storage_of
from convsv_cli.names import plain_names

EACH = 10 * limits.OBJECT
DEEPEST = 20
"""Of lists in lists."""


@dataclass(kw_only=True, eq=False)
class Stored:
    """Tensors and other attributes, each one value however often it is asked for.

    Attributes:
        script: the archive.
        calls: in which tensors have names.
        tensors: those that were asked for, by the names that the rows of the archive have.
        names: of these, by their names in the program.
    """

    script: Script
    calls: Calls
    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    _known: dict[Hashable, Value] = field(default_factory=dict)
    _plain: dict[Hashable, str] = field(init=False)

    def __post_init__(self) -> None:
        own, further = self.script.own, self.script.further
        plain = plain_names((*own, *further))
        self._plain = {}
        for contents, tensors in ((self.script.attributes, own), (self.script.constants, further)):
            for name, tensor in tensors.items():
                self._plain.setdefault((id(contents), *mark(tensor)), plain[name])

    def attribute(self, module: values.Record, name: str) -> Value:
        """An attribute of a module.

        Raises:
            UnfollowedError: it has none of that name, or something that is no value of TorchScript.
            LimitError: it holds too much.
        """
        if name not in module.attributes:
            raise UnfollowedError(f"forward asks for an attribute {name!r} that its module does not have")
        return self._value(module.attributes[name], self.script.attributes, DEEPEST)

    def constant(self, name: str) -> Value:
        """A constant of the code, by its name there, such as "c0"; its errors are those of `attribute`."""
        contents = self.script.constants
        held = contents.value if contents is not None else ()
        place = int(name[1:]) if name[1:].isdecimal() and len(name) < 10 else -1
        if contents is None or not isinstance(held, tuple) or not 0 <= place < len(held):
            raise UnfollowedError(f"forward asks for a constant {name!r} that is not there")
        return self._value(held[place], contents, DEEPEST)

    def literal(self, values: torch.Tensor) -> Tensor:
        """A tensor that the code itself says, as one that is stored."""
        plain = self.calls.names.new("literal")
        name = self.calls.names.new(f"stored {plain}")
        kind = str(values.dtype).removeprefix("torch.")
        self.names[name] = plain
        self.tensors[plain] = StoredTensor(shape=tuple(values.shape), dtype=kind, read=lambda: values)
        meta = values.to("meta")
        self.calls.fixed[storage_of(meta)] = meta
        return self.calls.given(name, meta)

    def _value(self, value: Any, contents: Contents, depth: int) -> Value:  # noqa: ANN401  (whatever a pickle has)
        """The same as variables have it; what is one in the file is one here."""
        limits.spend(EACH, "the attributes of TorchScript")
        if value is None or isinstance(value, bool | int | float | str | values.Record):
            return value
        key = id(value)
        if key not in self._known:
            if isinstance(value, values.Tensor):
                self._known[key] = self._tensor(value, contents)
            elif isinstance(value, list | tuple | dict) and depth:
                self._known[key] = self._container(value, contents, depth - 1)
            else:
                raise UnfollowedError("forward takes an attribute that is neither number nor tensor nor list")
        return self._known[key]

    def _container(self, value: Any, contents: Contents, depth: int) -> Value:  # noqa: ANN401
        if isinstance(value, dict):
            return KeptPairs({k: self._value(each, contents, depth) for k, each in value.items()})
        items = [self._value(each, contents, depth) for each in value]
        return Kept(items) if isinstance(value, list) else tuple(items)

    def _tensor(self, tensor: values.Tensor, contents: Contents) -> Tensor:
        """A stored tensor; all that are one in memory are one."""
        same = (id(contents), *mark(tensor))
        if same in self._known:
            found: Tensor = self._known[same]
            return found
        plain = self._plain.get(same)
        if plain is None or tensor.unusable:
            raise UnfollowedError("forward takes a tensor that the file does not have")
        stored = contents.stored({plain: tensor})[plain]
        meta = meta_of(tensor)
        name = self.calls.names.new(f"stored {plain}")
        self.names[name], self.tensors[plain] = plain, _placed(stored, tensor, contents)
        number = stored.read().clone() if tensor.shape == () else None
        self.calls.fixed[storage_of(meta)] = meta
        made = self._known[same] = self.calls.given(name, meta, number)
        return made


def meta_of(tensor: values.Tensor) -> torch.Tensor:
    """A tensor of its sizes and type, without values.

    Raises:
        UnfollowedError: torch has none.
    """
    kind = getattr(torch, tensor.dtype, None)
    try:
        if isinstance(kind, torch.dtype):
            return torch.empty_strided(tensor.shape, tensor.stride, dtype=kind, device="meta")
    except RuntimeError as error:
        raise UnfollowedError("forward takes a tensor of sizes that none has") from error
    raise UnfollowedError(f"forward takes a tensor of {tensor.dtype}")


def _placed(stored: StoredTensor, tensor: values.Tensor, contents: Contents) -> StoredTensor:
    """With its place in the file, where its values can be taken from there as they are."""
    storage = tensor.storage
    if storage is None or contents.big_endian or not math.prod(tensor.shape):
        return replace(stored, identity=None)
    return replace(stored, identity=(contents.spans[storage.key].start, tensor.offset, tensor.stride))
