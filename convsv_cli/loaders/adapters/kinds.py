"""The kinds of updates: which parts each has, whether these fit each other, and what they multiply to.

* LoRA (Hu et al. 2022): B A; of a convolution A has its taps, or a core between both does (LyCORIS' Tucker
  form, `lora_mid`); of an embedding table it is transposed.
* LoHa (Hyeon-Woo et al. 2022, FedPara): (A1 B1) * (A2 B2), entry by entry, with cores t1, t2 where there are.
* LoKr (Yeh et al. 2024, LyCORIS): the Kronecker product of two matrices, each whole or a product of two, the
  second with a core or all taps of a kernel.
* full: the difference itself (LyCORIS).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from convsv_cli import limits
from convsv_cli.loaders.adapters.parts import ALPHA, BIAS, DOWN, MAGNITUDE, MIDDLE, UP
from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.model.factored import Factored, Product, contracted, factored, formed, hadamard, normal

Parts = Mapping[str, StoredTensor]
Shape = tuple[int, ...]
MISFIT = "its factors do not fit each other: {}"
MISSING = "its update lacks {}"
STRANGE = "its update has a part {!r}, with which convsv does not know it"
_ANY = frozenset((ALPHA, MAGNITUDE, f"{BIAS}lora_A", f"{BIAS}lora_B", f"{BIAS}lora_up", f"{BIAS}lora_down"))
"""What all kinds may have beside their factors; biases are added, and amplify nothing."""
_HADA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")


class MisfitError(Exception):
    """The parts of an update make none; says why."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An update as its parts have it.

    Attributes:
        name: of the kind.
        rank: by which alpha is divided; None where no factor has one.
        shape: of what the factors multiply to.
        factors: gives them, with a number that they are multiplied by.
        flat: whether they have all taps of a kernel in one axis, if that has any.
        table: whether it is of an embedding table.
    """

    name: str
    rank: int | None
    shape: Shape
    factors: Callable[[float], Factored]
    flat: bool = False
    table: bool = False


def kind_of(parts: Parts, *, of_peft: bool) -> Kind:
    """The update that has these parts.

    Args:
        parts: the tensors.
        of_peft: whether PEFT applies them, which orders the channels of some in a way of its own.

    Raises:
        MisfitError: there is none.
    """
    for needed, further, made in _KINDS:
        if any(name in parts for name in needed):
            _check(parts, needed, further)
            return made(parts)
    if any(name.startswith("lokr_") for name in parts):
        return _lokr(parts, of_peft=of_peft)
    raise MisfitError(MISSING.format("its factors"))


def _check(parts: Parts, needed: tuple[str, ...], further: tuple[str, ...] = ()) -> None:
    for name in needed:
        if name not in parts:
            raise MisfitError(MISSING.format(_said(name)))
    strange = next((name for name in parts if name not in {*needed, *further} | _ANY), None)
    if strange is not None:
        raise MisfitError(STRANGE.format(_said(strange)))


def _said(part: str) -> str:
    """What a part is called in files."""
    return {DOWN: "lora_A (lora_down)", UP: "lora_B (lora_up)", MIDDLE: "lora_mid"}.get(part, part)


def _misfit(*shapes: Shape) -> MisfitError:
    return MisfitError(MISFIT.format(", ".join("x".join(map(str, shape)) or "a number" for shape in shapes)))


def _lora(parts: Parts) -> Kind:
    down, up, middle = parts[DOWN], parts[UP], parts.get(MIDDLE)
    shapes = [each.shape for each in (down, up, middle) if each is not None]
    taps = (down if middle is None else middle).shape[2:]
    flat = (up, *(() if middle is None else (down,)))
    if min(map(len, shapes)) < 2 or any(math.prod(each.shape[2:]) != 1 for each in flat):
        raise _misfit(*shapes)
    m, r = up.shape[:2]
    q, c = down.shape[:2]
    if (r, q) != ((q, r) if middle is None else middle.shape[:2]) or len(up.shape) not in (2, len(taps) + 2):
        raise _misfit(*shapes)

    def factors(scale: float) -> Factored:
        left, shift = normal(up.read().reshape(m, r))
        right, more = normal(down.read())
        if middle is None:
            return factored(Product(left=left, kernel=right), exponent=shift + more, scale=scale)
        core, most = normal(middle.read())
        made = contracted(core, right.reshape(q, c))
        product = Product(left=left, kernel=made.kernel, error=made.error)
        return factored(product, exponent=shift + more + most, scale=scale)

    return Kind(name="LoRA", rank=q, shape=(m, c, *taps), factors=factors)


def _embedding(parts: Parts) -> Kind:
    """[vocabulary, width]: the transposed product."""
    down, up = parts["embedding_down"], parts["embedding_up"]
    if (len(down.shape), len(up.shape)) != (2, 2) or down.shape[0] != up.shape[1]:
        raise _misfit(down.shape, up.shape)

    def factors(scale: float) -> Factored:
        (left, shift), (right, more) = normal(down.read().mT), normal(up.read().mT)
        return factored(Product(left=left, kernel=right), exponent=shift + more, scale=scale)

    shape = (down.shape[1], up.shape[0])
    return Kind(name="LoRA", rank=down.shape[0], shape=shape, factors=factors, table=True)


def _loha(parts: Parts) -> Kind:
    cores = [parts[name] for name in ("hada_t1", "hada_t2") if name in parts]
    pairs = [(parts["hada_w1_a"], parts["hada_w1_b"]), (parts["hada_w2_a"], parts["hada_w2_b"])]
    halves = [_half(a, b, core) for (a, b), core in zip(pairs, cores or (None, None), strict=len(cores) != 1)]
    shapes = [shape for shape, _ in halves]
    if len(cores) == 1 or shapes[0] != shapes[1]:
        raise _misfit(*(each.shape for each in parts.values() if len(each.shape) > 1))

    def factors(scale: float) -> Factored:
        (one, shift), (other, more) = (read() for _, read in halves)
        return factored(hadamard(one, other), exponent=shift + more, scale=scale)

    rank = pairs[0][1].shape[0]
    return Kind(name="LoHa", rank=rank, shape=shapes[0], factors=factors, flat=not cores)


def _half(
    a: StoredTensor, b: StoredTensor, core: StoredTensor | None
) -> tuple[Shape, Callable[[], tuple[Product, int]]]:
    """The shape and the product of two matrices; with a core [r, r, *k] the first is transposed."""
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise _misfit(a.shape, b.shape)
    if core is None:
        if a.shape[1] != b.shape[0]:
            raise _misfit(a.shape, b.shape)
        return (a.shape[0], b.shape[1]), lambda: _plain(a, b)
    if len(core.shape) < 3 or core.shape[:2] != (a.shape[0], b.shape[0]):
        raise _misfit(a.shape, b.shape, core.shape)
    return (a.shape[1], b.shape[1], *core.shape[2:]), lambda: _cored(a, b, core)


def _plain(a: StoredTensor, b: StoredTensor) -> tuple[Product, int]:
    (left, shift), (right, more) = normal(a.read()), normal(b.read())
    return Product(left=left, kernel=right), shift + more


def _cored(a: StoredTensor, b: StoredTensor, core: StoredTensor) -> tuple[Product, int]:
    (left, shift), (right, more), (middle, most) = normal(a.read().mT), normal(b.read()), normal(core.read())
    made = contracted(middle, right)
    return Product(left=left, kernel=made.kernel, error=made.error), shift + more + most


def _lokr(parts: Parts, *, of_peft: bool) -> Kind:
    whole = [f"lokr_w{which}" in parts for which in (1, 2)]
    needed = [
        name
        for which, is_whole in zip((1, 2), whole, strict=True)
        for name in ([f"lokr_w{which}"] if is_whole else [f"lokr_w{which}_a", f"lokr_w{which}_b"])
    ]
    _check(parts, tuple(needed), () if whole[1] else ("lokr_t2",))
    core = parts.get("lokr_t2")
    sides = [_side(parts, 1, None), _side(parts, 2, core)]
    (outer, _), (inner, _) = sides
    if len(outer) != 2 or len(inner) < 2:
        raise _misfit(outer, inner)

    def factors(scale: float) -> Factored:
        (one, shift), (other, more) = (read() for _, read in sides)
        if of_peft and whole[1] and len(inner) == 3:
            swapped = formed(_swapped(one.dense(), other.dense()), factored(one, other).lost)
            return replace(swapped, exponent=swapped.exponent + shift + more, scale=scale)
        return factored(one, other, exponent=shift + more, scale=scale)

    ranks = [parts[name].shape[0] for name in ("lokr_w1_b", "lokr_w2_b") if name in parts]
    shape = (outer[0] * inner[0], outer[1] * inner[1], *inner[2:])
    flat = core is None and not whole[1]
    return Kind(name="LoKr", rank=ranks[-1] if ranks else None, shape=shape, factors=factors, flat=flat)


def _swapped(outer: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    """What `torch.kron` makes of [a, b] and [c, d, k], in PEFT's shape: the second's channels go first."""
    limits.hold(8 * 3 * outer.numel() * inner.numel(), "an update that is formed")
    a, b, (c, d, k) = *outer.shape, inner.shape
    return torch.einsum("ab,cdk->cadbk", outer, inner).reshape(c * a, d * b, k)


def _side(
    parts: Parts, which: int, core: StoredTensor | None
) -> tuple[Shape, Callable[[], tuple[Product, int]]]:
    """One of the two kernels of a Kronecker product."""
    whole = parts.get(f"lokr_w{which}")
    if whole is None:
        return _half(parts[f"lokr_w{which}_a"], parts[f"lokr_w{which}_b"], core)
    return whole.shape, lambda: _whole(whole)


def _whole(tensor: StoredTensor) -> tuple[Product, int]:
    kernel, exponent = normal(tensor.read())
    return Product(kernel=kernel), exponent


def _full(parts: Parts) -> Kind:
    difference = parts["diff"]
    if len(difference.shape) < 2:
        raise MisfitError(MISFIT.format("a difference without rows and columns"))

    def factors(scale: float) -> Factored:
        product, exponent = _whole(difference)
        return factored(product, exponent=exponent, scale=scale)

    return Kind(name="full", rank=None, shape=difference.shape, factors=factors)


_KINDS: tuple[tuple[tuple[str, ...], tuple[str, ...], Callable[[Parts], Kind]], ...] = (
    ((DOWN, UP), (MIDDLE,), _lora),
    (("embedding_down", "embedding_up"), (), _embedding),
    (_HADA, ("hada_t1", "hada_t2"), _loha),
    (("diff",), (), _full),
)
