"""The translation of every operator of ATen that has one, by its name without overload."""

from __future__ import annotations

from collections.abc import Mapping

from convsv_cli.loaders.pt2.translation import (
    arithmetic,
    entries,
    linear,
    normalization,
    pointwise,
    pooling,
    recurrent,
    reductions,
    views,
)
from convsv_cli.loaders.pt2.translation.writer import Build


def _table(*families: Mapping[str, Build]) -> Mapping[str, Build]:
    """All of them.

    Raises:
        ValueError: two are for one operator.
    """
    found: dict[str, Build] = {}
    for family in families:
        if twice := found.keys() & family.keys():
            raise ValueError(f"two translations of {sorted(twice)}")
        found.update(family)
    return found


BUILDS = _table(
    arithmetic.BUILDS,
    entries.BUILDS,
    linear.BUILDS,
    normalization.BUILDS,
    pointwise.BUILDS,
    pooling.BUILDS,
    recurrent.BUILDS,
    reductions.BUILDS,
    views.BUILDS,
)
