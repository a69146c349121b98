"""One network of Table 4: its training, its certificates, and an attack that they have to stand."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

from benchmarks.curvature_certificates import beyond, curvatures
from benchmarks.measuring import machine, progress
from benchmarks.resumable import Clock, Training, kept
from convsv_cli.certification.attack import margins, pgd
from sample_models.smooth import Fit, Recipe

Images = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """Images as they are trained on and tested: uint8 [n, c, h, w], and labels int64 [n]."""

    name: str
    train: Images
    test: Images


def outcome(recipe: Recipe, data: Data, work: Path) -> dict[str, Any]:
    """Settings, accuracies, seconds and machine; read from the folder `work` where the run is done."""
    name = f"{data.name}-gamma-{recipe.gamma:g}-seed-{recipe.seed}"
    images = {"images": len(data.train[0]), "test images": len(data.test[0])}
    settings = {"data": data.name} | asdict(recipe) | images

    def compute() -> dict[str, Any]:
        fit, clock = Fit(recipe, *data.train), Clock()

        def epoch(number: int) -> None:
            start = time.perf_counter()
            loss = fit.epoch()
            clock.seconds += time.perf_counter() - start
            progress(f"{name}: epoch {number + 1}/{recipe.epochs}, loss {loss:.4f}, {clock.seconds:.0f} s")

        Training(
            folder=work,
            name=name,
            settings=settings,
            epochs=recipe.epochs,
            parts={**fit.parts, "clock": clock},
            generator=fit.generator,
        ).run(epoch)
        found = judged(fit.model, data, recipe)
        progress("{name}: {standard:.2%}, {pgd:.2%}, {by norm:.2%}".format(name=name, **found))
        return {"train seconds": clock.seconds} | found | {"machine": machine()}

    return settings | kept(work / f"{name}.json", settings, compute)


def judged(model: nn.Module, data: Data, recipe: Recipe) -> dict[str, Any]:
    """Shares of the test images that are right, withstand the attack, and are certified; for the float64 net.

    Raises:
        click.ClickException: a certified image is broken.
    """
    images, y = data.test
    x, start = images.float() / 255, time.perf_counter()
    generator = torch.Generator().manual_seed(recipe.seed)
    moved = pgd(model, x, y, radius=recipe.epsilon, generator=generator, steps=200, step=0.01)
    middle, exact = time.perf_counter(), model.double().eval()
    with torch.no_grad():
        right, withstands = (margins(exact, each.double(), y) > 0 for each in (x, moved))
    shares, claimed = {"standard": right, "pgd": right & withstands}, right
    for name, bounds in curvatures(exact, x.shape[1:]).items():
        found = beyond(exact, x[claimed], bounds, recipe.epsilon)
        claimed = shares[name] = claimed.masked_scatter(claimed, found)
        refuted = int((claimed & ~withstands).sum())
        if refuted:
            raise click.ClickException(
                f"{data.name}, gamma {recipe.gamma:g}: the attack breaks {refuted} of {int(claimed.sum())} "
                f"images that are certified at {recipe.epsilon:g}"
            )
    return {name: float(share.double().mean()) for name, share in shares.items()} | {
        "attack seconds": middle - start,
        "certificate seconds": time.perf_counter() - middle,
    }
