"""A search for the tensors in nested containers: each gets a name, or is left out under one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from convsv_cli import limits
from convsv_cli.errors import UnsafeModelError
from convsv_cli.loaders.checkpoint.containers import (
    MAX_DEPTH,
    Pair,
    below,
    contents,
    heights,
    is_container,
    is_matrix,
    is_number,
    joined,
    key_name,
    mark,
    matrices,
    number,
    parts,
    plain,
    within,
)
from convsv_cli.loaders.checkpoint.modules import REGISTRIES, is_module, module_tensors, walk
from convsv_cli.loaders.checkpoint.optimisers import are_optimisers, is_named_for_training, is_optimiser
from convsv_cli.loaders.checkpoint.packed import unpacked
from convsv_cli.loaders.checkpoint.values import Record, Tensor
from convsv_cli.loaders.names import is_direction
from convsv_cli.loaders.scaled import is_coarse

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
ALONE = "value"
"""The name of a tensor that is all there is."""
MAX_VISITS = 4_000_000
NAME_VISITS, NAME_LENGTH = 10, 100
"""How many steps one more name counts as, and so many characters of it."""
ENDLESS = "its containers contain each other without end: more than {:,} of their things"
OPTIMISER = "state of an optimiser"
BESIDE = "could be weights"
NAMED = "could be weights, despite the name"
DEEP = f"nested more than {MAX_DEPTH} deep"
Tensors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Tensors that are not part of the network, or may not be.

    Attributes:
        name: the keys that lead to them.
        tensors: of two axes or more, by their names below that.
        why: what they are.
    """

    name: str
    tensors: Tensors
    why: str


