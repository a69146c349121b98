"""What a loader is, what it gives of a file that holds only named tensors, and how much any file may hold."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from convsv_cli.digits import short
from convsv_cli.errors import UnsafeModelError
from convsv_cli.model.home import Home, homeless
from convsv_cli.model.layer import Geometry
from convsv_cli.model.network import InputSize, Network
from convsv_cli.names import LONGEST_NAME, plain_names, without_trainer

if TYPE_CHECKING:
    import torch
    from onnx import ModelProto

    from convsv_cli.loaders.adapters.config import Config

_PARTS = {"float8_e8m0fnu", "float4_e2m1fn_x2"}
"""Exponents of blocks, and pairs of values: neither is a number in its own right."""
TOO_LARGE = "a constant expression much larger than what is stored for it"
MAX_TENSORS = 250_000
MAX_AXES = 64
FREE_ELEMENTS = 2**23
GROWTH = 16
STACKED = "{} matrices, each by itself: the norm is the largest of theirs"
REPEATED = "each of its {stored} stored values is in {times} places on average, too many to unfold"
UNREAL = "{} weights: the real values they stand for are unknown"


@dataclass(frozen=True, kw_only=True)
class Usage:
    """How a layer uses its weight, where a file says so: what a bare state dict leaves to be assumed.

    Attributes:
        op: ONNX operator type of the layer; empty for that of its geometry.
        geometry: how the kernel is applied.
        reason: why the layer cannot be audited; empty where it can.
        applicable: whether it is a layer at all, rather than a table of numbers that are looked up.
        assumed: what was taken for granted to say so.
    """

    op: str = ""
    geometry: Geometry = field(default_factory=Geometry)
    reason: str = ""
    applicable: bool = True
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor of a file.

    Attributes:
        shape, dtype: as stored; the latter as torch calls it, such as "float16".
        read: gives its values.
        unusable: why its values cannot be audited; empty where they can.
        identity: equal for tensors that are one in memory; None where the file does not say.
        assumed: what was taken for granted to get the values.
        usage: what is done with it, where the file says.
        scheme: how the values are stored, such as "Q4_K", where `read` gives those that they stand for; then
            `dtype` is of these.
        home: where the values are; raises `NoHomeError` where others cannot be stored in their place.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], torch.Tensor]
    unusable: str = ""
    identity: Hashable | None = None
    assumed: tuple[str, ...] = ()
    usage: Usage | None = None
    scheme: str = ""
    home: Callable[[], Home] = homeless

    @property
    def fault(self) -> str:
        """Why its values cannot be audited, be it for their type alone; empty where they can."""
        return self.unusable or ("" if is_real(self.dtype) else UNREAL.format(self.dtype))


def stacked(tensor: StoredTensor, assumed: tuple[str, ...] = ()) -> StoredTensor:
    """Matrices [n, out, in] of n experts as one layer of n groups, each of which maps inputs of its own.

    That layer is block diagonal, so its norm is the largest of the matrices', whichever are chosen.

    Args:
        tensor: all of them.
        assumed: what was taken for granted to say that they are matrices.
    """
    count, rows, columns = tensor.shape
    shape = count * rows, columns
    usage = Usage(geometry=Geometry(groups=max(1, count)), assumed=(*assumed, STACKED.format(count)))
    return replace(tensor, shape=shape, read=lambda: tensor.read().reshape(shape), usage=usage)


def is_real(dtype: str) -> bool:
    """Whether values of this type are real numbers, each by itself."""
    return dtype.startswith(("float", "bfloat")) and dtype not in _PARTS


@dataclass(frozen=True, kw_only=True)
class NamedTensors:
    """The tensors of a network.

    Attributes:
        tensors: by name, as they are stored.
        format: of the `Network`.
        files: names of further files that they are in.
        notes: what was left out.
        left_out: those of the notes that are about what could be weights.
        trained: whether a trainer may have put "model." before all names.
        adapter: what the configuration of an adapter says, where they are one's.
        metadata: what the file says beside them.
    """

    tensors: dict[str, StoredTensor]
    format: str
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    trained: bool = False
    adapter: Config | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def plain(self) -> dict[str, StoredTensor]:
        """The tensors by their names in the network, without wrappers around parts of it."""
        names = without_trainer(self.tensors) if self.trained else plain_names(self.tensors)
        return {names[name]: tensor for name, tensor in self.tensors.items()}


def alone(_path: Path) -> tuple[str, ...]:
    """The parts of a model in a single file."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Loader:
    """A file format that convsv reads.

    Attributes:
        name: what to call it; the `Network.format` that it gives, unless that is its parts'.
        suffixes: usual endings of such files, lower case.
        description: one line for `--help` and error messages, with the usual file endings.
        signatures: regular expressions of how such files begin (of 4 KiB at most), by their suffix (lower
            case, with its dot); that of the empty suffix holds for files of any name.
        names: a regular expression of how the paths of such files end, whose content alone does not tell that
            others belong to them; empty for none.
        load: read it; raises `UnreadableModelError`, `UsageError` or `UnsafeModelError`.
        parts: names of the further files that a model is in, relative to its folder, which are not looked at;
            raises `UnreadableModelError` or `UnsafeModelError`.
        tensors: the named tensors of a format that has them, with the same errors; None for others.
        onnx: the ONNX model that a file is, or that computes the same, at an input size, with the errors of
            `load`; None for formats without graphs.
    """

    name: str
    suffixes: tuple[str, ...]
    description: str
    signatures: Mapping[str, bytes]
    names: str = ""
    load: Callable[[Path, InputSize], Network]
    parts: Callable[[Path], tuple[str, ...]] = alone
    tensors: Callable[[Path], NamedTensors] | None = None
    onnx: Callable[[Path, InputSize], ModelProto] | None = None

    def recognises(self, head: bytes, path: Path) -> bool:
        """Whether a file is of this format.

        Args:
            head: how it begins.
            path: of it.
        """
        wanted = (self.signatures.get(key) for key in ("", path.suffix.lower()))
        begins = any(pattern is not None and re.match(pattern, head) for pattern in wanted)
        return begins or self.knows(path)

    def knows(self, path: Path) -> bool:
        """Whether the name of a file tells that it is of this format.

        Args:
            path: of the file.
        """
        return bool(self.names) and re.search(rf"(?:^|/)(?:{self.names})\Z", path.as_posix()) is not None


