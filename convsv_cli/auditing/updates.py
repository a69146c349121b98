"""Rows of adapters: the norms of an update by its factors, and what it is beside the base's weight."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import torch

from convsv_cli.auditing.guarding import digest, stored_weight_of, weight_of
from convsv_cli.auditing.plan import AnyLayer, Task
from convsv_cli.limits import LimitError
from convsv_cli.model.factored import Factored, frobenius_size
from convsv_cli.model.kernel import Kernel, reduce_kernel
from convsv_cli.model.layer import Layer
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, round_down, round_up
from convsv_cli.report import ESTIMATE, EXACT, Interval, LayerAudit, Measurement, Update
from convsv_cli.spectral.factored import Frame, Reduced, frobenius_norm, reduced
from convsv_cli.spectral.norms import norms_of

NOT_FINITE = "the base's weight holds NaN or infinity"


@dataclass(frozen=True, kw_only=True, eq=False)
class Held:
    """A layer's weight as it is measured.

    Attributes:
        weight: float64, of the layer's kernel; of an update, of a smaller one.
        digest: of the weight; of an update, of what it is made of: equal ones are equal updates.
        small: what the norms of the smaller kernel say; None where there is no such.
    """

    weight: torch.Tensor
    digest: str
    small: Reduced | None = None

    def said(self, kind: str, found: Measurement) -> Measurement:
        """What a calculator of this kind says of the layer, from what it says of `weight`."""
        if self.small is None:
            return found
        frame = self.small.norm
        enclosure = frame.around(found.enclosure or Interval(lower=found.value, upper=found.value))
        return replace(
            found,
            value=enclosure.lower if kind in (ESTIMATE, EXACT) else enclosure.upper,
            enclosure=enclosure if found.enclosure else None,
            parts=tuple((name, frame.around(Interval(upper=norm)).upper) for name, norm in found.parts),
        )


def held_by(layer: Layer) -> Held:
    """A layer's weight; that of an update holds NaN where a factor is not finite.

    Raises:
        LimitError: there is no memory for it.
    """
    if layer.update is None:
        weight = stored_weight_of(layer)
        return Held(weight=weight, digest=digest(weight))
    factors = layer.update.factors()
    known = all(tensor.isfinite().all() for tensor in factors.factors)
    small = reduced(factors) if known else None
    weight = small.kernel if small else torch.full((layer.geometry.groups, 1), math.nan)
    return Held(weight=weight, digest=_digest(factors), small=small)


def _digest(weight: Factored) -> str:
    said = f"{weight.scale!r} {weight.exponent} {weight.shape} {[len(part.factors) for part in weight.parts]}"
    return hashlib.sha256("\n".join((said, *map(digest, weight.factors))).encode()).hexdigest()


def update_of(layer: AnyLayer) -> Update | None:
    """What is known of an update before anything is measured; None for the row of a weight."""
    said = layer.update
    if said is None:
        return None
    base = said.base.weight if said.base else ""
    return Update(kind=said.kind, rank=said.rank, scale=said.scale, base=base, no_base=said.no_base)


def with_update(row: LayerAudit, task: Task, held: Held, kernel: Kernel) -> LayerAudit:
    """The row of an update, with what its figures do not say.

    Args:
        row: with its measurements.
        task: of the update.
        held: its weight.
        kernel: the same, reduced by its geometry.
    """
    if row.update is None or held.small is None:
        return row
    size, norm = frobenius_norm(held.small), held.small.norm.around(norms_of(kernel).unfolding(()))
    update = replace(row.update, frobenius=size, stable_rank=_stable_rank(size, norm))
    return replace(row, update=_beside(update, row, task))


def _beside(update: Update, row: LayerAudit, task: Task) -> Update:
    """With the norms of the base's weight, and of the sum, where there is one."""
    layer, certified = task.layer, row.measurement("certified")
    base = layer.update.base if isinstance(layer, Layer) and layer.update else None
    if base is None or certified is None or certified.enclosure is None or not isinstance(layer, Layer):
        return update
    try:
        weight = weight_of(base)
        if not weight.isfinite().all():
            return replace(update, no_base=NOT_FINITE)
        merged = _merged(weight, layer, base, task)
        norm = _norm(weight, base, task)
    except LimitError as error:
        return replace(update, no_base=str(error))
    return replace(update, base_norm=norm, share=_share(certified.enclosure, norm), merged=merged)


def _merged(weight: torch.Tensor, layer: Layer, base: Layer, task: Task) -> Interval:
    """The norm of the sum, of which each entry is rounded once, besides what the formed update lacks."""
    whole = weight + weight_of(layer).reshape(weight.shape)
    taps = math.prod(weight.shape[2:])
    off = round_up((UNIT_ROUNDOFF * frobenius_size(whole) + lost_of(layer)) * math.sqrt(taps))
    return Frame(error=off).around(_norm(whole, base, task))


def lost_of(layer: Layer) -> float:
    """A bound of the Frobenius norm of what a layer's weight lacks that is formed of factors; else 0."""
    return layer.update.factors().lost if layer.update else 0.0


def _stable_rank(size: Interval, norm: Interval) -> Interval | None:
    """|D|_F^2 / |D|^2, which is 1 or more; None where the norm may be 0, or is beyond all floats."""
    ratio = _share(size, norm)
    if ratio is None:
        return None
    lower, upper = (max(1.0, end) ** 2 for end in (ratio.lower, ratio.upper))
    return Interval(lower=max(1.0, round_down(lower)), upper=round_up(upper) if upper > 1 else 1.0)


def _share(part: Interval, whole: Interval) -> Interval | None:
    """The quotient of two norms; None where the second may be 0, or one is beyond all floats."""
    if not whole.lower or not math.isfinite(max(part.upper, whole.upper)):
        return None
    return Interval(lower=round_down(part.lower / whole.upper), upper=round_up(part.upper / whole.lower))


def _norm(weight: torch.Tensor, layer: Layer, task: Task) -> Interval:
    """As the certified one of a row."""
    kernel = reduce_kernel(weight, layer.geometry)
    return norms_of(kernel).supremum(tolerance=task.settings.tolerance, limit=task.settings.work_limit)
