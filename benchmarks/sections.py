"""What `benchmarks/spectral.py` measures, one function a section."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable

import numpy as np
import torch

from benchmarks import peers
from benchmarks.audits import audits
from benchmarks.measuring import Row, Section, Timed, progress, timed
from benchmarks.plan import Plan
from benchmarks.sample_kernels import SIZES, gaussian, orthogonal, perturbed, real
from convsv_cli import spectral_norm
from convsv_cli.report import Interval

Array = np.ndarray
SAMPLED_FREQUENCIES = 1000
_SAMPLED = "extrapolated: from a sample of the n^2 SVDs, which finds no value."


def real_kernels(plan: Plan) -> Section:
    """ResNet-18's spatial kernels at the sizes that they meet."""
    cases = [(layer, real(plan.shared, layer), SIZES[layer]) for layer in plan.layers]
    return Section(
        title="real: spatial kernels of an ImageNet ResNet-18, stride 1, circular, exact at n",
        rows=_with_total([_beside_sedghi(*case, plan) for case in cases]),
        notes=[
            "faster: Sedghi's time by ours. difference: of the farther end of ours from Sedghi's, relative."
        ],
    )


def large_images(plan: Plan) -> Section:
    """Layer1's kernels at n = 224."""
    cases = [(layer, real(plan.shared, layer), 224) for layer in plan.large_layers]
    return Section(
        title="large: layer1's kernels at n = 224",
        rows=_with_total([_beside_sedghi(*case, plan) for case in cases]),
        notes=[_SAMPLED],
    )


def random_kernel(plan: Plan) -> Section:
    """One random kernel, every method."""
    kernel, n = gaussian(plan.random_channels), plan.random_n
    truth = timed(lambda: peers.sedghi(kernel, n))
    methods: list[tuple[str, str, Callable[[], float]]] = [
        ("torch SVDs, half of the frequencies", "exact", lambda: peers.half_plane(kernel, n)),
        ("Gram iteration, 6 squarings, complex128", "upper", lambda: peers.gram_iteration(kernel, n, 6)),
        (
            "Gram iteration, 6 squarings, complex64",
            "upper*",
            lambda: peers.gram_iteration(kernel, n, 6, torch.float32),
        ),
        ("four unfoldings, SVD", "upper", lambda: peers.four_unfoldings(kernel)),
        ("power iteration on R and S", "estimate", lambda: peers.power_iteration(kernel)),
    ]
    measured = [(name, proves, timed(call)) for name, proves, call in methods]
    ours = _exact(kernel, n)
    rows = [
        ("Sedghi, numpy n^2 SVDs", "exact", truth),
        *measured,
        ("convsv at n", "certified", _upper(ours)),
        *(
            (f"convsv, every n, to {tolerance:g}", "certified", _upper(_everywhere(kernel, tolerance)))
            for tolerance in (1e-2, 1e-3, 1e-4, 1e-6)
        ),
    ]
    return Section(
        title=f"random: {_shape(kernel)} at n = {n}",
        rows=[
            {
                "method": name,
                "proves": proves,
                "value": run.result,
                "by_true": run.result / truth.result,
                "time_s": run.seconds,
                "by_ours_x": run.seconds / ours.seconds,
            }
            for name, proves, run in rows
        ],
        notes=[
            "by true: value / Sedghi's; for every n the supremum over all sizes may be above it.",
            "by ours: time / that of convsv at n. *: but for rounding, which complex64 may not hide.",
        ],
    )


def growth(plan: Plan) -> Section:
    """The same kernel at growing sizes, ours in a process each."""
    kernel = gaussian(plan.random_channels)
    rows: list[Row] = []
    for n in plan.growth_sizes:
        progress(f"n = {n}")
        ours = _own_process(plan.random_channels, n)
        theirs, sampled = _sedghi(kernel, n, plan)
        rows.append(
            {
                "n": n,
                "ours": ours["value"],
                "ours_s": ours["seconds"],
                "peak_growth_MB": ours["bytes"] / 1e6,
                "sedghi": None if sampled else theirs.result,
                "sedghi_s": theirs.seconds,
                "timed": _timed_how(sampled),
                "faster_x": theirs.seconds / ours["seconds"],
            }
        )
    return Section(
        title=f"growth: {_shape(kernel)}, exact at n",
        rows=rows,
        notes=[
            "peak growth: of resident memory, torch's included, in the first run; a process for each n.",
            _SAMPLED,
        ],
    )


def channels(plan: Plan) -> Section:
    """Random kernels of growing width."""
    return Section(
        title="channels: random c x c x 3 x 3, exact at n",
        rows=[_beside_sedghi(f"{c} channels", gaussian(c), n, plan) for c, n in plan.channels],
    )


