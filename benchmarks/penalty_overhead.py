"""What the regulariser costs: training steps of a ResNet-20 with it and without, in turns, in one run.

    python benchmarks/penalty_overhead.py --steps 20 --batch 128

The paper's code took 54.4 s an epoch with its bound, 49.4 s without, and 156.7 s with FFT clipping.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.measuring import Row, Section, machine, progress, table
from convsv_cli import LipschitzPenalty
from sample_models.resnet import ResNet

METHODS = ("none", "heuristic", "singla-feizi")
BETA = 1e-3


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds of one step: on the clock, and of all cores together."""

    wall: float
    cpu: float


def trainer(
    x: Tensor,
    y: Tensor,
    *,
    penalty_of: Callable[[nn.Module], Callable[[], Tensor]] | None = None,
    after_of: Callable[[nn.Module], Callable[[], object]] | None = None,
) -> Callable[[], Times]:
    """One training step of its own ResNet-20.

    Args:
        x, y: images and classes.
        penalty_of: gives what is added to the loss.
        after_of: gives what is called after the optimiser.
    """
    torch.manual_seed(0)
    model = ResNet().to(x.device)
    penalty = None if penalty_of is None else penalty_of(model)
    after = None if after_of is None else after_of(model)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)

    def step() -> Times:
        _wait(x)
        start, cpu = time.perf_counter(), time.process_time()
        optimiser.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        if penalty is not None:
            loss = loss + BETA * penalty()
        loss.backward()
        optimiser.step()
        if after is not None:
            after()
        _wait(x)
        return Times(wall=time.perf_counter() - start, cpu=time.process_time() - cpu)

    return step


def batch_of(size: int, device: str) -> tuple[Tensor, Tensor]:
    """Random images as those of CIFAR-10, and classes."""
    return torch.rand(size, 3, 32, 32, device=device), torch.randint(10, (size,), device=device)


def measure(steps: int, batch: int, device: str) -> Section:
    """Steps with each penalty."""
    x, y = batch_of(batch, device)
    trainers = {
        method: trainer(
            x,
            y,
            penalty_of=None if method == "none" else partial(LipschitzPenalty, method=method),
        )
        for method in METHODS
    }
    title = f"A training step of ResNet-20, batch {batch}, {device}, {steps} steps of each in turns"
    return Section(title=title, rows=compared(trainers, steps, "penalty"))


def compared(trainers: dict[str, Callable[[], Times]], steps: int, what: str) -> list[Row]:
    """Rows of the median wall time of a step, and ratios to a step of the trainer "none".

    A ratio is the median of those of steps that were taken right after each other, for the machine's load
    changes during a run. That of CPU times says more where other programs want the cores too.
    """
    times: dict[str, list[Times]] = {name: [] for name in trainers}
    for number in range(-2, steps):  # two to warm up
        progress(f"step {number + 1} of {steps}")
        for method, step in trainers.items():
            taken = step()
            if number >= 0:
                times[method].append(taken)
    rows: list[Row] = []
    for method, seen in times.items():
        pairs = list(zip(seen, times["none"], strict=True))
        rows.append(
            {
                what: method,
                "step_s": statistics.median(a.wall for a in seen),
                "wall_x": statistics.median(a.wall / b.wall for a, b in pairs),
                "cpu_x": statistics.median(a.cpu / b.cpu for a, b in pairs),
            }
        )
    return rows


@click.command(context_settings={"show_default": True})
@click.option("--steps", default=20, help="of each kind")
@click.option("--batch", default=128)
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu")
@click.option(
    "--json", "output", type=click.Path(path_type=Path), help="also write figures and machine there"
)
def main(steps: int, batch: int, device: str, output: Path | None) -> None:
    """Print the time of a step with and without the regulariser, and the ratio."""
    from rich.console import Console

    section = measure(steps, batch, device)
    Console(width=120).print(table(section))
    if output is not None:
        document = {"machine": machine(), "title": section.title, "rows": section.rows}
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)


if __name__ == "__main__":
    main()
