"""Train the sample model: ResNet-20 on CIFAR-10, then write its state dict and its ONNX graph.

    python sample_models/train_resnet20.py ../shared/data/cifar10_jpeg.npz

About 15 minutes on two CPU cores. Needs torch, onnx, onnxscript, pillow and click.
"""

from __future__ import annotations

import time
from pathlib import Path

import cifar10
import click
import onnx
import torch
from onnxscript.optimizer import fold_constants, remove_unused_nodes
from resnet import ResNet
from torch import Tensor, nn

BATCH = 128
PEAK_LEARNING_RATE = 0.4
WEIGHT_DECAY = 5e-4


def train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int, seed: int) -> None:
    """SGD with Nesterov momentum and a one-cycle schedule, in float32."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=PEAK_LEARNING_RATE, momentum=0.9, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    steps = epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, steps, pct_start=0.25)
    model.train()
    for epoch in range(epochs):
        start, losses = time.perf_counter(), []
        for x, y in cifar10.augmented_batches(images, labels, BATCH, generator):
            loss = nn.functional.cross_entropy(model(x.to(memory_format=torch.channels_last)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        mean, seconds = sum(losses) / len(losses), time.perf_counter() - start
        click.echo(f"epoch {epoch + 1}/{epochs}: loss {mean:.4f}, {seconds:.0f} s")


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of correctly classified images."""
    model.eval()
    hits = [
        (model(x.float() / 255).argmax(1) == y).sum()
        for x, y in zip(images.split(500), labels.split(500), strict=True)
    ]
    return int(sum(hits)) / len(images)


def export(model: nn.Module, path: Path) -> None:
    """Write the graph with BatchNorm kept as nodes, so that its kernels are the state dict's."""
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
    onnx.save(proto, path)


@click.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--epochs", default=15, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", default=Path(__file__).parent, type=click.Path(file_okay=False, path_type=Path))
def main(archive: Path, epochs: int, seed: int, out: Path) -> None:
    """Train on ARCHIVE (cifar10_jpeg.npz) and write resnet20.pt and resnet20.onnx to OUT."""
    torch.manual_seed(seed)
    model = ResNet()
    train(model.to(memory_format=torch.channels_last), *cifar10.load(archive, "train"), epochs, seed)
    model = model.to(memory_format=torch.contiguous_format)
    click.echo(f"test accuracy: {accuracy(model, *cifar10.load(archive, 'test')):.2%}")
    out.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), out / "resnet20.pt")
    export(model, out / "resnet20.onnx")


if __name__ == "__main__":
    main()
