"""The weights that an adapter adds to: which layer of the base each update is of, and what becomes of it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import torch

from convsv_cli import limits
from convsv_cli.loaders.adapters.parts import PREFIX
from convsv_cli.loaders.adapters.rows import AS_MATRIX, GEOMETRY
from convsv_cli.loaders.transposed import AS_OTHERS, TURNED
from convsv_cli.model.factored import Factored, Product, formed, frobenius_size
from convsv_cli.model.layer import Layer, Rescale, UnsupportedLayer, Update, layer_name
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, gamma, round_up

Row = Layer | UnsupportedLayer
Shape = tuple[int, ...]
Index = dict[str, dict[str, Row]]
"""Rows by their own names, by what may be said of each."""
DEPTH = 24
"""Parts of a name that may be left out from its beginning."""
NO_WEIGHT = "the base has no weight of its name"
SEVERAL = "the base has several weights of its name, such as {} and {}"
NO_FIT = "the base's weight is {}, the update {}"
NO_VALUES = "the base's weight has no values ({})"
UNTOLD = "the base's weight, {}, may be stored as outputs x inputs or the other way round"
APART = "not held against the base: {}"
COPIES = 4
"""Of a weight in float64, while a sum is made of it."""
_NETWORK = re.compile(
    r"(?:lora|lycoris)_(?:unet_|te\d?_|transformer_|prior_)?|(?:unet|transformer|text_encoder(?:_\d)?|te\d?)\."
)
"""What Kohya, LyCORIS and Diffusers put before the names of a network's modules."""


def on_base(rows: Iterable[Row], base: Iterable[Row]) -> Iterator[Row]:
    """The rows of an adapter, those of updates with the base's layer that each is of, or why there is none.

    Args:
        rows: of the adapter.
        base: of the base.
    """
    index = _index(base)
    for row in rows:
        yield row if row.update is None else _joined(row, row.update, index)


def plain_module(module: str) -> str:
    """The name of a module as all writers have it: without what they put first, underscores for points."""
    return _without_network(module).replace(".", "_")


def _without_network(module: str) -> str:
    return _NETWORK.sub("", module, count=1) if _NETWORK.match(module) else module


def _index(base: Iterable[Row]) -> Index:
    """By whole names, and by those without their first parts, with underscores for points."""
    index: Index = {}
    for row in base:
        for name in (row.weight, *row.aliases):
            parts = layer_name(name).replace(".base_layer", "").removeprefix(PREFIX).split(".")
            for start in range(min(len(parts), DEPTH)):
                index.setdefault("_".join(parts[start:]), {})[row.name] = row
    return index


def _found(module: str, index: Index) -> Row | str:
    """The row of a module, by its whole name or without its first parts; or why there is none."""
    parts = _without_network(module).split(".")
    for start in range(min(len(parts), DEPTH)):
        known = index.get("_".join(parts[start:]).replace(".", "_"), {})
        if len(known) == 1:
            return next(iter(known.values()))
        if known:
            return SEVERAL.format(*sorted(known)[:2])
        if start and len(parts) - start < 2:
            break
    return NO_WEIGHT


def _joined(row: Row, update: Update, index: Index) -> Row:
    found = update.no_base or _found(update.module, index)
    base = found if isinstance(found, str | Layer) else (found.layer or NO_VALUES.format(found.reason))
    if isinstance(base, Layer) and (base.geometry.transposed or not _fits(row.kernel_shape, base, update)):
        base = NO_FIT.format(_times(base.kernel_shape), _times(row.kernel_shape))
    elif isinstance(base, Layer) and _may_be_flipped(row.kernel_shape, base, update):
        base = UNTOLD.format(_times(base.kernel_shape))
    if isinstance(base, str):
        return _apart(row, update, base)
    joined = replace(update, base=base, factors=partial(_added, update, base))
    return Layer(
        name=row.name,
        weight=row.weight,
        op=base.op,
        kernel_shape=base.kernel_shape,
        dtype=row.dtype,
        geometry=base.geometry,
        input_size=base.input_size,
        assumed=tuple(dict.fromkeys((*_lasting(row), *base.assumed))),
        update=joined,
        read=lambda: joined.factors().dense(),
    )


def _apart(row: Row, update: Update, why: str) -> Row:
    """The row of an update that is held against no base, though one was given."""
    update = replace(update, no_base=why)
    if isinstance(row, Layer):
        return replace(row, update=update, assumed=(*row.assumed, APART.format(why)))
    return replace(row, update=update, reason=f"{row.reason.partition(':')[0]}: {why}")


