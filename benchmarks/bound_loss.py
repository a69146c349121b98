"""What training by a network's bound costs: steps of a ResNet-20 with it and without, in turns, in one run.

    python benchmarks/bound_loss.py --steps 8 --batch 128

A loss that makes a pass every k steps is dear once and free k - 1 times: its figures are means over as many.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.measuring import Row, Section, progress, table
from benchmarks.penalty_overhead import Times
from convsv_cli import NetworkBoundLoss
from sample_models.resnet import ResNet

BETA = 1e-3
KINDS = ((None, 1), (8, 1), (16, 1), (16, 8), (32, 1))
"""Positions along an axis, and calls that share a pass; None for a plain step."""


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """One training step of a ResNet-20 of its own, and the bound that it has reached."""

    step: Callable[[], Times]
    reached: Callable[[], float]


def trainer(torus: int | None, every: int, x: Tensor, y: Tensor) -> Trainer:
    """That of a kind; the loss has made its first call, which looks for multipliers."""
    torch.manual_seed(0)
    model = ResNet()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    bound = None if torus is None else NetworkBoundLoss(model, x[:1], every=every, torus=torus)

    def step() -> Times:
        start, cpu = time.perf_counter(), time.process_time()
        optimiser.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        if bound is not None:
            loss = loss + BETA * bound.log()
        loss.backward()
        optimiser.step()
        return Times(wall=time.perf_counter() - start, cpu=time.process_time() - cpu)

    if bound is not None:
        bound.eval().log()
        bound.train()
    return Trainer(step=step, reached=lambda: math.nan if bound is None else bound.eval().log().item())


def measure(steps: int, batch: int) -> Section:
    """Rows of mean times of a step, and of the ratio of CPU times to plain steps that were taken in turns."""
    x, y = torch.rand(batch, 3, 32, 32), torch.randint(10, (batch,))
    trainers = {kind: trainer(*kind, x, y) for kind in KINDS}
    times: dict[tuple[int | None, int], list[Times]] = {kind: [] for kind in KINDS}
    for each in trainers.values():  # once to warm up
        each.step()
    for number in range(steps):
        progress(f"step {number + 1} of {steps}")
        for kind, each in trainers.items():
            times[kind].append(each.step())
    plain = times[KINDS[0]]
    rows: list[Row] = [
        {
            "torus": "no bound" if torus is None else str(torus),
            "every": every,
            "step_s": statistics.mean(each.wall for each in seen),
            "cpu_s": statistics.mean(each.cpu for each in seen),
            "cpu_x": sum(each.cpu for each in seen) / sum(each.cpu for each in plain),
            "log10": trainers[torus, every].reached() / math.log(10),
        }
        for (torus, every), seen in times.items()
    ]
    title = (
        f"A training step of ResNet-20, batch {batch}, {torch.get_num_threads()} thread(s), {steps} of each"
    )
    return Section(title=title, rows=rows)


@click.command(context_settings={"show_default": True})
@click.option("--steps", default=8, help="of each kind: whole multiples of 8")
@click.option("--batch", default=128)
def main(steps: int, batch: int) -> None:
    """Print the time of a step with and without the network's bound, and the ratio."""
    from rich.console import Console

    Console(width=120).print(table(measure(steps, batch)))


if __name__ == "__main__":
    main()
