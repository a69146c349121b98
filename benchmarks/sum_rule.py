"""The bound by one number a tensor, which other routes are compared with, and the product of all norms."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from convsv_cli import load
from convsv_cli.auditing.measure import norms_on_demand
from convsv_cli.auditing.plan import Meter, plan
from convsv_cli.lipschitz.collapse import collapsed
from convsv_cli.lipschitz.composition import compose
from convsv_cli.lipschitz.fold import folded
from convsv_cli.lipschitz.rules import RULES
from convsv_cli.lipschitz.segments import Composed
from convsv_cli.model.layer import Layer
from convsv_cli.report import WORK_LIMIT, Settings
from convsv_cli.spectral.cores import one_thread_each


@dataclass(frozen=True, kw_only=True)
class SumRule:
    """What the norms of a network say by themselves.

    Attributes:
        product: log10 of the product of all layers' norms; no bound where there are skips.
        bound: log10 of the bound by the rules of each node, of the graph as it is or of what folding makes of
            it; infinite for none.
        nodes, layers: how many there are.
        norms_s: seconds for the norms of the layers, and of the kernels that folding makes.
        composition_s: seconds for all else.
    """

    product: float
    bound: float
    nodes: int
    layers: int
    norms_s: float
    composition_s: float


class _Clock:
    """Seconds spent in functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on(self, function: Callable[..., float]) -> Callable[..., float]:
        """The same function, its time counted."""

        def timed(*arguments: object, **options: object) -> float:
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


def sum_rule(path: Path, *, exact: bool = False, work_limit: float = WORK_LIMIT) -> SumRule:
    """Bound the network of a file from its layers' norms, as an audit measures them.

    Args:
        path: of the ONNX file.
        exact: also find the norms with zero padding that `audit --exact` has.
        work_limit: multiplications after which the search for a norm stops.

    Raises:
        ValueError: the file has no graph.
    """
    network, settings, clock = load(path), Settings(exact=exact, work_limit=work_limit), _Clock()
    if network.graph is None:
        raise ValueError(f"{path} has no graph")
    tasks, meter = plan(network, settings), Meter(None, 0)
    norms = norms_on_demand(network, tasks, settings, torch.device("cpu"), meter)
    with one_thread_each():
        of_row = clock.on(norms.of_row)
        layers = [layer.name for layer in network.layers if isinstance(layer, Layer)]
        product = math.fsum(_log(of_row(name)) for name in layers)
        start, before = time.perf_counter(), clock.seconds
        counted = replace(norms, of_row=of_row, of_kernel=clock.on(norms.of_kernel))
        ways = [
            compose(collapsed(graph), RULES, counted)
            for graph in (network.graph, folded(network.graph).graph)
        ]
        seconds = time.perf_counter() - start - (clock.seconds - before)
    return SumRule(
        product=product,
        bound=min(map(_bound, ways)),
        nodes=len(network.graph.main.nodes),
        layers=len(layers),
        norms_s=clock.seconds,
        composition_s=seconds,
    )


def _bound(composed: Composed) -> float:
    return math.fsum(_log(segment.factor) for segment in composed.segments)


def _log(factor: float) -> float:
    return math.log10(factor) if factor else -math.inf
