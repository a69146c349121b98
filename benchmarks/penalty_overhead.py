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
from pathlib import Path

import click
import torch
from torch import Tensor
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


def trainer(method: str, x: Tensor, y: Tensor) -> Callable[[], Times]:
    """One training step of its own ResNet-20."""
    torch.manual_seed(0)
    model = ResNet().to(x.device)
    penalty = None if method == "none" else LipschitzPenalty(model, method)
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
        _wait(x)
        return Times(wall=time.perf_counter() - start, cpu=time.process_time() - cpu)

    return step


def measure(steps: int, batch: int, device: str) -> Section:
    """Rows of the median wall time of a step, and ratios to a step without the penalty.

    A ratio is the median of those of steps that were taken right after each other, for the machine's load
    changes during a run. That of CPU times says more where other programs want the cores too.
    """
    x, y = torch.rand(batch, 3, 32, 32, device=device), torch.randint(10, (batch,), device=device)
    trainers = {method: trainer(method, x, y) for method in METHODS}
    times: dict[str, list[Times]] = {method: [] for method in METHODS}
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
                "penalty": method,
                "step_s": statistics.median(a.wall for a in seen),
                "wall_x": statistics.median(a.wall / b.wall for a, b in pairs),
                "cpu_x": statistics.median(a.cpu / b.cpu for a, b in pairs),
            }
        )
    title = f"A training step of ResNet-20, batch {batch}, {device}, {steps} steps of each in turns"
    return Section(title=title, rows=rows)


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
