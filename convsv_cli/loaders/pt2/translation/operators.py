"""The translation of every operator of ATen that has one, by its name without overload."""

from __future__ import annotations

from convsv_cli.loaders.pt2.translation import (
    linear,
    normalization,
    pointwise,
    recurrent,
    reductions,
    views,
)
from convsv_cli.loaders.pt2.translation.writer import table

BUILDS = table(
    linear.BUILDS,
    normalization.BUILDS,
    pointwise.BUILDS,
    recurrent.BUILDS,
    reductions.BUILDS,
    views.BUILDS,
)