@dataclass
class Search:
    """It counts its steps, since containers may hold each other.

    Attributes:
        root: the whole checkpoint.
        trusts_names: whether what a name says to be no network is left out.
        left_out: found so far.
        modules: tensors of the pickled modules found so far.
    """

    root: Any
    trusts_names: bool = True
    left_out: list[LeftOut] = field(default_factory=list)
    modules: dict[int, Tensors] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.visits, self.most_visits = 0, limits.most(MAX_VISITS)
        self.coarse = any(is_coarse(tensor.dtype) for tensor in matrices(self.root, self.count))
        root = self.root if is_container(self.root) else ()
        self.heights = heights(root, self.is_wanted, self.count)
        self.active: set[int] = set()
        self.of_modules: set[int] = set()

    def run(self) -> Tensors:
        """All tensors of containers in which there is a matrix, by name.

        Raises:
            UnsafeModelError: there is no end of names.
        """
        return {name or ALONE: tensor for name, tensor in self.named(self.root, "", "", 0).items()}

    def holds(self, value: Any) -> bool:
        """Whether it could be a weight, or one is inside; beside weights of few bits, any tensor counts."""
        if isinstance(value, Tensor):
            return self.coarse or value.ndim >= 2
        return is_container(value) and id(value) in self.heights

    def is_wanted(self, key: Any, value: Any) -> bool:
        """Whether it is a tensor that counts."""
        may_scale = self.coarse and isinstance(key, str) and is_number(value)
        return may_scale or (isinstance(value, Tensor) and self.holds(value))

    def items(self, pairs: Iterable[Pair], path: str) -> list[Pair]:
        """The pairs with arrays as tensors; beside weights of few bits, what may scale them too."""
        plain_pairs = ((key, plain(value)) for key, value in unpacked(pairs))
        return [(key, number(below(path, key), item) if self.coarse else item) for key, item in plain_pairs]

    def named(self, value: Any, key: Any, path: str, depth: int) -> Tensors:
        """The tensors inside by name; a tensor itself has the empty one."""
        if isinstance(value, Tensor):
            return {"": value}
        if not (self.holds(value) or is_module(value)) or id(value) in self.active:
            return {}
        self.count(NAME_VISITS)
        is_deep = depth + self.heights.get(id(value), 0) > MAX_DEPTH
        if is_deep or is_optimiser(key, value, self.count):
            self.leave(path, value, DEEP if is_deep else OPTIMISER)
            return {}
        self.active.add(id(value))
        found = self.opened(value, path, depth)
        self.active.discard(id(value))
        return found

    def opened(self, value: Any, path: str, depth: int) -> Tensors:
        """The tensors in a container, by its kind."""
        if is_module(value):
            return self.of_module(value, path, depth)
        if isinstance(value, dict):
            return self.of_mapping(list(value.items()), path, depth)
        if isinstance(value, (list, tuple)):
            return self.of_sequence(list(enumerate(value)), path, depth)
        return self.of_object(value, path, depth)

    def of_mapping(self, items: list[Pair], path: str, depth: int) -> Tensors:
        """A wrapper such as "state_dict" gives its names without its own; at the top, it is all there is."""
        self.count(len(items))
        kept = self.items(items, path)
        if self.trusts_names:
            kept = self.without_training(kept, path, depth)
        wrapper, inside = self.wrapped(kept, path, depth)
        if wrapper is None:
            return merged(*self.each(kept, path, depth))
        others = [(key, item) for key, item in kept if key != wrapper]
        if depth:
            return merged(("", inside), *self.each(others, path, depth))
        small: list[tuple[str, Tensors]] = []
        for name, tensors in self.each(others, path, depth):
            if not self.leave_named(joined(path, name), tensors, BESIDE) and self.coarse:
                small.append((name, tensors))
        return merged(("", inside), *small) if small else inside

    def without_training(self, items: list[Pair], path: str, depth: int) -> list[Pair]:
        """The items but those whose key says that they are not a network; these are left out."""
        kept = []
        for key, item in items:
            if is_named_for_training(key) and self.holds(item):
                where = below(path, key)
                if is_optimiser(key, item, self.count) or are_optimisers(item, self.count):
                    self.leave(where, item, OPTIMISER)
                else:
                    self.leave_named(where, self.named(item, key, where, depth + 1), NAMED)
            else:
                kept.append((key, item))
        return kept

    def wrapped(self, items: list[Pair], path: str, depth: int) -> tuple[str | None, Tensors]:
        """The first wrapper that has weights, and its tensors; averages where there is nothing else."""
        containers = {
            key: item for key, item in items if isinstance(key, str) and not isinstance(item, Tensor)
        }
        holding = [key for key, item in items if self.holds(item)]
        is_outermost = not path or path in WRAPPERS
        lone = tuple(key for key in AVERAGES if holding == [key] and is_outermost)
        for wrapper in (*WRAPPERS, *lone):
            inside = self.named(containers.get(wrapper), wrapper, below(path, wrapper), depth + 1)
            if any(_is_weight(name, tensor) for name, tensor in inside.items()):
                return wrapper, inside
        return None, {}

    def of_sequence(self, items: list[Pair], path: str, depth: int) -> Tensors:
        """Names by number; none for a pair such as (weights, epoch)."""
        self.count(len(items))
        holding = self.items((pair for pair in items if self.holds(plain(pair[1]))), path)
        if len(holding) == 1 and not is_matrix(holding[0][1]):
            ((key, item),) = holding
            return self.named(item, key, path, depth + 1)
        return merged(*self.each(self.items(items, path), path, depth))

    def of_object(self, record: Record, path: str, depth: int) -> Tensors:
        """What a dict or list of a class of its own holds; the use of its other parts is unknown."""
        held = self.items(contents(record), path)
        found = self.of_mapping(held, path, depth) if any(self.holds(item) for _, item in held) else {}
        own = list(parts(record))
        self.count(len(held) + len(own))
        made = [pair for pair in self.items(own, path) if self.holds(pair[1])]
        inside = merged(*self.each(made, path, depth))
        matrices = {name: tensor for name, tensor in inside.items() if is_matrix(tensor)}
        strange = [name for name, tensor in matrices.items() if id(tensor) not in self.of_modules]
        for name in strange:
            matrices[name] = within(record, matrices[name])
        if len(matrices) == len(strange) == 1 and not found:
            return {"": matrices[strange[0]]}
        return merged(("", found), ("", matrices))

    def of_module(self, module: Record, path: str, depth: int) -> Tensors:
        """Parameters and buffers; then what else its modules have in their attributes."""
        if id(module) not in self.modules:
            self.modules[id(module)] = module_tensors(module, self.count)
            self.of_modules.update(map(id, self.modules[id(module)].values()))
        found = dict(self.modules[id(module)])
        self.count_names(found, 0)
        known = {mark(tensor) for tensor in found.values()}
        for prefix, inner, _ in walk(module):
            self.count(len(inner.attributes))
            attributes = (pair for pair in inner.attributes.items() if pair[0] not in REGISTRIES)
            loose = [pair for pair in self.items(attributes, path) if self.holds(pair[1])]
            further = merged(*self.each(loose, path, depth))
            new = {prefix + name: tensor for name, tensor in further.items() if mark(tensor) not in known}
            found = merged(("", found), ("", new)) if new else found
        return found

    def each(self, items: list[Pair], path: str, depth: int) -> list[tuple[str, Tensors]]:
        """The tensors of each item with its key: tensors themselves first, then what is inside of others."""
        loose = [pair for pair in items if isinstance(pair[1], Tensor)]
        nested = [pair for pair in items if not isinstance(pair[1], Tensor) and self.holds(pair[1])]
        found = []
        for key, item in (*loose, *nested):
            name = key_name(key)
            tensors = self.named(item, key, below(path, key), depth + 1)
            self.count_names(tensors, len(name))
            found.append((name, tensors))
        return found

    def leave(self, path: str, value: Any, why: str) -> None:
        """Leave out all that is inside."""
        found = matrices(value, self.count)
        self.count(NAME_VISITS * len(found))
        tensors = {str(index): tensor for index, tensor in enumerate(found)}
        self.left_out.append(LeftOut(name=path, tensors=tensors, why=why))

    def leave_named(self, path: str, tensors: Tensors, why: str) -> bool:
        """Leave out those of the tensors that could be weights, where there are any; whether there are."""
        weights = {name: tensor for name, tensor in tensors.items() if is_matrix(tensor)}
        if weights:
            self.left_out.append(LeftOut(name=path, tensors=weights, why=why))
        return bool(weights)

    def count_names(self, tensors: Tensors, longer: int) -> None:
        """Count the names, each of which is going to be longer by so many characters."""
        characters = sum(map(len, tensors)) + longer * len(tensors)
        self.count(NAME_VISITS * (len(tensors) + characters // NAME_LENGTH))

    def count(self, steps: int) -> None:
        """Count them, and one more.

        Raises:
            UnsafeModelError: there were too many.
        """
        self.visits += 1 + steps
        if self.visits > self.most_visits:
            raise UnsafeModelError(ENDLESS.format(self.most_visits), hint=limits.MORE_OBJECTS)


def merged(*groups: tuple[str, Tensors]) -> Tensors:
    """All groups, with their names as prefixes, and numbers where names meet."""
    found: Tensors = {}
    met: Counter[str] = Counter()
    for prefix, tensors in groups:
        for name, tensor in tensors.items():
            whole = free = joined(prefix, name)
            while free in found:
                met[whole] += 1
                free = f"{whole} ({1 + met[whole]})"
            found[free] = tensor
    return found


def _is_weight(name: str, tensor: Tensor) -> bool:
    """Whether it is a matrix that is more than a vector, or one that is called a weight."""
    is_vector = sum(size != 1 for size in tensor.shape) < 2
    return tensor.ndim >= 2 and not is_direction(name, tensor) and (name.endswith("weight") or not is_vector)
