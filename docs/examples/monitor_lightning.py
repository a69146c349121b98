"""A Lightning training whose layers' norms are in its TensorBoard log.

python docs/examples/monitor_lightning.py runs/lightning && tensorboard --logdir runs
"""

from __future__ import annotations

import sys
from pathlib import Path

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from convsv_cli import lightning_callback


class Classifier(lightning.LightningModule):
    """A small classifier of 3x8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU())
        self.head = nn.Linear(64, 10)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        """The loss of a batch."""
        images, labels = batch
        return nn.functional.cross_entropy(self.head(self.features(images).flatten(1)), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain gradient descent."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main(folder: Path, steps: int = 12) -> None:
    """Train on random data, and leave the log and checkpoints in the folder."""
    lightning.seed_everything(0)
    data = TensorDataset(torch.rand(64, 3, 8, 8), torch.randint(10, (64,)))
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=steps,
        accumulate_grad_batches=2,
        logger=TensorBoardLogger(folder, name="", version="log"),
        callbacks=[lightning_callback(every=2, certified_every=6, limit=1.5, on_limit="rescale")],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(), DataLoader(data, batch_size=8))
    trainer.save_checkpoint(folder / "model.ckpt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
