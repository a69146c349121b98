"""A plain training loop whose layers' norms are in its TensorBoard log.

    python docs/examples/monitor_plain.py runs/plain && tensorboard --logdir runs

The limit holds a layer's norm at 2: with the penalty, which pulls at all layers, few steps need it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from convsv_cli import CsvLog, LipschitzPenalty, NormMonitor, TensorBoardLog


def network() -> nn.Sequential:
    """A small classifier of 3x8x8 images."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


def main(folder: Path, steps: int = 30) -> None:
    """Train on random data, and leave the log and a checkpoint in the folder."""
    torch.manual_seed(0)
    model = network()
    penalty, optimiser = LipschitzPenalty(model), torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with SummaryWriter(str(folder)) as writer:
        monitor = NormMonitor(
            model,
            certified_every=10,
            limit={"0": 2.0},
            on_limit="rescale",
            log=[TensorBoardLog(writer), CsvLog(folder / "norms.csv")],
        )
        with monitor:
            for step in range(1, steps + 1):
                images, labels = torch.rand(16, 3, 8, 8), torch.randint(10, (16,))
                loss = nn.functional.cross_entropy(model(images), labels) + 1e-3 * penalty()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                monitor.step()
                writer.add_scalar("loss", loss.item(), step)
    torch.save(model.state_dict(), folder / "model.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
