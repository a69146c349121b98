"""The weights of a network's layers, each brought under its cap where it exceeds that, as edits of a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from convsv_cli import limits
from convsv_cli.auditing.guarding import digest, guarded, weight_of
from convsv_cli.clipping.writing import Edit, edits, read
from convsv_cli.limits import LimitError
from convsv_cli.model.home import Home, NoHomeError
from convsv_cli.model.layer import Layer
from convsv_cli.report import AUDITED, Interval, LayerAudit, Settings
from convsv_cli.spectral.clipping import brought_under

COMPUTED = "its values are computed from those that are stored"
Told = Callable[[str], None]
Rows = Mapping[str, tuple[Layer, LayerAudit]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be written.

    Attributes:
        edits: of the file.
        methods: what was done with each layer that is changed, by name.
        reasons: why a layer is not changed although it exceeds its cap, by name.
    """

    edits: list[Edit] = field(default_factory=list)
    methods: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def certified(row: LayerAudit) -> Interval | None:
    """What is proven of the norm of a row; None for nothing."""
    found = row.measurement("certified")
    known = row.status == AUDITED and found is not None and found.enclosure is not None
    return found.enclosure if known and found is not None else None


def planned(
    rows: Rows,
    homes: Mapping[str, Callable[[], Home]],
    caps: Mapping[str, float],
    *,
    method: str,
    settings: Settings,
    told: Told,
) -> Plan:
    """What brings layers under their caps.

    Args:
        rows: the layers as they are, with what is proven of them.
        homes: where the new weights are to be stored, by name.
        caps: of the certified norms, positive, by name.
        method: as of `brought_under`.
        settings: how norms are certified.
        told: called with the name of a layer before it is worked on.
    """
    plan = Plan()
    for name, cap in caps.items():
        layer, row = rows[name]
        norm = certified(row)
        if norm is not None and norm.upper <= cap:
            continue
        told(name)
        found = guarded(
            lambda: _edits(layer, homes[name], cap, method, settings),  # noqa: B023  (called at once)
            lambda why: why,
        )
        if isinstance(found, str):
            plan.reasons[name] = found
        else:
            plan.edits.extend(found)
            plan.methods[name] = method
    return plan


def _edits(
    layer: Layer, home: Callable[[], Home], cap: float, method: str, settings: Settings
) -> list[Edit] | str:
    """What stores a weight under the cap; or why there is none."""
    try:
        known = home()
    except NoHomeError as error:
        return str(error)
    weight, held = weight_of(layer).double(), read(known)
    if held is not None and not _same(held, weight):
        return COMPUTED
    with limits.apart():
        found = brought_under(
            weight,
            layer.geometry,
            cap,
            method=method,
            rounded=known.rounded,
            tolerance=settings.tolerance,
            work_limit=settings.work_limit,
        )
    if not found.norm.upper <= cap:
        raise LimitError("no weight under its limit was found")
    return edits(known, found.weight)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-9, atol=0)


def change(before: Layer, after: Layer, row: LayerAudit) -> float:
    """|W' - W| by |W|, in the Frobenius norm; 0 where the weight is the one that it was."""
    old = weight_of(before)
    if digest(old) == row.weight_sha256:
        return 0.0
    norm = float(torch.linalg.vector_norm(old.double()))
    difference = float(torch.linalg.vector_norm(weight_of(after).double() - old.double()))
    return difference / norm if norm else math.inf
