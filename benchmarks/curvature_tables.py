"""The report on trainings for certificates by curvature, in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from benchmarks.curvature_claims import BOUNDS, claims
from sample_models.smooth import FILTERS, STRIDE

Outcome = dict[str, Any]
PAPER = {
    "MNIST": {
        0.0: (98.68, 87.81, 0.0), 0.005: (97.67, 93.71, 91.47), 0.01: (97.08, 92.92, 91.25),
        0.02: (96.36, 90.98, 89.58), 0.03: (95.54, 89.99, 88.75),
    },
    "CIFAR-10": {
        0.0: (56.22, 14.88, 0.0), 0.005: (56.18, 30.19, 9.37), 0.01: (53.52, 31.82, 17.39),
        0.02: (49.55, 31.80, 25.93), 0.03: (46.56, 31.98, 29.26),
    },
}  # fmt: skip
"""Table 4: standard, empirical robust and certified robust accuracy, percent."""

INTRODUCTION = """\
Table 4 of Singla & Feizi, *Bounding Singular Values of Convolution Layers* (arXiv 1911.10258), at a smaller
scale: networks with one hidden layer are trained by CRT, with gamma times a bound of their curvature. All of
this page is written by `benchmarks/train_curvature.py`."""


DIFFERENCES = """\
Fewer images are trained on: {used}. The digits come from a sample of 10,000; CIFAR-10 is recompressed.

One seed, few epochs, and Adam with a one-cycle learning rate. The paper names neither kernel nor optimiser.

The attack of CRT in training tries {rounds}, with {steps} step each; its authors' 30, with 10.

The norm of the convolution is bounded in training by the least of four unfoldings; in the paper by R alone.

Certificates are for all other classes, with proven bounds of the curvature: by the unfolding R, as the
paper's but for the layer with its stride; by the least of four unfoldings, as in training; by the certified
norm of the layer; and for small images by the largest eigenvalue of a matrix above the Hessian.

The attack takes 200 steps of 0.01 like the paper's, from the image and once more from a random place. It
follows the margin, and may leave the range of pixels, as certificates allow.

Certificates are for exact arithmetic and the weights as they are. They are computed in float64, and what
the attack found in float32 has to succeed in float64. Only where one gradient a class leaves open whether
the radius is above eps is it computed by `curvature_radii`."""
"""Where what was done is not what the authors did."""


def report(outcomes: Sequence[Outcome]) -> str:
    """The page."""
    parts = ["# Training for certificates by curvature", INTRODUCTION, _list(claims(outcomes))]
    for name in dict.fromkeys(each["data"] for each in outcomes):
        runs = [each for each in outcomes if each["data"] == name]
        parts += [f"## {name}", _accuracies(runs), _scale(runs)]
    parts += ["## Differences from the paper", _list(_differences(outcomes))]
    return "\n\n".join(parts) + "\n"


def _accuracies(runs: Sequence[Outcome]) -> str:
    """A row for each gamma: accuracies here and in the paper, what is certified by each bound, seconds."""
    bounds = [bound for bound in BOUNDS if bound in runs[0]]
    head = ["gamma", "standard", "paper", "PGD", "paper", "certified: paper"]
    rows = []
    for run in runs:
        paper = [f"{each:.2f}%" for each in PAPER[run["data"]].get(run["gamma"], ())] or [""] * 3
        known = [f"{run['gamma']:g}", f"{run['standard']:.2%}", paper[0], f"{run['pgd']:.2%}", *paper[1:]]
        seconds = [f"{run[f'{part} seconds']:.0f}" for part in ("train", "attack", "certificate")]
        rows.append([*known, *(f"{run[bound]:.2%}" for bound in bounds), *seconds])
    return _table([*head, *bounds, "training s", "attack s", "certificates s"], rows)


def _scale(runs: Sequence[Outcome]) -> str:
    """What was trained and tested, and on what: as the outcomes have it."""
    one = runs[0]
    machines = sorted(
        {
            "{cpu}, {cores} cores, {threads} thread(s), torch {torch}".format(**each["machine"])
            for each in runs
        }
    )
    return _filled(
        f"The first {one['images']:,} images to train on, in {one['epochs']} epochs of batches of "
        f"{one['batch']}, and the first {one['test images']:,} to test; learning rate up to {one['rate']:g}, "
        f"seed {one['seed']}; "
        f"{FILTERS} filters of {one['kernel']}×{one['kernel']} with stride {STRIDE}, no padding, "
        f"{one['spread']:g} times as large as torch's at the start. The attack and the certificates are for "
        f"eps = {one['epsilon']:g} in the Euclidean norm, for pixels in [0, 1]. "
        f"Seconds are those of the clock on a machine shared with other "
        f"programs: {'; '.join(machines)}."
    )


def _differences(outcomes: Sequence[Outcome]) -> list[str]:
    """With the figures of these runs."""
    of = {each["data"]: each for each in outcomes}
    used = "; ".join(f"{each['images']:,} of {name}" for name, each in of.items())
    rounds = " and ".join(f"{each['rounds']} multipliers for {name}" for name, each in of.items())
    steps = outcomes[0]["steps"]
    return DIFFERENCES.format(used=used, rounds=rounds, steps=steps).split("\n\n")


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(_filled(f"* {each}", indent="  ") for each in sentences)


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 110, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---:"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
