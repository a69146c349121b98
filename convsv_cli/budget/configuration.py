"""A budget, as users write it: plain values with the lines that they stand on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from convsv_cli.report import Place


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a certified upper end must not exceed, and where that is written.

    Attributes:
        value: of a baseline, which knows its norms only within intervals, the largest that it may be.
        lower: the least that it may be, likewise; None where `value` is all there is to know.
    """

    value: float
    place: Place
    lower: float | None = None


@dataclass(frozen=True, kw_only=True)
class LayerBudget:
    """The limit of all layers that a glob matches and no glob before it."""

    match: str
    limit: Limit


@dataclass(frozen=True, kw_only=True)
class Ignore:
    """Layers that may exceed their budget, or be unsupported, and why; `expires` is the last such day."""

    match: str
    reason: str
    expires: date | None
    place: Place


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limits of one configuration.

    Attributes:
        path: of its file, as users know it.
        network: on the certified Lipschitz bound of the whole network; None for no limit.
        layer: on the certified norm of each layer that no glob matches; None likewise.
        layers: globs, of which the first match counts.
    """

    path: str
    network: Limit | None = None
    layer: Limit | None = None
    layers: tuple[LayerBudget, ...] = ()
    ignores: tuple[Ignore, ...] = ()

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return bool(self.network or self.layer or self.layers)


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A budget, and what to audit it on; None where the file does not say.

    Attributes:
        models: relative to the current folder.
        as_layer, as_table: globs, as in `Settings`.
    """

    budget: Budget
    models: tuple[Path, ...] = ()
    input_size: tuple[int, ...] | None = None
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    input_range: tuple[float, float] | None = None
    exact: bool | None = None
    device: str | None = None
    tolerance: float | None = None
    as_layer: tuple[str, ...] = ()
    as_table: tuple[str, ...] = ()
