"""One Lipschitz rule per ONNX operator type, by family; listed, so that an operator without one is found."""

from __future__ import annotations

from convsv_cli.lipschitz.operation import Rule
from convsv_cli.lipschitz.rules import (
    activation,
    attention,
    distances,
    grids,
    indexing,
    linear,
    losses,
    merge,
    movement,
    normalization,
    pooling,
    radial,
    recurrent,
    reduction,
    resizing,
    shares,
    spectra,
)

FAMILIES = (
    activation.RULES,
    attention.RULES,
    distances.RULES,
    linear.RULES,
    merge.RULES,
    pooling.RULES,
    reduction.RULES,
    movement.RULES,
    indexing.RULES,
    resizing.RULES,
    normalization.RULES,
    radial.RULES,
    losses.RULES,
    recurrent.RULES,
    shares.RULES,
    grids.RULES,
    spectra.RULES,
)


def _merged() -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for family in FAMILIES:
        twice = rules.keys() & family.keys()
        if twice:
            raise ValueError(f"two Lipschitz rules for {sorted(twice)}")
        rules.update(family)
    return rules


RULES = _merged()
