"""Sweeps of a tree of checkpoints: complete, resumed after kills, the same again, and on two cores.

    python -m benchmarks.sweep --models 300 --folder /tmp/sweep

The tree has links, copies, broken files and hostile ones among its models. What must hold is checked: each
file has a row, those that cannot be audited have a reason, a run that was killed three times and went on
finds what an uninterrupted one finds, and a second run takes less than 2 % of the first one's processor
time.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from convsv_cli.machine import cores
from tests.support.model_tree import BROKEN, HOSTILE, make, rows

KILLS = 3
SOON, LATE = 0.1, 0.3
"""The share of an uninterrupted run after which one is killed."""
AGAIN = 0.02
"""The most processor time that a second run may take, as a share of the first one's."""
TABLES = ("files", "networks", "layers")


@dataclass(frozen=True, kw_only=True)
class Run:
    """How long one took, on the clock and on all cores."""

    wall: float
    cpu: float


def weights(seed: int) -> dict[str, torch.Tensor]:
    """A small network of realistic layers."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"stem": (64, 3, 7, 7), "body": (64, 64, 3, 3), "head": (10, 64)}
    return {f"{name}.weight": torch.randn(*shape, generator=generator) for name, shape in shapes.items()}


def command(folder: Path, results: str, jobs: int) -> subprocess.Popen[bytes]:
    """A sweep of the tree that has begun."""
    arguments = ["sweep", "tree", "-o", results, "--jobs", str(jobs), "--quiet"]
    return subprocess.Popen([sys.executable, "-m", "convsv_cli", *arguments], cwd=folder)


def swept(folder: Path, results: str, jobs: int) -> Run:
    """A whole sweep."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    code = command(folder, results, jobs).wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code not in {2, 4}:  # some files cannot be read, and reading others would be unsafe
        raise SystemExit(f"convsv sweep ended with {code}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall=time.monotonic() - start, cpu=cpu)


def tables(results: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows, without the time that they took."""
    return {name: rows(results, name) for name in TABLES}


def killed(folder: Path, whole: Run, chance: random.Random) -> Run:
    """A sweep that was killed at random moments, and went on."""
    for _ in range(KILLS):
        process = command(folder, "killed", 2)
        time.sleep(whole.wall * chance.uniform(SOON, LATE))
        process.kill()
        process.wait()
        done = len(list((folder / "killed" / "outcomes").glob("*.outcome")))
        print(f"killed: {done} outcomes so far")
    return swept(folder, "killed", 2)


def check(holds: bool, what: str) -> bool:  # noqa: FBT001
    """Say whether something holds."""
    print(f"{'holds' if holds else 'FAILS'}: {what}")
    return holds


@click.command()
@click.option("--models", default=300, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), required=True, help="A new one.")
@click.option("--seed", default=0, show_default=True, help="Of the moments of the kills.")
def main(models: int, folder: Path, seed: int) -> None:
    """Make a tree of so many models, sweep it in several ways, and say what holds."""
    os.environ.setdefault("CONVSV_CACHE_KEY", "a secret of benchmarks")
    kinds = make(folder / "tree", models, weights)
    two = swept(folder, "whole", 2)
    again = swept(folder, "whole", 2)
    killed(folder, two, random.Random(seed))
    one = swept(folder, "alone", 1)
    found = tables(folder / "whole")
    counts = Counter(row["status"] for row in found["files"])
    unexplained = [row["path"] for row in found["files"] if row["status"] == "failed" and not row["reason"]]

    print(f"\n{'kind':12}files")
    for kind, count in sorted(counts.items()):
        print(f"{kind:12}{count}")
    print(f"\n{'run':12}{'wall':>9}{'processor':>12}")
    for name, run in (("two jobs", two), ("again", again), ("one job", one)):
        print(f"{name:12}{run.wall:8.1f} s{run.cpu:10.2f} s")
    print(f"\n{cores()} cores; efficiency on two: {one.wall / (2 * two.wall):.1%}\n")
    share = again.cpu / two.cpu
    held = [
        check(counts == kinds, f"{sum(kinds.values())} files, each a row"),
        check(not unexplained, f"the {BROKEN} broken and {HOSTILE} hostile ones have reasons"),
        check(tables(folder / "killed") == found, f"killed {KILLS} times and resumed, the same tables"),
        check(tables(folder / "alone") == found, "the same tables with one job"),
        check(share < AGAIN, f"the second run takes {share:.2%} of the first one's processor time"),
    ]
    if not all(held):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
