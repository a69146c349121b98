"""The named tensors in a training checkpoint, whatever it wraps them in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from convsv_cli.errors import UnsafeModelError
from convsv_cli.loaders.checkpoint.modules import is_module, module_tensors
from convsv_cli.loaders.checkpoint.rebuild import array
from convsv_cli.loaders.checkpoint.values import Record, Tensor
from convsv_cli.loaders.training_state import is_training_state, notes_on, without_training_state

WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
)
AVERAGES = ("ema_state_dict", "model_ema", "params_ema", "state_dict_ema", "ema_model", "ema")
_TRAINING = re.compile(
    r"optim(?!al)|sched|scaler|callback|random|hparam|hyper|config|(?<![a-z])(?:loops?|loss|rng|(?:kw)?args?)(?![a-z])",
    re.IGNORECASE,
)
MAX_DEPTH = 8
MAX_VISITS = 4_000_000
NAME_VISITS = 10
"""What one more name counts."""
WITHIN = "part of a {}, whose use convsv does not know"


@dataclass(frozen=True, kw_only=True)
class Unwrapped:
    """The tensors of the network in a checkpoint.

    Attributes:
        tensors: by name, as they are stored.
        notes: what was left out, in plain words.
        from_module: whether they come from a pickled module.
    """

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()
    from_module: bool = False


def unwrap(checkpoint: Any) -> Unwrapped:
    """The tensors by name.

    A wrapper such as "state_dict" is opened, the first in the order of `WRAPPERS`; averaged weights only
    where there is nothing better. Several networks side by side keep their keys as prefixes.

    Raises:
        UnsafeModelError: containers that hold each other, so that there is no end of names.
    """
    search = _Search()
    tensors, left_out = search.open(checkpoint, depth=0)
    averages = {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] in AVERAGES}
    if any(tensor.ndim >= 2 for name, tensor in tensors.items() if name not in averages):
        tensors = {name: tensor for name, tensor in tensors.items() if name not in averages}
        left_out += dict.fromkeys(name.partition(".")[0] for name in averages)
    notes = (*(f"also holds {name!r}: not audited" for name in left_out), *notes_on(search.directions))
    of_modules = {id(tensor) for inside in search.modules.values() for tensor in inside.values()}
    from_module = any(id(tensor) in of_modules for tensor in tensors.values())
    return Unwrapped(tensors=tensors, notes=notes, from_module=from_module)


@dataclass
class _Search:
    """A search through nested containers; it counts its steps, since they may contain each other."""

    visits: int = 0
    matrices: dict[int, Tensor | None] = field(default_factory=dict)
    modules: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    directions: list[str] = field(default_factory=list)

    def open(self, value: Any, depth: int) -> tuple[dict[str, Tensor], list[str]]:
        """The tensors inside by name, and the keys of what else holds weights."""
        if is_module(value):
            return dict(self.tensors_of(value)), []
        if not isinstance(value, dict) or depth > MAX_DEPTH:
            return {}, []
        self.count(len(value))
        items = {key: _plain(item) for key, item in value.items() if isinstance(key, str)}
        for wrapper in (*WRAPPERS, *AVERAGES):
            inside, left_out = self.open(items.get(wrapper), depth + 1)
            if inside:
                others = [k for k, item in items.items() if k != wrapper and self.holds_weights(k, item)]
                return inside, left_out + others
        tensors = {key: item for key, item in items.items() if isinstance(item, Tensor)}
        left_out = []
        for key, item in items.items():
            if not isinstance(item, Tensor) and self.holds_weights(key, item):
                nested, others = self.open(item, depth + 1)
                nested = nested or dict(self.strange(item))
                self.count(NAME_VISITS * len(nested) * (1 + len(key) // 100))
                tensors |= {f"{key}.{name}" if name else key: tensor for name, tensor in nested.items()}
                left_out += [f"{key}.{name}" for name in others]
        return tensors, left_out

    def strange(self, value: Any) -> Iterator[tuple[str, Tensor]]:
        """The first matrix of an object of an unknown kind, to be listed with the reason."""
        if isinstance(value, Record):
            tensor = self.matrix_in(value)
            if tensor is not None:
                yield "", replace(tensor, unusable=WITHIN.format(value.maker))

    def holds_weights(self, key: str, item: Any) -> bool:
        """Whether it is a matrix, or a container with some in it, that is not the state of the training."""
        if _TRAINING.search(key) or (isinstance(item, dict) and {"state", "param_groups"} <= item.keys()):
            return False
        return self.matrix_in(item) is not None

    def matrix_in(self, value: Any, depth: int = 0) -> Tensor | None:
        """The first tensor of two or more axes inside; each container is searched once."""
        self.count(0)
        value = _plain(value)
        if isinstance(value, Tensor):
            return value if value.ndim >= 2 else None
        if not isinstance(value, (dict, Record)) or depth > MAX_DEPTH:
            return None
        if id(value) not in self.matrices:
            self.matrices[id(value)] = None
            found = (self.matrix_in(item, depth + 1) for item in self.inside(value))
            self.matrices[id(value)] = next((tensor for tensor in found if tensor is not None), None)
        return self.matrices[id(value)]

    def inside(self, value: dict[Any, Any] | Record) -> Iterable[Any]:
        """What a dict holds, or a module, or an object of another kind."""
        if isinstance(value, dict) or is_module(value):
            named = value if isinstance(value, dict) else self.tensors_of(value)
            self.directions += filter(is_training_state, named)
            return without_training_state(named).values()
        return (*(value.args if isinstance(value.args, tuple) else ()), *value.attributes.values())

    def tensors_of(self, module: Record) -> dict[str, Tensor]:
        """Of a pickled module; it is walked once."""
        if id(module) not in self.modules:
            self.modules[id(module)] = module_tensors(module)
        self.count(NAME_VISITS * len(self.modules[id(module)]))
        return self.modules[id(module)]

    def count(self, steps: int) -> None:
        """Count them, and one more.

        Raises:
            UnsafeModelError: there were too many.
        """
        self.visits += 1 + steps
        if self.visits > MAX_VISITS:
            raise UnsafeModelError("its containers hold each other without end")


def _plain(value: Any) -> Any:
    """A NumPy array as a tensor; anything else as it is."""
    found = array(value) if isinstance(value, Record) else None
    return value if found is None else found
