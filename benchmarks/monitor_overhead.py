"""What a monitor costs: training steps of a ResNet-20 with estimates and without, in turns, in one run.

    python benchmarks/monitor_overhead.py --steps 20 --batch 128

A second table has what a certified copy of its weights costs: the training waits for the copy alone, and the
search takes one core beside it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.measuring import Section, machine, table
from benchmarks.penalty_overhead import batch_of, compared, trainer
from convsv_cli import NormMonitor
from sample_models.resnet import ResNet


def steps_with_estimates(steps: int, batch: int, device: str) -> Section:
    """Steps with and without estimates after each."""
    x, y = batch_of(batch, device)
    trainers = {
        "none": trainer(x, y),
        "estimates": trainer(x, y, after_of=lambda model: NormMonitor(model).step),
    }
    title = f"A training step of ResNet-20, batch {batch}, {device}, {steps} steps of each in turns"
    return Section(title=title, rows=compared(trainers, steps, "monitor"))


def certified_copy(device: str) -> Section:
    """One copy, with nothing else at work; a step of estimates before it takes the warm-up."""
    model: nn.Module = ResNet().to(device)
    monitor = NormMonitor(model, certified_every=2)
    start = time.perf_counter()
    monitor.step()
    first = time.perf_counter() - start
    start, cpu = time.perf_counter(), time.process_time()
    monitor.step()
    copied = time.perf_counter() - start
    monitor.close()
    row = {"warm_up_s": first, "estimates_and_copy_s": copied, "search_cpu_s": time.process_time() - cpu}
    return Section(title="The first step of a monitor, and a certified copy", rows=[row])


@click.command(context_settings={"show_default": True})
@click.option("--steps", default=20, help="of each kind")
@click.option("--batch", default=128)
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu")
@click.option(
    "--json", "output", type=click.Path(path_type=Path), help="also write figures and machine there"
)
def main(steps: int, batch: int, device: str, output: Path | None) -> None:
    """Print the time of a step with and without a monitor, the ratio, and what a certified copy costs."""
    from rich.console import Console

    sections = [steps_with_estimates(steps, batch, device), certified_copy(device)]
    for section in sections:
        Console(width=120).print(table(section))
    if output is not None:
        tables = [{"title": each.title, "rows": each.rows} for each in sections]
        output.write_text(
            json.dumps({"machine": machine(), "tables": tables}, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
