"""The same figures in several audits: over a training run, or of one architecture in several versions."""

from __future__ import annotations

from dataclasses import dataclass

Figures = tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Trend:
    """Certified upper ends, one for each audit; None where an audit has none.

    Attributes:
        names: of the audits.
        layers: the norms of each layer that some audit has, by its plain name, in the order of their first
            appearance.
        network: the bounds of the network.
    """

    names: tuple[str, ...]
    layers: tuple[tuple[str, Figures], ...]
    network: Figures
