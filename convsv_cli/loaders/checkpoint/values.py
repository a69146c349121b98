"""What a pickle holds, as inert values: nothing that it names is imported, and nothing is called.

Numbers, strings, tuples, lists and dicts are themselves; sets are lists. All else is one of these. Element
types go by torch's names for them, such as "float16".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from convsv_cli.errors import UnsafeModelError
from convsv_cli.loaders.loader import StoredTensor, Usage

MAX_NAME = 2000
MAX_AXES = 32
MAX_KEY = 1 << 62
UNNAMED = "something without a name"
ITEM_BYTES = {
    **dict.fromkeys(("bool", "uint8", "int8", "quint8", "qint8", "quint4x2", "quint2x4"), 1),
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"), 1),
    **dict.fromkeys(("float8_e8m0fnu", "float4_e2m1fn_x2"), 1),
    **dict.fromkeys(("int16", "uint16", "float16", "bfloat16"), 2),
    **dict.fromkeys(("int32", "uint32", "float32", "qint32", "complex32"), 4),
    **dict.fromkeys(("int64", "uint64", "float64", "complex64"), 8),
    "complex128": 16,
}
_STORAGES = {
    **{
        f"{name}Storage": name.lower()
        for name in (
            "BFloat16", "Bool", "QUInt8", "QInt8", "QInt32", "QUInt4x2", "QUInt2x4", "Float8_e4m3fn",
            "Float8_e5m2", "Float8_e4m3fnuz", "Float8_e5m2fnuz",
        )
    },
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "UntypedStorage": "",
}  # fmt: skip
_ALIASES = {"half": "float16", "float": "float32", "double": "float64", "long": "int64", "int": "int32"}


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
    def name(self) -> str:
        """What would have been called, as messages say it; its text could be endless where it has no name."""
        return str(self.maker) if isinstance(self.maker, Global) else UNNAMED

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
        parts: tensors that its values are made of; empty where it has a storage.
        made: makes it of these; raises `LimitError`.
    """

    shape: tuple[int, ...]
    dtype: str
    storage: Storage | None = None
    offset: int = 0
    stride: tuple[int, ...] = ()
    unusable: str = ""
    usage: Usage | None = None
    parts: tuple[Tensor, ...] = ()
    made: Callable[[Sequence[StoredTensor]], StoredTensor] | None = None

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
    if isinstance(value, int) and -MAX_KEY < value < MAX_KEY:
        return value
    return Record(Global("convsv", "key"), (value,))


def as_shape(value: Any) -> tuple[int, ...]:
    """A shape, offsets or strides.

    Raises:
        TypeError: these are not integers.
        UnsafeModelError: more axes than any tensor has.
    """
    if not isinstance(value, (tuple, list)):
        raise TypeError
    if len(value) > MAX_AXES:
        raise UnsafeModelError(f"a tensor with {len(value)} axes")
    if any(type(item) is not int for item in value):
        raise TypeError
    return tuple(value)


def dtype_name(value: object) -> str | None:
    """The dtype that a `Global` such as torch.float16 names; None for anything else."""
    if not isinstance(value, Global) or value.module != "torch":
        return None
    name = _ALIASES.get(value.name, value.name)
    return name if name in ITEM_BYTES else None


def storage_dtype(value: object) -> str | None:
    """The dtype of a storage class such as torch.FloatStorage, "" if untyped; None for anything else."""
    if isinstance(value, Global) and value.module in {"torch", "torch.cuda", "torch.storage"}:
        return _STORAGES.get(value.name)
    return None