def flat(plan: Plan) -> Section:
    """Kernels with nothing to prune."""
    smooth = orthogonal(plan.flat_channels)
    worst = gaussian(plan.worst_channels)
    cases = [
        ("orthogonal", smooth, 1e-6),
        ("orthogonal, perturbed by 1e-3", perturbed(smooth, 1e-3), 1e-4),
        ("random", worst, 1e-3),
    ]
    rows = [_certified(*case) for case in cases]
    exact = _beside_sedghi("random", worst, 7, plan)
    rows.append(
        {
            "kernel": "random, exact at n = 7",
            "shape": exact["shape"],
            "tolerance": None,
            "lower": exact["lower"],
            "upper": exact["upper"],
            "width": exact["difference"],
            "seen": exact["sedghi"],
            "ours_s": exact["ours_s"],
            "sedghi_s": exact["sedghi_s"],
            "faster_x": exact["faster_x"],
        }
    )
    return Section(
        title="flat: symbols with nothing to prune, certified for every n",
        rows=rows,
        notes=[
            "seen: the largest singular value at n = 4 (last row: at n = 7, width the difference from it)."
        ],
    )


SECTIONS: dict[str, Callable[[Plan], Section]] = {
    "real": real_kernels,
    "large": large_images,
    "random": random_kernel,
    "growth": growth,
    "channels": channels,
    "flat": flat,
    "audit": audits,
}


def _exact(kernel: Array, n: int) -> Timed[Interval]:
    """Ours; each call makes a kernel of its own, so that nothing is remembered between runs."""
    weight = torch.from_numpy(kernel)
    return timed(lambda: spectral_norm(weight, input_size=n))


def _everywhere(kernel: Array, tolerance: float) -> Timed[Interval]:
    """The supremum, however much work the tolerance takes."""
    weight = torch.from_numpy(kernel)
    return timed(lambda: spectral_norm(weight, tolerance=tolerance, work_limit=math.inf))


def _upper(run: Timed[Interval]) -> Timed[float]:
    return Timed(result=run.result.upper, seconds=run.seconds)


def _sedghi(kernel: Array, n: int, plan: Plan) -> tuple[Timed[float], bool]:
    """The peer, and whether its time was extrapolated from some of its SVDs."""
    c_out, c_in = kernel.shape[:2]
    if n**2 * c_out * c_in * min(c_out, c_in) <= plan.measured_work:
        return timed(lambda: peers.sedghi(kernel, n)), False
    rows = np.linspace(0, n, max(1, SAMPLED_FREQUENCIES // n), endpoint=False).astype(int).tolist()
    sample = timed(lambda: peers.sedghi(kernel, n, rows))
    return Timed(result=sample.result, seconds=sample.seconds * n / len(rows)), True


def _timed_how(sampled: object) -> str:
    return "extrapolated" if sampled else "measured"


def _beside_sedghi(name: str, kernel: Array, n: int, plan: Plan) -> Row:
    progress(f"{name}, n = {n}")
    ours = _exact(kernel, n)
    theirs, sampled = _sedghi(kernel, n, plan)
    lower, upper = ours.result.lower, ours.result.upper
    return {
        "kernel": name,
        "shape": _shape(kernel),
        "n": n,
        "sedghi": None if sampled else theirs.result,
        "lower": lower,
        "upper": upper,
        "difference": None
        if sampled
        else max(abs(theirs.result - lower), abs(upper - theirs.result)) / theirs.result,
        "sedghi_s": theirs.seconds,
        "timed": _timed_how(sampled),
        "ours_s": ours.seconds,
        "faster_x": theirs.seconds / ours.seconds,
    }


def _with_total(rows: list[Row]) -> list[Row]:
    """The rows, and one of their total times and greatest difference."""
    theirs, ours = _total(rows, "sedghi_s"), _total(rows, "ours_s")
    differences = [row["difference"] for row in rows if isinstance(row["difference"], float)]
    sampled = any(row["timed"] == _timed_how(sampled=True) for row in rows)
    total: Row = dict.fromkeys(rows[0])
    total |= {
        "kernel": "total",
        "difference": max(differences, default=None),
        "sedghi_s": theirs,
        "timed": _timed_how(sampled),
        "ours_s": ours,
        "faster_x": theirs / ours,
    }
    return [*rows, total]


def _total(rows: Iterable[Row], key: str) -> float:
    return sum(float(row[key] or 0) for row in rows)


def _certified(name: str, kernel: Array, tolerance: float) -> Row:
    progress(f"{name}, every n, to {tolerance:g}")
    ours = _everywhere(kernel, tolerance)
    lower, upper = ours.result.lower, ours.result.upper
    return {
        "kernel": name,
        "shape": _shape(kernel),
        "tolerance": tolerance,
        "lower": lower,
        "upper": upper,
        "width": upper / lower - 1,
        "seen": peers.half_plane(kernel, 4),
        "ours_s": ours.seconds,
        "sedghi_s": None,
        "faster_x": None,
    }


def _own_process(width: int, n: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.growth", str(width), str(n)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _shape(kernel: Array) -> str:
    return "x".join(map(str, kernel.shape))
