"""What a scheme of quantisation is, and what most of them are made of: codes, scales and zero points.

A weight is read as the real numbers that its parts stand for, in float64: products of codes and scales are
exact there. Runtimes round them, to float16 or bfloat16 mostly; that is not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from convsv_cli import limits
from convsv_cli.loaders.loader import StoredTensor, Usage
from convsv_cli.loaders.quantised.config import Config
from convsv_cli.model.home import Home, NoHomeError

DEQUANTISED = "dequantised weights: {}, in float64"
WORD = 32
_FLOATS = ("float64", "float32", "float16", "bfloat16")


class MisfitError(Exception):
    """Why the parts of a weight do not say what it is."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The parts of one weight.

    Attributes:
        parts: by how their names end.
        config: what is said of all weights beside the file.
    """

    parts: Mapping[str, StoredTensor]
    config: Config

    def __getitem__(self, part: str) -> StoredTensor:
        return self.parts[part]

    def get(self, part: str) -> StoredTensor | None:
        """A part that not all weights have."""
        return self.parts.get(part)

    def values(self, part: str) -> torch.Tensor:
        """Those of a small part, which is read before the weight is."""
        tensor = self.parts[part]
        limits.spend(math.prod(tensor.shape), f"reading {part}")
        return tensor.read()

    def weight(
        self,
        shape: tuple[int, ...],
        scheme: str,
        read: Callable[[], torch.Tensor],
        usage: Usage | None = None,
    ) -> StoredTensor:
        """The weight that they stand for.

        Args:
            shape: of it.
            scheme: how it is stored, in a few words; what follows ", " is only told where there is room.
            read: gives the real values.
            usage: what is done with it, where that is known.
        """
        identities = tuple(part.identity for part in self.parts.values())
        return StoredTensor(
            shape=shape,
            dtype="float64",
            scheme=scheme.partition(", ")[0],
            read=read,
            identity=None if None in identities else identities,
            assumed=(DEQUANTISED.format(scheme),),
            usage=usage,
            home=lambda: codes(scheme),
        )


def codes(scheme: str) -> Home:
    """No home: a scale is of many codes of few bits, which hardly hold other values.

    Raises:
        NoHomeError: always.
    """
    raise NoHomeError(f"its values are stored as {scheme}: clip the model before it is quantised")


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """A way to store a weight in several tensors.

    Attributes:
        name: what to call it.
        mark: how the name of the part ends that it is known by; before it there is a dot, or nothing.
        required: how the names of all parts end that must be there.
        optional: of those that may be.
        codes: how the name of the part ends that has the codes, without which there is no weight; the mark
            where that is empty.
        weight: how the name of the weight ends.
        read: gives the weight of its parts, with its values behind `read`; raises `MisfitError`.
        glued: whether there need be no dot.
        applies: whether a part of that name is one, by the element types of the parts.
    """

    name: str
    mark: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    codes: str = ""
    weight: str = "weight"
    read: Callable[[Found], StoredTensor]
    glued: bool = False
    applies: Callable[[Mapping[str, StoredTensor]], bool] = lambda _: True

    @property
    def parts(self) -> tuple[str, ...]:
        """How the names of all parts end."""
        return (self.mark, *self.required, *self.optional)

    def owner(self, name: str, tensors: Mapping[str, StoredTensor]) -> str | None:
        """What the names of all parts begin with, if the tensor of this name is the mark of a weight."""
        if not name.endswith(self.mark):
            return None
        owner = name.removesuffix(self.mark)
        if owner and not owner.endswith(".") and not self.glued:
            return None
        parts = {part: tensors[owner + part] for part in self.parts if owner + part in tensors}
        return owner if (self.codes or self.mark) in parts and self.applies(parts) else None


def check(holds: bool, why: str) -> None:  # noqa: FBT001
    """See that it holds.

    Raises:
        MisfitError: with these words, if not.
    """
    if not holds:
        raise MisfitError(why)


def check_type(tensor: StoredTensor, part: str, *dtypes: str) -> None:
    """See that a part is of one of these types; of floats of 16 bits and more where none are given.

    Raises:
        MisfitError: it is not.
    """
    check(tensor.dtype in (dtypes or _FLOATS), f"its {part} is of {tensor.dtype}")


def check_axes(tensor: StoredTensor, part: str, axes: int) -> None:
    """See that a part has so many axes, none of them empty.

    Raises:
        MisfitError: it has not.
    """
    words = "x".join(map(str, tensor.shape))
    check(len(tensor.shape) == axes and 0 not in tensor.shape, f"its {part} has the shape {words}")


def unpacked(words: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """Codes [n, count], uint8, of words [n, m] in which they follow one another from the lowest bit on.

    Args:
        words: integers of any width, in which a code may begin that ends in the next one.
        bits: of a code, 1 to 8.
        count: of codes in a row: m words must have as many.
    """
    rows = words.contiguous().view(torch.uint8).reshape(len(words), -1)
    if 8 % bits == 0:
        shifts = torch.arange(0, 8, bits, dtype=torch.uint8)
        split: torch.Tensor = (rows[..., None] >> shifts) & (2**bits - 1)
        return split.reshape(len(rows), -1)[:, :count]
    import numpy as np

    single = np.unpackbits(rows.numpy(), axis=1, bitorder="little")[:, : count * bits]
    codes = np.packbits(single.reshape(len(rows), count, bits), axis=2, bitorder="little")
    return torch.from_numpy(codes[..., 0])


def halves(packed: torch.Tensor, *, high_first: bool = False) -> torch.Tensor:
    """Codes of four bits [..., 2 n], uint8, of bytes [..., n]."""
    pair = (packed >> 4, packed & 15) if high_first else (packed & 15, packed >> 4)
    return torch.stack(pair, dim=-1).flatten(-2)


def words_for(count: int, bits: int) -> int:
    """How many words so many codes take."""
    return -(-count * bits // WORD)


def group_size(columns: int, groups: int) -> int:
    """How many columns share a scale, where there are so many scales in a row.

    Raises:
        MisfitError: the columns cannot be split so.
    """
    fits = groups > 0 and columns % groups == 0
    check(fits, f"{columns} columns cannot be split into {groups} groups")
    return columns // groups


def grouped(codes: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor | None = None) -> torch.Tensor:
    """`scales (codes - zeros)` [rows, columns], float64, with scales [rows, groups] for columns in order.

    Args:
        codes: [rows, columns]; the groups are equally long.
        scales: [rows, groups].
        zeros: [rows, groups], or [rows, 1]; None for none.
    """
    made = codes.double().reshape(len(codes), scales.shape[1], -1)
    if zeros is not None:
        made -= zeros.double()[..., None]
    return (made * scales.double()[..., None]).reshape(codes.shape)


def picked(
    codes: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor, index: torch.Tensor
) -> torch.Tensor:
    """As `grouped`, where each column says which group it is of.

    Args:
        codes: [rows, columns].
        scales, zeros: [rows, groups].
        index: [columns], each at least 0 and less than the number of groups.
    """
    where = index.long()
    return (codes.double() - zeros.double()[:, where]) * scales.double()[:, where]
