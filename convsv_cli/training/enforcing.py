"""Limits of layers' norms in a training: which layers are above theirs, and what is done about it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import distributed

from convsv_cli.errors import UsageError
from convsv_cli.spectral.limited import proven_factor
from convsv_cli.training.certifying import Search
from convsv_cli.training.layers import TrainedLayer, listed, matching

Action = Literal["warn", "rescale", "stop"]
ACTIONS = ("warn", "rescale", "stop")
UNNAMED = "weight"
"""What the one layer of a model that is that layer is called."""
SPARE = 1e-5
"""An estimate above a limit by no more than that, relative, may be so by rounding."""


class Limits:
    """The limits of some layers.

    Args:
        layers: all that are watched.
        limit: of all of these, or by globs, of which the first that matches counts; None for none.
        action: when one is exceeded.
        search: how long norms are searched for.

    Raises:
        UsageError: a limit is not positive, a glob matches nothing, there is no such action, or a weight that
            is to be rescaled is no plain parameter.
    """

    def __init__(
        self,
        layers: Sequence[TrainedLayer],
        limit: float | Mapping[str, float] | None,
        action: Action,
        search: Search,
    ) -> None:
        if action not in ACTIONS:
            raise UsageError(f"unknown action {action!r}", hint="warn, rescale or stop")
        if limit is None and action != "warn":
            raise UsageError(
                f"on_limit={action!r} without a limit", hint="give limit, a number or one by glob"
            )
        by_glob = limit if isinstance(limit, Mapping) else {} if limit is None else {"*": limit}
        self._limits: dict[str, float] = {}
        for glob, most in reversed(list(by_glob.items())):
            if not 0 < most < float("inf"):
                raise UsageError(f"a limit must be a positive number, not {most}")
            self._limits.update((layer.name, most) for layer in matching(layers, glob))
        self._layers = tuple(layer for layer in layers if layer.name in self._limits)
        self._search, self.action = search, action
        self._warned: set[str] = set()
        if action == "rescale":
            _check_plain(self._layers)

    def above(self, step: int, estimates: Mapping[str, float], certified: Mapping[str, float]) -> set[str]:
        """The layers that are above their limits, with a warning about those that were not before.

        Args:
            step: of the estimates.
            estimates: by layer: from below.
            certified: by layer: from above, maybe of an earlier step.
        """
        found = {}
        for name, most in self._limits.items():
            known = name or UNNAMED
            if name in certified and not certified[name] <= most:
                found[name] = f"{known} (certified only to be at most {certified[name]:.5g}, not {most:g})"
            if name in estimates and not estimates[name] <= most * (1 + SPARE):
                found[name] = f"{known} (estimated at {estimates[name]:.5g}, above {most:g})"
        new = [words for name, words in found.items() if name not in self._warned]
        if new:
            warnings.warn(f"step {step}: norms above their limits: {listed(new)}", stacklevel=4)
        self._warned = set(found)
        return set(found)

    @torch.no_grad()
    def rescale(self, names: set[str] | None = None) -> dict[str, float]:
        """Multiply weights in place, so that the layers are proven to be within their limits.

        Args:
            names: of the layers that may be above; None for all. In processes but the first one, nothing.

        Returns:
            The factors below 1, by layer. A layer whose weights are not finite is left as it is.

        Raises:
            UsageError: a weight is no plain parameter.
        """
        _check_plain(self._layers)
        if not self._layers:
            return {}
        wanted = [layer for layer in self._layers if is_first() and (names is None or layer.name in names)]
        factors = {
            layer.name: proven_factor(
                layer.weight, layer.geometry, self._limits[layer.name], self._search.upper
            )
            for layer in wanted
            if layer.weight.isfinite().all()
        }
        agreed = _agreed([factors.get(layer.name, 1.0) for layer in self._layers], self._layers[0].device)
        changed = [pair for pair in zip(self._layers, agreed, strict=True) if pair[1] < 1]
        for layer, factor in changed:
            layer.weight.mul_(factor)
        return {layer.name: factor for layer, factor in changed}

    def is_over(self, above: set[str]) -> bool:
        """Whether any layer is above its limit, as the first process finds."""
        return bool(self._layers) and _agreed([float(bool(above))], self._layers[0].device)[0] > 0


def is_first() -> bool:
    """Whether this process is the only one of a training, or the first."""
    return not _has_several() or distributed.get_rank() == 0


def _has_several() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _agreed(numbers: list[float], device: torch.device) -> list[float]:
    """Those of the first process."""
    if not _has_several():
        return numbers
    sent = torch.tensor(numbers, dtype=torch.float64, device=device)
    distributed.broadcast(sent, src=0)
    found: list[float] = sent.tolist()
    return found


def _check_plain(layers: Sequence[TrainedLayer]) -> None:
    made = [
        each.name
        for each in layers
        if each.parameter not in dict(each.module.named_parameters(recurse=False))
    ]
    if made:
        raise UsageError(
            f"the weight of {listed(made)} is no plain parameter, and cannot be rescaled in place",
            hint="leave it out by `limit`, or remove what parametrises it",
        )
