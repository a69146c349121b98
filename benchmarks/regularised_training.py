"""One ResNet on CIFAR-10 with the paper's regulariser, and what it and its layers are like afterwards."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measuring import machine, progress
from benchmarks.resumable import Clock, Training, kept
from convsv_cli import LipschitzPenalty, PowerState
from convsv_cli.calculators import exact, singla_feizi
from convsv_cli.calculators.calculator import Problem
from convsv_cli.model.kernel import reduce_kernel
from convsv_cli.training.layers import surveyed
from sample_models import cifar10
from sample_models.resnet import ResNet

PEAK_LEARNING_RATE = 0.4
Images = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Run:
    """The settings of one training of a ResNet of depth 6 * blocks + 2, by cross-entropy + beta * penalty."""

    beta: float
    seed: int
    weight_decay: float
    epochs: int
    batch: int
    blocks: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"beta-{self.beta:g}-decay-{self.weight_decay:g}-seed-{self.seed}"


def outcome(run: Run, train: Images, test: Images, work: Path) -> dict[str, Any]:
    """Settings, accuracy, seconds, layers and machine; read from the folder `work` where the run is done."""
    settings = asdict(run) | {"images": len(train[0]), "test images": len(test[0])}

    def compute() -> dict[str, Any]:
        torch.manual_seed(run.seed)
        model = ResNet(run.blocks).to(memory_format=torch.channels_last)
        seconds = fit(model, run, train, settings, work)
        found = {"accuracy": accuracy(model, *test), "seconds": seconds, "layers": layer_norms(model)}
        progress(f"{run.name}: test accuracy {found['accuracy']:.2%} after {seconds:.0f} s")
        return found | {"machine": machine()}

    return settings | kept(work / f"{run.name}.json", settings, compute)


def fit(model: nn.Module, run: Run, train: Images, settings: dict[str, Any], work: Path) -> float:
    """Train, from the last whole epoch on; returns the seconds of all epochs.

    SGD with Nesterov momentum and a one-cycle schedule, as for the sample model.
    """
    penalty, clock, generator = LipschitzPenalty(model), Clock(), torch.Generator().manual_seed(run.seed)
    optimiser = torch.optim.SGD(
        model.parameters(), PEAK_LEARNING_RATE, momentum=0.9, nesterov=True, weight_decay=run.weight_decay
    )
    steps = run.epochs * (len(train[0]) // run.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_LEARNING_RATE, steps, pct_start=0.25)

    def epoch(number: int) -> None:
        start, losses = time.perf_counter(), []
        model.train()
        for x, y in cifar10.augmented_batches(*train, run.batch, generator):
            entropy = cross_entropy(model, x, y)
            losses.append(entropy.item())
            optimiser.zero_grad()
            (entropy + run.beta * penalty() if run.beta else entropy).backward()
            optimiser.step()
            schedule.step()
        clock.seconds += time.perf_counter() - start
        mean = sum(losses) / len(losses)
        progress(
            f"{run.name}: epoch {number + 1}/{run.epochs}, cross-entropy {mean:.4f}, {clock.seconds:.0f} s"
        )

    parts = {
        "model": model,
        "penalty": PowerState(penalty),
        "optimiser": optimiser,
        "schedule": schedule,
        "clock": clock,
    }
    training = Training(
        folder=work, name=run.name, settings=settings, epochs=run.epochs, parts=parts, generator=generator
    )
    training.run(epoch)
    return clock.seconds


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Of logits with convolutions in bfloat16, which takes half the time on processors that have it."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(x.to(memory_format=torch.channels_last))
    return nn.functional.cross_entropy(logits.float(), y)


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images [n, 3, 32, 32] uint8 that are classified rightly, in float32."""
    model.eval()
    batches = zip(images.split(500), labels.split(500), strict=True)
    return sum(int((model(x.float() / 255).argmax(1) == y).sum()) for x, y in batches) / len(images)


def layer_norms(model: nn.Module) -> list[dict[str, Any]]:
    """Of each layer: the bound for every input size, and the exact norm at the layer's own, in float64.

    The bound is the least of the four unfoldings'; the norm is that of the circular convolution (Sedghi).
    """
    sizes, rows = input_sizes(model), []
    for layer in surveyed(model).layers:
        kernel = reduce_kernel(layer.weight.detach().contiguous(), layer.geometry)
        problem = Problem(kernel=kernel, input_size=sizes[layer.name])
        row = {"name": layer.name, "shape": list(layer.weight.shape), "n": list(sizes[layer.name])}
        rows.append(
            row | {"bound": singla_feizi.calculate(problem).value, "exact": exact.calculate(problem).value}
        )
    return rows


@torch.inference_mode()
def input_sizes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The spatial size of what each layer gets for a CIFAR-10 image, by name; () for Linear."""
    sizes: dict[str, tuple[int, ...]] = {}

    def hook(name: str) -> Any:  # noqa: ANN401
        return lambda _, inputs: sizes.update({name: tuple(inputs[0].shape[2:])})

    hooks = [layer.module.register_forward_pre_hook(hook(layer.name)) for layer in surveyed(model).layers]
    model.eval()
    model(torch.zeros(1, 3, 32, 32))
    for each in hooks:
        each.remove()
    return sizes