def state_dict(tensors: Callable[[Path], NamedTensors], hint: str) -> Callable[[Path, InputSize], Network]:
    """The `load` of a format that holds named tensors and nothing else.

    Args:
        tensors: reads them.
        hint: what to do where no weights are among them.
    """

    def load(path: Path, input_size: InputSize) -> Network:
        from convsv_cli.loaders.state_dict import network_of

        return network_of(path, input_size, tensors, hint)

    return load


def check_network(network: Network) -> Network:
    """The same network.

    Raises:
        UnsafeModelError: as `check_tensors`, of its rows.
    """
    check_tensors((max(row.name, row.weight, row.op, key=len), row.kernel_shape) for row in network.layers)
    return network


def check_tensors(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> None:
    """See that named tensors of these shapes are no more than a network has, so that reports stay readable.

    Raises:
        UnsafeModelError: too many of them, too long a name, or too many axes.
    """
    for count, (name, shape) in enumerate(shapes, 1):
        if count > MAX_TENSORS:
            raise UnsafeModelError(f"more than {MAX_TENSORS} tensors")
        if len(name) > LONGEST_NAME:
            raise UnsafeModelError(f"a name longer than {LONGEST_NAME} characters")
        if len(shape) > MAX_AXES:
            raise UnsafeModelError(f"a tensor with more than {MAX_AXES} axes")


def outgrows(made: int, stored: int) -> bool:
    """Whether a constant expression makes too many elements, in all its steps, from those that are stored.

    Files of a few bytes can ask for any amount.
    """
    return made > FREE_ELEMENTS + GROWTH * stored


def repeats(shape: tuple[int, ...], stored: int) -> str:
    """Why a tensor whose entries share values cannot be unfolded; empty where it can, or none share any.

    `expand` and `unfold` make such tensors, and they are saved as they are.

    Args:
        shape: of the tensor.
        stored: how many values there are for its entries.
    """
    count = math.prod(shape)
    if not stored or not outgrows(count, stored):
        return ""
    return REPEATED.format(stored=stored, times=short(count / stored, 3))
