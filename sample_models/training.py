"""What the trainings of the sample models share: epochs of SGD or Adam, the test, and files of the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cifar10
import click
import onnx
import torch
from onnxscript.optimizer import fold_constants, remove_unused_nodes
from replacing import written
from torch import Tensor, nn

BATCH = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class Schedule:
    """Epochs with a one-cycle learning rate.

    Attributes:
        optimiser: of all parameters.
        peak: learning rate, which is reached after a quarter of the steps.
        epochs: how many there are.
        seed: of the order, the crops and the flips of the images.
        shift: pixels at most by which images are moved along either axis.
    """

    optimiser: torch.optim.Optimizer
    peak: float
    epochs: int
    seed: int
    shift: int = cifar10.PAD


def train(
    schedule: Schedule, images: Tensor, labels: Tensor, loss: Callable[[Tensor, Tensor, float], Tensor]
) -> None:
    """Minimise `loss(images, labels, progress)`, with the share of all steps that is done as `progress`."""
    generator = torch.Generator().manual_seed(schedule.seed)
    optimiser, steps = schedule.optimiser, schedule.epochs * (len(images) // BATCH)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, schedule.peak, steps, pct_start=0.25)
    for epoch in range(schedule.epochs):
        start, losses = time.perf_counter(), []
        for x, y in cifar10.augmented_batches(images, labels, BATCH, generator, schedule.shift):
            value = loss(x.to(memory_format=torch.channels_last), y, rates.last_epoch / steps)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            rates.step()
            losses.append(value.item())
        mean, seconds = sum(losses) / len(losses), time.perf_counter() - start
        click.echo(f"epoch {epoch + 1}/{schedule.epochs}: loss {mean:.4f}, {seconds:.0f} s")


@torch.inference_mode()
def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """Of uint8 images, in evaluation mode: float32 [n, classes]."""
    model.eval()
    return torch.cat([model(x.float() / 255) for x in images.split(500)])


def save(model: nn.Module, folder: Path, name: str) -> None:
    """Write NAME.pt and NAME.onnx, each whole or not at all: what an earlier run left is replaced last."""
    graph = exported(model.eval())
    written(folder / f"{name}.pt", lambda path: torch.save(model.state_dict(), path))
    written(folder / f"{name}.onnx", lambda path: onnx.save(graph, path))


def exported(model: nn.Module) -> onnx.ModelProto:
    """The graph with BatchNorm kept as nodes, so that its kernels are the state dict's."""
    program = torch.onnx.export(
        model,
        (torch.rand(2, 3, 32, 32),),
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        optimize=False,
        verbose=False,
    )
    assert program is not None
    fold_constants(program.model)
    remove_unused_nodes(program.model)
    proto = program.model_proto
    for element in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.input):
        element.ClearField("metadata_props")  # stack traces with paths of this machine
    onnx.checker.check_model(proto, full_check=True)
    return proto
