"""The report on trainings with the paper's regulariser, in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from benchmarks.regularised_points import Outcome, points, verdict

PAPER = {
    0.0: 91.26, 0.0008: 91.61, 0.0009: 91.77, 0.001: 91.70, 0.0011: 91.67, 0.0012: 91.35, 0.0013: 91.51,
    0.0014: 92.18, 0.0015: 91.69, 0.0016: 92.02, 0.0017: 91.50, 0.0018: 91.58, 0.0019: 92.00, 0.002: 91.34,
}  # fmt: skip
"""Table 3, without weight decay: percent."""

INTRODUCTION = """\
Tables 3 and 5 and figure 2 of Singla & Feizi, *Bounding Singular Values of Convolution Layers* (arXiv
1911.10258), at a smaller scale: cross-entropy + beta times the sum of all layers' bounds is minimised. All of
this page is written by `benchmarks/train_regularised.py`."""

NOISE = """\
Noise is two standard errors of the difference of two mean accuracies, from the variances over seeds; the best
beta is picked by the test images themselves. The paper shows the two sums, and says that the gap between them
closes; their ratio is stricter."""


def report(outcomes: Sequence[Outcome]) -> str:
    """The page."""
    plain = [outcome for outcome in outcomes if not outcome["weight_decay"]]
    parts = [
        "# Training with the bound as a regulariser",
        INTRODUCTION,
        textwrap.fill(f"**{verdict(plain)}**", 110, break_on_hyphens=False),
        NOISE,
        _scale(outcomes),
        "## Table 3: test accuracy",
        _accuracies(outcomes, plain),
        "## Figure 2: sums over all layers, means over seeds",
        "![Sums of bounds and of exact norms](training_regularised.svg)",
        _sums(plain),
        "## Table 5: bound / exact norm of each layer, means over seeds",
        _layers(plain),
        "## Seconds of training",
        _table(*_by_seed(outcomes, lambda outcome: f"{outcome['seconds']:.0f}")),
    ]
    return "\n\n".join(parts) + "\n"


def _scale(outcomes: Sequence[Outcome]) -> str:
    """What was trained, how, and on what: as the outcomes have it."""
    one = outcomes[0]
    machines = sorted(
        {
            "{cpu}, {cores} cores, {threads} thread(s), torch {torch}".format(**each["machine"])
            for each in outcomes
        }
    )
    seeds = ", ".join(map(str, sorted({outcome["seed"] for outcome in outcomes})))
    return f"""\
* Networks: ResNet-{6 * one["blocks"] + 2} with average pooling between the stages in place of strides (the
  paper: ResNet-32), from the same seeds for each beta: {seeds}.
* Data: {one["images"]:,} images of CIFAR-10, recompressed as JPEG, in {one["epochs"]} epochs of batches of
  {one["batch"]}, with random crops and flips; accuracy is that on {one["test images"]:,} test images.
* Training: SGD with Nesterov momentum and a one-cycle learning rate; convolutions in bfloat16 by autocast,
  weights and penalty in float32. So short a training ends below the paper's accuracies.
* Norms, in float64: the bound is the least of four unfoldings', in training too (the paper: R alone); the
  exact norm is that of the circular convolution at the layer's own input size (Sedghi et al.).
* BatchNorm follows each convolution and undoes its scale, so smaller norms of kernels do not of themselves
  make a network less sensitive.
* Machine, shared with other programs: {"; ".join(machines)}."""


def _accuracies(outcomes: Sequence[Outcome], plain: Sequence[Outcome]) -> str:
    head, rows = _by_seed(outcomes, lambda outcome: f"{outcome['accuracy']:.2%}")
    for row, point in zip(rows, points(plain), strict=True):
        row += [f"{point.accuracy:.2%}", f"{PAPER[point.beta]:.2f}%" if point.beta in PAPER else ""]
    return _table([*head, "mean without weight decay", "paper's, without weight decay"], rows)


def _by_seed(
    outcomes: Sequence[Outcome], text: Callable[[Outcome], str]
) -> tuple[list[str], list[list[str]]]:
    """The head, and a row for each beta with a column for each seed, of which some have weight decay."""
    kinds = sorted({(outcome["weight_decay"], outcome["seed"]) for outcome in outcomes})
    cells = {(each["beta"], each["weight_decay"], each["seed"]): text(each) for each in outcomes}
    head = [f"seed {seed}" + (f", weight decay {decay:g}" if decay else "") for decay, seed in kinds]
    betas = sorted({outcome["beta"] for outcome in outcomes})
    return ["beta", *head], [[f"{beta:g}", *(cells[(beta, *kind)] for kind in kinds)] for beta in betas]


def _sums(plain: Sequence[Outcome]) -> str:
    rows = []
    for point in points(plain):
        bound, exact = sum(point.bounds), sum(point.exacts)
        rows.append(
            [f"{point.beta:g}", f"{bound:.2f}", f"{exact:.2f}", f"{point.gap:.2f}", f"{point.ratio:.3f}"]
        )
    return _table(["beta", "sum of bounds", "sum of exact norms", "gap", "ratio"], rows)


def _layers(plain: Sequence[Outcome]) -> str:
    columns = points(plain)
    rows = []
    for index, layer in enumerate(plain[0]["layers"]):
        figures = (f"{point.bounds[index]:.2f} / {point.exacts[index]:.2f}" for point in columns)
        shape, size = ("×".join(map(str, layer[key])) for key in ("shape", "n"))
        rows.append([layer["name"], shape, size, *figures])
    return _table(["layer", "shape", "input", *(f"beta {point.beta:g}" for point in columns)], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown; all columns but the first to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
