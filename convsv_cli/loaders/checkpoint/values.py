"""What a pickle holds, as inert values: nothing that it names is imported, and nothing is called.

Numbers, strings, tuples, lists and dicts are themselves; sets are lists. All else is one of these.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from convsv_cli.errors import UnsafeModelError
from convsv_cli.loaders.usage import Usage

MAX_NAME = 2000
MAX_AXES = 32
MAX_KEY = 1 << 62


@dataclass(frozen=True, slots=True)
class Global:
    """The name of a class or function: only the name."""

    module: str
    name: str

    def __post_init__(self) -> None:
        if len(self.module) + len(self.name) > MAX_NAME:
            raise UnsafeModelError(f"a class whose name is longer than {MAX_NAME} characters")

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False, repr=False)
class Record:
    """What would be an object: the class or function that would have been called, and with what.

    Attributes:
        maker: a `Global`, or whatever else stood in its place.
        args: positional arguments.
        state: what would have become its attributes.
        items: what would have been appended to it, or added.
        entries: what would have been set by key.
    """

    maker: Any
    args: Any = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)

    @property
    def attributes(self) -> dict[Any, Any]:
        """Its state where that is a dict; of a pair, such as classes with slots have, the first."""
        state = self.state[0] if isinstance(self.state, tuple) and self.state else self.state
        return state if isinstance(state, dict) else {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Storage:
    """The flat memory of some tensors, as a pickle claims it to be.

    Attributes:
        key: its name in the file.
        dtype: of an element; "" where its tensors say.
        size: number of elements, of bytes where `dtype` is "".
    """

    key: str
    dtype: str
    size: int


@dataclass(frozen=True, kw_only=True, eq=False, repr=False, slots=True)
class Tensor:
    """A tensor, as a pickle claims it to be; `Storages` checks that.

    Attributes:
        shape: as claimed: any integers.
        dtype: as torch calls it, such as "float16".
        storage: where its values are; None for a tensor that cannot be used.
        offset: of the first element.
        stride: between elements of each axis.
        unusable: why it cannot be used; empty where it can.
        usage: what its module does with it; None where that is not known.
    """

    shape: tuple[int, ...]
    dtype: str
    storage: Storage | None = None
    offset: int = 0
    stride: tuple[int, ...] = ()
    unusable: str = ""
    usage: Usage | None = None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def used(self, usage: Usage | None) -> Tensor:
        """The same tensor with that usage."""
        return replace(self, usage=usage)


def as_key(value: Any) -> Any:
    """A key that hashes in no time: numbers of any length and nested tuples do not, and stand alone."""
    if value is None or isinstance(value, (str, bytes, float)):
        return value
    if isinstance(value, int) and abs(value) < MAX_KEY:
        return value
    return Record(Global("convsv", "key"), (value,))


def as_shape(value: Any) -> tuple[int, ...]:
    """A shape, offsets or strides.

    Raises:
        TypeError: these are no integers.
        UnsafeModelError: more axes than any tensor has.
    """
    if not isinstance(value, (tuple, list)):
        raise TypeError
    if len(value) > MAX_AXES:
        raise UnsafeModelError(f"a tensor of {len(value)} axes")
    if any(type(item) is not int for item in value):
        raise TypeError
    return tuple(value)
