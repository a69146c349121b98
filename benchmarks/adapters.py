"""Norms of adapters against PEFT's own, and their cost: python benchmarks/adapters.py [--drawn N] [--cost].

PEFT, which is no requirement of convsv, makes adapters of drawn configurations for a network of every kind of
layer that it adapts, with drawn factors, and saves them. Each update by `get_delta_weight`, and what `merge`
makes of each weight, is measured by numpy in float64 and held against the row that convsv has of the file.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from convsv_cli import audit
from convsv_cli.report import LayerAudit
from tests.support.adapter_files import circular_norm

if TYPE_CHECKING:
    from peft import PeftConfig

TOLERANCE = 1e-6
"""Relative; of merged weights, which PEFT computes in float32, as much of the larger of both norms."""
CIRCLE = 64
RIGHT = "right"
LINEAR, CONVOLUTIONS, TABLE = ["up", "down", "square"], ["conv", "wide", "point", "line"], ["emb"]


class Network(torch.nn.Module):
    """Every kind of layer that PEFT adapts."""

    def __init__(self) -> None:
        super().__init__()
        self.up = torch.nn.Linear(12, 40)
        self.down = torch.nn.Linear(36, 8, bias=False)
        self.square = torch.nn.Linear(24, 24)
        self.conv = torch.nn.Conv2d(8, 12, 3, padding=1)
        self.wide = torch.nn.Conv2d(6, 16, (1, 5), padding=(0, 2))
        self.point = torch.nn.Conv2d(10, 6, 1)
        self.line = torch.nn.Conv1d(6, 10, 3, padding=1)
        self.emb = torch.nn.Embedding(30, 10)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """PEFT looks for it."""
        return x


def configuration(draw: random.Random) -> PeftConfig:
    """A drawn configuration."""
    import peft

    kind = draw.choice(["lora", "lora", "dora", "loha", "lokr"])
    modules = LINEAR + CONVOLUTIONS
    patterns = {
        "rank_pattern": {"conv": draw.randint(1, 6), "^up": 3},
        "alpha_pattern": {"down": draw.uniform(0.1, 9)},
    }
    both = {"target_modules": modules, "r": draw.randint(1, 8), **(patterns if draw.random() < 0.5 else {})}
    alpha = draw.choice([1, 7, 16, 0.3])
    effective = draw.random() < 0.5
    if kind in ("lora", "dora"):
        return peft.LoraConfig(
            **{**both, "target_modules": [*modules, *TABLE]},
            lora_alpha=alpha,
            use_rslora=draw.random() < 0.5,
            use_dora=kind == "dora",
            modules_to_save=draw.choice([None, ["head"]]),
        )
    if kind == "loha":
        return peft.LoHaConfig(**both, alpha=alpha, use_effective_conv2d=effective)
    return peft.LoKrConfig(
        **both,
        alpha=alpha,
        use_effective_conv2d=effective,
        decompose_both=draw.random() < 0.5,
        decompose_factor=draw.choice([-1, 2, 4]),
    )


def compare(draw: random.Random, folder: Path) -> Counter[str]:
    """How many rows of one adapter are right, and each that is not."""
    import peft

    torch.manual_seed(draw.randrange(2**31))
    base = Network()
    torch.save({name: value.clone() for name, value in base.state_dict().items()}, folder / "base.pt")
    config = configuration(draw)
    model = peft.get_peft_model(base, config)
    dtype = draw.choice([torch.float32, torch.bfloat16])
    for name, value in model.named_parameters():
        if any(word in name for word in ("lora_", "hada_", "lokr_")):
            value.data = (
                (torch.rand_like(value) + 0.5 if "magnitude" in name else torch.randn_like(value))
                .to(dtype)
                .float()
            )
    model.save_pretrained(str(folder / "adapter"))
    rows = {row.name: row for row in audit(folder / "adapter", base=folder / "base.pt").layers}
    alone = {row.name: row for row in audit(folder / "adapter").layers}
    found: Counter[str] = Counter()
    dora = getattr(config, "use_dora", False)
    for name, module in model.base_model.model.named_modules():
        if not hasattr(module, "get_delta_weight"):
            continue
        before = module.get_base_layer().weight.detach().double().numpy()
        update = module.double().get_delta_weight("default").detach().numpy()
        module.merge()
        merged = module.get_base_layer().weight.detach().double().numpy()
        expected = merged - before if dora else update
        word = type(config).__name__ + (" DoRA" if dora else "")
        found[f"{word}: {told(name, judged(rows[name], expected, merged))}"] += 1
        if alone[name].status == "audited" and alone[name].kernel_shape == expected.shape:
            found[f"{word} alone: {told(name, judged(alone[name], expected, None))}"] += 1
    return found


def told(name: str, judgement: str) -> str:
    """A judgement, with the name of what is wrong."""
    return judgement if judgement == RIGHT else f"{name}: {judgement}"


def judged(row: LayerAudit, update: np.ndarray, merged: np.ndarray | None) -> str:
    """What is wrong with a row, or that it is right."""
    certified = row.measurement("certified")
    if certified is None or certified.enclosure is None or row.update is None:
        return f"no figures: {row.reason}"
    faults = []
    wide = TOLERANCE if update.ndim == 2 else 1e-2  # a circle has fewer frequencies than the line
    truth = circular_norm(update, CIRCLE)
    if not truth * (1 - TOLERANCE) <= certified.enclosure.upper <= truth * (1 + wide):
        faults.append(f"|D| {certified.enclosure} for {truth}")
    flat, size = np.linalg.norm(update.reshape(len(update), -1), 2), np.linalg.norm(update)
    heuristic = row.measurement("heuristic")
    if heuristic is None or abs(heuristic.value - flat) > TOLERANCE * flat:
        faults.append(f"unfolding {heuristic} for {flat}")
    if row.update.frobenius is None or abs(row.update.frobenius.upper - size) > TOLERANCE * size:
        faults.append(f"|D|_F {row.update.frobenius} for {size}")
    if merged is not None:
        whole = circular_norm(merged, CIRCLE)
        if row.update.merged is None or not whole * (1 - TOLERANCE) <= row.update.merged.upper <= whole * (
            1 + wide
        ):
            faults.append(f"|W + D| {row.update.merged} for {whole}")
    return "; ".join(faults) or RIGHT


def cost(rank: int = 16, side: int = 8192) -> None:
    """What the norm of a large update takes by its factors, and formed."""
    from convsv_cli.model.factored import Product, factored
    from convsv_cli.spectral.factored import frobenius_norm, reduced
    from convsv_cli.spectral.matrix_norm import matrix_norm

    torch.manual_seed(0)
    left, right = torch.randn(side, rank).double(), torch.randn(rank, side).double()
    start = time.process_time()
    small = reduced(factored(Product(left=left, kernel=right)))
    by_factors = small.norm.around(matrix_norm(small.kernel[None]))
    frobenius_norm(small)
    middle = time.process_time()
    formed = matrix_norm((left @ right)[None])
    end = time.process_time()
    apart = abs(by_factors.upper / formed.upper - 1)
    print(
        f"{side} x {side}, rank {rank}: {middle - start:.3f} CPU s by factors, {end - middle:.1f} s formed;"
        f" {apart:.1e} apart; width {by_factors.upper / by_factors.lower - 1:.1e}"
    )


def main() -> int:
    """1 where a row is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--drawn", type=int, default=60, help="configurations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cost", action="store_true", help="only say what large updates cost")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    if asked.cost:
        cost()
        cost(rank=64, side=4096)
        return 0
    found: Counter[str] = Counter()
    for number in range(asked.drawn):
        with tempfile.TemporaryDirectory() as folder:
            found += compare(random.Random(asked.seed * 10**6 + number), Path(folder))
    for line, count in sorted(found.items()):
        print(f"{count:>6}  {line}")
    return int(any(not line.endswith(RIGHT) for line in found))


if __name__ == "__main__":
    sys.exit(main())
