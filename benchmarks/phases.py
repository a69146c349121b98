"""Where the time of an audit goes: python benchmarks/phases.py [--shared ../shared] [MODEL ...].

Each model is audited as users do, in a process of its own and on one thread, so that each processor second
belongs to one step: seconds without those of the steps within it. What the child process takes that parses
ONNX is a step of its own, for it runs beside the others. docs/performance.md says what the table shows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

STEPS = (
    "start",
    "imports",
    "child",
    "reading",
    "hashing",
    "unfoldings",
    "supremum",
    "exact",
    "zero padding",
    "folded norms",
    "network",
    "rendering",
    "rest",
)
QUICK = ("--network-effort", "quick")


@dataclass(frozen=True, kw_only=True)
class Model:
    """What is audited, and how.

    Attributes:
        write: writes it to a path.
        options: of the command.
    """

    write: Callable[[Path, Path], object]
    options: tuple[str, ...] = ()


def _sample(path: Path, _: Path) -> None:
    path.write_bytes((ROOT / "sample_models" / "resnet20.onnx").read_bytes())


def _real(path: Path, shared: Path) -> None:
    import onnx

    from benchmarks.graphs import real_resnet18

    onnx.save(real_resnet18(shared), path)


def _random(path: Path, _: Path) -> None:
    from tests.support.resnet18 import export, random_resnet18

    export(random_resnet18(), path)


def _resnet50(path: Path, _: Path) -> None:
    from benchmarks.architectures import resnet50

    resnet50(path)


def _vgg16(path: Path, _: Path) -> None:
    from benchmarks.large import vgg16

    vgg16(path)


EVERY = ("--layers", "*")
"""The layers alone, without the network."""
MODELS = {
    "ResNet-20, sample": Model(write=_sample, options=("--exact", *QUICK)),
    "ResNet-18, real": Model(write=_real, options=("--exact", "--input-size", "224", *EVERY)),
    "ResNet-18, random": Model(write=_random, options=EVERY),
    "ResNet-50, random": Model(write=_resnet50, options=QUICK),
    "VGG-16, random": Model(write=_vgg16, options=EVERY),
}


def audited(model: Path, options: tuple[str, ...]) -> dict[str, float]:
    """Seconds by step, `all`, and `peak` MB of the larger process."""
    command = [sys.executable, str(ROOT / "benchmarks" / "phase_clock.py"), "audit", str(model), "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *options, "-o", str(model.with_suffix(".json"))],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    _, times, peak = json.loads(done.stderr.splitlines()[-1])
    return {**times, "peak": peak}


def main() -> None:
    """A column for each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="of the real models")
    asked = parser.parse_args()
    print(" | ".join(["model", *STEPS, "all", "peak MB"]))
    for name in asked.models or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            MODELS[name].write(path, asked.shared)
            found = audited(path, MODELS[name].options)
        seconds = (f"{found.get(step, 0.0):.2f}" for step in (*STEPS, "all"))
        print(" | ".join([name, *seconds, f"{found['peak']:.0f}"]), flush=True)


if __name__ == "__main__":
    main()
