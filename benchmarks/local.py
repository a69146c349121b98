"""Certified accuracy of ordinary networks in the Euclidean norm.

    python benchmarks/local.py [--samples N] [--only NAME,..] [--json FILE]

The networks, samples and radii of Table 1 of SDP-CROWN (Chiu et al., ICML 2025), and the sample model at
36/255. Of each, in percent of the first samples: the accuracy; what margins over the bound of the network
certify, and CROWN; what local bounds certify in real numbers and as runtimes execute the network in float32;
and what projected gradient descent leaves.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.local_measuring import Row, finish, one_thread, show, timed  # noqa: E402

MNIST = {"input_mean": (0.1307,), "input_std": (0.3081,)}
CIFAR = {"input_mean": (0.485, 0.456, 0.406), "input_std": (0.225,) * 3}
IMAGES = "cifar10_test.npz"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, its samples and a radius in pixels; no samples for the test images of CIFAR-10."""

    name: str
    samples: str
    radius: float
    normalization: dict[str, tuple[float, ...]]


CASES = (
    Case(name="mnist_mlp", samples="mnist", radius=1.0, normalization=MNIST),
    Case(name="mnist_convsmall", samples="mnist", radius=0.3, normalization=MNIST),
    Case(name="cifar10_cnn_a", samples="cifar10", radius=24 / 255, normalization=CIFAR),
    Case(name="cifar10_cnn_c", samples="cifar10", radius=24 / 255, normalization=CIFAR),
    Case(name="cifar10_cnn", samples="", radius=36 / 255, normalization={}),
)


def files(case: Case, shared: Path, folder: Path) -> tuple[Path, Path]:
    """The network and the samples.

    Args:
        case: which.
        shared: folder of the real models and data.
        folder: where images that have to be decoded go.
    """
    if case.samples:
        place = shared / "models/l2-verification"
        return place / f"{case.name}.onnx", place / f"{case.samples}_samples.npz"
    import numpy as np

    from sample_models import cifar10

    images, labels = cifar10.load(shared / "data/cifar10_jpeg.npz", "test")
    np.savez(folder / IMAGES, x=images.numpy(), y=labels.numpy())
    return ROOT / f"sample_models/{case.name}.onnx", folder / IMAGES


def row(case: Case, model: Path, data: Path, count: int) -> Row:
    """Percentages of all samples, and CPU seconds per sample.

    Args:
        case: which.
        model, data: of `files`.
        count: of samples, the first ones.
    """
    import torch

    from benchmarks import local_crown
    from convsv_cli import certify
    from convsv_cli.report import Certification

    def certified(**options: object) -> Certification:
        return certify(model, data, eps=case.radius, limit=count, **case.normalization, **options)

    def by_crown() -> int:
        mean, std = (case.normalization.get(f"input_{name}", ()) for name in ("mean", "std"))
        problem = local_crown.problem_of(model, data, count, mean, std)
        radius = torch.full((len(problem.x),), case.radius, dtype=torch.float64)
        return int(local_crown.decided(problem, radius).sum())

    cheap = certified(effort="none", arithmetic="real", attack=True)
    real, real_s = timed(lambda: certified(arithmetic="real"))
    executed, executed_s = timed(lambda: certified(arithmetic="float32"))
    crowned, crown_s = timed(by_crown)
    total = len(real.samples)
    shares = {
        "clean": real.correct,
        "margins": cheap.certified(case.radius),
        "CROWN-IBP": crowned,
        "real": real.certified(case.radius),
        "float32": executed.certified(case.radius),
        "PGD": cheap.robust(case.radius) or 0,
    }
    seconds = {"CROWN-IBP": crown_s, "real": real_s, "float32": executed_s}
    head: dict[str, float | int | str] = {"network": case.name, "radius": round(case.radius, 4)}
    found = head | {name: 100 * number / total for name, number in shares.items()}
    return found | {f"{name} s": each / total for name, each in seconds.items()}


def main() -> None:
    """Print a row as soon as it is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = Path(os.environ.get("CONVSV_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared, help="folder of the real models and data")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--only", help="names of networks, with commas between")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    one_thread()
    wanted = arguments.only.split(",") if arguments.only else [case.name for case in CASES]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if case.name in wanted:
                model, data = files(case, arguments.shared, Path(folder))
                rows.append(row(case, model, data, arguments.samples))
                show(rows[-1], head=len(rows) == 1)
    finish(rows, arguments.json)


if __name__ == "__main__":
    main()
