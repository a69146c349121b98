"""Honest large models under the default limits: python benchmarks/large.py [--before CHECKOUT] [MODEL ...].

A ResNet-50, a VGG-16, a language model of 400 MB, and a graph of 10,000 nodes, all with random weights, are
audited as users do, each in a process of its own: none may be refused. With `--before`, so does another
checkout of convsv, in turns, and the ratio of processor seconds is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from onnx import helper

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import architectures
from benchmarks.graph_builder import IMAGE, GraphBuilder, save

HERE = Path(__file__).parent.parent
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Of VGG-16: channels and convolutions, before each of its pools (Simonyan & Zisserman, ICLR 2015)."""
HIDDEN, BLOCKS, WORDS = 768, 12, 24_000
RUN = """
import json, re, resource, sys
from convsv_cli.cli import cli
code = cli.main(sys.argv[1:], prog_name="convsv", standalone_mode=False)
own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
seconds = sum(each.ru_utime + each.ru_stime for each in (own, others))
peak = max(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]), others.ru_maxrss)
print(json.dumps([code, seconds, peak]), file=sys.stderr)
"""
"""Prints processor seconds, and the peak of the largest process: its own not from `getrusage`, which says
no less of a process than the peak of who started it."""


def vgg16(path: Path, n: int = 224) -> Path:
    """At random, with its three dense layers.

    Args:
        path: of the file.
        n: height and width of the image.
    """
    graph = GraphBuilder(3, n, n)
    x = IMAGE
    for stage, (channels, count) in enumerate(STAGES, 1):
        for index in range(count):
            x = graph.relu(graph.conv(f"conv{stage}.{index}", x, channels, 3))
        x = graph.max_pool(f"pool{stage}", x, 2)
    x = graph.node("Flatten", "flat", x, channels=STAGES[-1][0] * (n // 2 ** len(STAGES)) ** 2)
    for name, features in (("fc6", 4096), ("fc7", 4096)):
        x = graph.relu(graph.dense(name, x, features))
    return graph.save(path, graph.dense("fc8", x, 1000))


def language_model(path: Path) -> Path:
    """A transformer's tensors by GPT-2's names, without a graph.

    Args:
        path: of the file, a safetensors one.
    """
    from safetensors.numpy import save_file

    draws = np.random.default_rng(0)
    shapes = {"wte.weight": (WORDS, HIDDEN)}
    for block in range(BLOCKS):
        shapes |= {
            f"h.{block}.attn.c_attn.weight": (HIDDEN, 3 * HIDDEN),
            f"h.{block}.attn.c_proj.weight": (HIDDEN, HIDDEN),
            f"h.{block}.mlp.c_fc.weight": (HIDDEN, 4 * HIDDEN),
            f"h.{block}.mlp.c_proj.weight": (4 * HIDDEN, HIDDEN),
        }
    save_file({name: draws.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}, path)
    return path


def long_graph(path: Path, nodes: int = 10_000) -> Path:
    """Convolutions, activations and skips in a row.

    Args:
        path: of the file.
        nodes: how many there are.
    """
    made, x = [], IMAGE
    weight = 0.1 * np.random.default_rng(0).standard_normal((4, 4, 3, 3), dtype=np.float32)
    for index in range(0, nodes, 3):
        made += [
            helper.make_node("Conv", [x, "w"], [f"c{index}"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{index}"], [f"r{index}"]),
            helper.make_node("Add", [x, f"r{index}"], [f"a{index}"]),
        ]
        x = f"a{index}"
    save(path, made, {"w": weight}, [1, 4, 8, 8], x)
    return path


MODELS: dict[str, tuple[str, Callable[[Path], Path], tuple[str, ...]]] = {
    "ResNet-50": ("resnet50.onnx", architectures.resnet50, ("--network-effort", "quick")),
    "VGG-16": ("vgg16.onnx", vgg16, ("--network-effort", "quick")),
    "language model": ("model.safetensors", language_model, ()),
    "10,000 nodes": ("long.onnx", long_graph, ("--network-effort", "quick")),
    "10,000 nodes, searched": ("long.onnx", partial(long_graph, nodes=10_000), ()),
}
"""File, maker and options of each."""


def main() -> int:
    """1 where a model is refused, or not all of it is audited."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="audit with that one too")
    parser.add_argument("--rounds", type=int, default=1, help="of which the fastest counts")
    asked = parser.parse_args()
    print(f"{'model':<24} {'MB':>6} {'exit':>4} {'cpu s':>8} {'peak MB':>8} {'times before':>12}", flush=True)
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.models or MODELS:
            worst = max(worst, report(name, Path(folder), asked.before, asked.rounds))
    return 1 if worst else 0


def report(name: str, folder: Path, before: Path | None, rounds: int) -> int:
    """Print a model's line; what its audit exits with."""
    file, make, options = MODELS[name]
    path = make(folder / file)
    found, old = [], []
    for _ in range(rounds):
        found.append(audited(HERE, path, options))
        if before is not None:
            old.append(audited(before, path, options))
    code, seconds, peak = min(found, key=lambda each: each[1])
    ratio = f"{seconds / min(each[1] for each in old):.3f}" if old else ""
    size = path.stat().st_size / 1e6
    print(f"{name:<24} {size:>6.0f} {code:>4} {seconds:>8.1f} {peak / 1e3:>8.0f} {ratio:>12}", flush=True)
    path.unlink()
    return code


def audited(checkout: Path, path: Path, options: tuple[str, ...]) -> tuple[int, float, float]:
    """Exit code, processor seconds, and the largest memory in kB."""
    command = [sys.executable, "-c", RUN, "audit", str(path), "--quiet", *options]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    process = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    lines = process.stderr.splitlines()
    if process.returncode or not lines:
        print(process.stderr.strip(), file=sys.stderr)
        return 4, float("nan"), float("nan")
    code, seconds, peak = json.loads(lines[-1])
    return code, seconds, peak


if __name__ == "__main__":
    sys.exit(main())