def _lasting(row: Row) -> Iterator[str]:
    """What is taken for granted of an update even where its base is known."""
    assumed = row.assumed if isinstance(row, Layer) else ()
    yield from (line for line in assumed if line not in (GEOMETRY, AS_MATRIX))


def _fits(shape: Shape, base: Layer, update: Update) -> bool:
    """Whether an update of this shape can be added to a weight, once it is reshaped or transposed."""
    whole = base.kernel_shape
    if _is_flipped(shape, base, update):
        return True
    if shape[0] != whole[0] or math.prod(shape) != math.prod(whole):
        return False
    wide, other = ([n for n in each[2:] if n != 1] for each in (shape, whole))
    return update.flat or (shape[1] == whole[1] and wide == other)


def _is_flipped(shape: Shape, base: Layer, update: Update) -> bool:
    """Whether the base's weight is read as inputs x outputs, which no `oriented` one is."""
    whole = base.kernel_shape
    is_oriented = TURNED in base.assumed or AS_OTHERS in base.assumed
    return update.transposed and len(whole) == 2 and shape == whole[::-1] and not is_oriented


def _may_be_flipped(shape: Shape, base: Layer, update: Update) -> bool:
    """Whether a square weight may be either: PEFT looks at the class of its layer, too."""
    return _is_flipped(shape, base, update) and shape == base.kernel_shape


def _added(update: Update, base: Layer) -> Factored:
    """What is added to the base's weight, in the form of that, by factors where there are any.

    Groups are blocks on the diagonal, which factors over all channels do not know: then it is formed.
    """
    own, shape = update.factors(), base.kernel_shape
    flipped = _is_flipped(own.shape, base, update)
    if update.rescale is None and base.geometry.groups == 1:
        return _transposed(own) if flipped else _reshaped(own, shape)
    limits.hold(8 * COPIES * math.prod(shape), "an update that is formed")
    whole, lost = own.dense().mT if flipped else own.dense().reshape(shape), own.lost
    if update.rescale is not None:
        weight = base.read().to(torch.float64)
        whole, lost = _rescaled(weight, whole, lost, update.rescale, flipped=flipped)
    return formed(whole, lost)


def _rescaled(
    weight: torch.Tensor, added: torch.Tensor, lost: float, factors: Rescale, *, flipped: bool
) -> tuple[torch.Tensor, float]:
    """What DoRA adds to a weight in all, and a bound of the Frobenius norm of what that lacks.

    A slice y of the sum becomes l y / |y|, and |l x / |x| - l y / |y|| <= 2 l |x - y| / |y|: what the sum
    lacks, and a rounding of each entry, are multiplied by at most twice the largest factor l / |y|. That has
    n + 6 roundings for n entries, its product one, and the difference another, of both of its parts.
    """
    total = weight + added
    factor = factors(total.mT).mT if flipped else factors(total)
    made = total * factor
    apart = lost + UNIT_ROUNDOFF * frobenius_size(total)
    rounded = gamma(total.numel() + 10) * (frobenius_size(made) + frobenius_size(weight))
    return made - weight, round_up(2.001 * float(factor.abs().max()) * apart + rounded)


def _reshaped(weight: Factored, shape: Shape) -> Factored:
    """The same with the taps that a kernel of this shape has."""
    *outer, last = weight.parts
    kernel = last.kernel.reshape(len(last.kernel), -1, *shape[2:])
    parts = (*outer, Product(left=last.left, kernel=kernel, error=_error(last)))
    return replace(weight, parts=parts, shape=shape)


def _error(part: Product) -> float:
    """Of a kernel whose taps are told apart: norms of n taps add up to sqrt(n) times that of all, or less."""
    return part.error * math.sqrt(part.kernel[0].numel())


def _transposed(weight: Factored) -> Factored:
    """(L K)* = K* L*, and that of a Kronecker product is that of the transposed matrices."""
    parts = (
        Product(kernel=part.kernel.mT)
        if part.left is None
        else Product(left=part.kernel.mT, kernel=part.left.mT)
        for part in weight.parts
    )
    return replace(weight, parts=tuple(parts), shape=weight.shape[::-1])


def _times(shape: Shape) -> str:
    return "x".join(map(str, shape))
