"""Certified accuracy of ordinary networks in the Euclidean norm.

    python benchmarks/local.py [--samples N] [--only NAME,..] [--json FILE]

The networks, samples and radii of Table 1 of SDP-CROWN (Chiu et al., ICML 2025), and of each: the accuracy,
what margins over the network's bound certify, what is certified in real numbers and as runtimes execute the
network in float32, and what projected gradient descent leaves.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from convsv_cli import certify  # noqa: E402
from convsv_cli.report import Certification  # noqa: E402

MNIST = {"input_mean": (0.1307,), "input_std": (0.3081,)}
CIFAR = {"input_mean": (0.485, 0.456, 0.406), "input_std": (0.225,) * 3}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, its samples and a radius in pixels."""

    name: str
    samples: str
    radius: float
    normalization: dict[str, tuple[float, ...]]


CASES = (
    Case(name="mnist_mlp", samples="mnist", radius=1.0, normalization=MNIST),
    Case(name="mnist_convsmall", samples="mnist", radius=0.3, normalization=MNIST),
    Case(name="cifar10_cnn_a", samples="cifar10", radius=24 / 255, normalization=CIFAR),
    Case(name="cifar10_cnn_c", samples="cifar10", radius=24 / 255, normalization=CIFAR),
)


def row(case: Case, folder: Path, samples: int) -> dict[str, float | str]:
    """Percentages of all samples, and seconds per sample."""

    def certified(**options: object) -> tuple[Certification, float]:
        start = time.perf_counter()
        found = certify(
            folder / f"{case.name}.onnx",
            folder / f"{case.samples}_samples.npz",
            eps=case.radius,
            limit=samples,
            **case.normalization,
            **options,
        )
        return found, time.perf_counter() - start

    real, seconds = certified(arithmetic="real")
    executed, _ = certified(arithmetic="float32", attack=True)
    total = len(real.samples)
    (level,) = executed.levels
    by_margin = sum(s.correct and s.route != "local" and s.radius > case.radius for s in real.samples)
    return {
        "network": case.name,
        "radius": round(case.radius, 4),
        "clean": 100 * real.correct / total,
        "margins": 100 * by_margin / total,
        "real": 100 * real.certified(case.radius) / total,
        "float32": 100 * level.certified / total,
        "PGD": 100 * (level.robust or 0) / total,
        "s/sample": seconds / total,
    }


def main() -> None:
    """Print a row as soon as it is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = Path(os.environ.get("CONVSV_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared, help="folder of the real models")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--only", help="names of networks, with commas between")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else [case.name for case in CASES]
    rows = []
    for case in CASES:
        if case.name not in wanted:
            continue
        rows.append(row(case, arguments.shared / "models/l2-verification", arguments.samples))
        if len(rows) == 1:
            print("  ".join(f"{name:>15}" for name in rows[0]))
        values = rows[-1].values()
        shown = (f"{each:>15.4g}" if isinstance(each, float) else f"{each:>15}" for each in values)
        print("  ".join(shown), flush=True)
    print(f"at most {getrusage(RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
