"""Certified radii of an ordinary small CNN: nothing in its training is about robustness.

    python benchmarks/local_plain.py [--samples N] [--json FILE]

Two convolutions and two linear layers are trained on 8,000 digits of MNIST (SGD, weight decay, no
augmentation) in less than a minute. Printed are medians over the first test digits that are right: the
smallest distance at which projected gradient descent finds another class, and the radii certified by the
bound of the network, by CROWN, and by local bounds in real numbers and in float32.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.local_measuring import Row, finish, one_thread, show, timed  # noqa: E402

if TYPE_CHECKING:
    from torch import Tensor, nn

RESULTS = ("conv1", "relu1", "conv2", "relu2", "features", "fc1", "relu3", "logits")
FILTERS, EPOCHS, BATCH, RATE, DECAY = 16, 20, 64, 0.05, 5e-4
ROUNDS, STEPS, FAR = 10, 100, 8.0
NETWORK, DIGITS = "mnist_plain.onnx", "digits.npz"


def network(filters: int) -> nn.Sequential:
    """Images [batch, 1, 28, 28] in [0, 1] -> logits [batch, 10]: 5x5 filters with stride 2.

    Args:
        filters: of the first convolution; the second has twice as many.
    """
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, filters, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(filters, 2 * filters, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * filters * 7 * 7, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


def trained(images: Tensor, labels: Tensor, filters: int, epochs: int) -> nn.Sequential:
    """By cross-entropy, from seed 0.

    Args:
        images: [n, 1, 28, 28] in [0, 1].
        labels: int64 [n].
        filters: of the first convolution.
        epochs: of the training.
    """
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(0)
    model, steps = network(filters), epochs * -(-len(images) // BATCH)
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(images)), BATCH):
            optimiser.zero_grad()
            cross_entropy(model(images[rows]), labels[rows]).backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def smallest_adversarial(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Distances at which gradient descent, at one radius after the other, finds another class: float64 [n].

    Args:
        model: from x to logits.
        x: [n, 1, 28, 28], of which it gets the classes right.
        y: the classes, int64 [n].
    """
    import torch

    from convsv_cli.certification.attack import margins

    low, high = torch.zeros(len(x)), torch.full((len(x),), FAR)
    found = torch.full((len(x),), torch.inf, dtype=torch.float64)
    for number in range(ROUNDS):
        radius = (high if number == 0 else (low + high) / 2)[:, None, None, None]
        shift, broken = torch.zeros_like(x), torch.zeros(len(x), dtype=torch.bool)
        for step in range(STEPS):
            at = (x + shift).requires_grad_()
            margin = margins(model, at, y)
            wrong, distance = margin < 0, shift.double().flatten(1).norm(dim=1)
            found = torch.where(wrong, torch.minimum(found, distance), found)
            broken |= wrong
            (gradient,) = torch.autograd.grad(margin.sum(), at)
            length = radius * (1 - step / STEPS) / 2
            shift = _inside(shift - length * gradient / _length(gradient), radius)
        high = torch.where(broken, torch.minimum(radius.flatten(), found.float()), high)
        low = torch.where(broken, low, radius.flatten())
    return found


def _inside(shift: Tensor, radius: Tensor) -> Tensor:
    return shift * (radius / _length(shift)).clamp_max(1.0)


def _length(shift: Tensor) -> Tensor:
    return shift.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]


def measured(folder: Path, shared: Path, count: int) -> list[Row]:
    """A row for each way to a radius: the median, its share of what attacks find, and seconds per sample.

    Args:
        folder: where the network and the samples are written.
        shared: where MNIST is.
        count: of samples that are right.
    """
    import torch

    from benchmarks import local_crown
    from convsv_cli import certify

    model, x, y = made(folder, shared, count)
    adversarial, attack_s = timed(lambda: smallest_adversarial(model, x, y))
    path, data, most = folder / NETWORK, folder / DIGITS, float(adversarial.median())
    rows: list[Row] = []

    def add(name: str, radii: Tensor, seconds: float) -> None:
        assert (radii <= adversarial).all(), f"{name}: an attack breaks what is certified"
        middle = float(radii.median())
        share = middle / most
        rows.append({"radius by": name, "median": middle, "of attack": share, "s/sample": seconds / len(x)})
        show(rows[-1], head=len(rows) == 1)

    def certified(**options: str) -> Tensor:
        found = certify(path, data, **options)
        return torch.tensor([sample.radius for sample in found.samples], dtype=torch.float64)

    add("attack", adversarial, attack_s)
    add("margin/bound", *timed(lambda: certified(effort="none", arithmetic="real")))
    problem = local_crown.problem_of(path, data, count)
    add("CROWN-IBP", *timed(lambda: local_crown.radii(problem, most)))
    add("local real", *timed(lambda: certified(arithmetic="real")))
    add("local float32", *timed(lambda: certified(arithmetic="float32")))
    return rows


def made(
    folder: Path, shared: Path, count: int, *, filters: int = FILTERS, epochs: int = EPOCHS
) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A trained network, and digits of the test that it gets right; both are written to a folder.

    Args:
        folder: where to.
        shared: where MNIST is.
        count: of the digits.
        filters, epochs: of `trained`.
    """
    import numpy as np
    import onnx
    import torch

    from sample_models.chains import chain

    with np.load(shared / "data/mnist10k.npz") as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    (x, y), (x_test, y_test) = (
        (arrays[f"x_{part}"].reshape(-1, 1, 28, 28).float() / 255, arrays[f"y_{part}"].long())
        for part in ("train", "test")
    )
    model, seconds = timed(lambda: trained(x, y, filters, epochs))
    with torch.no_grad():
        right = model(x_test).argmax(1) == y_test
    print(f"clean accuracy {right.double().mean():.2%} of {len(right):,} digits; trained in {seconds:.0f} s")
    x, y = x_test[right][:count], y_test[right][:count]
    onnx.save(chain(model, "mnist_plain", (1, 28, 28), RESULTS), folder / NETWORK)
    np.savez(folder / DIGITS, x=x.numpy(), y=y.numpy())
    return model, x, y


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = Path(os.environ.get("CONVSV_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared, help="folder of the data")
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    one_thread()
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(Path(folder), arguments.shared, arguments.samples)
    finish(rows, arguments.json)


if __name__ == "__main__":
    main()
