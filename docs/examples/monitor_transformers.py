"""A small GPT-2, trained by the Trainer of transformers, whose layers' norms are in its TensorBoard log.

python docs/examples/monitor_transformers.py runs/gpt2 && tensorboard --logdir runs
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from convsv_cli import transformers_callback


class Tokens(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Random sequences of 16 tokens."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = torch.randint(100, (16,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": tokens, "labels": tokens}


def main(folder: Path, steps: int = 8) -> None:
    """Train on random data, and leave the log and the model in the folder."""
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder / "log"))
    config = GPT2Config(vocab_size=100, n_positions=16, n_embd=32, n_layer=2, n_head=2)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=4,
        logging_steps=2,
        report_to="tensorboard",
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
    )
    trainer = Trainer(model=GPT2LMHeadModel(config), args=arguments, train_dataset=Tokens())
    trainer.add_callback(
        transformers_callback(trainer, every=2, certified_every=4, limit={"*.c_attn": 1.0}, on_limit="warn")
    )
    trainer.train()
    trainer.save_model(str(folder / "model"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
