"""Peak memory of audits of 1 GB models: python benchmarks/memory.py [--scale S] [FORMAT ...].

Each is audited layer by layer in a process of its own, without exact norms and with no search beyond the
first enclosures. What the largest layer needs is measured too: the peak for a model of that layer alone, less
the peak for a model of nearly nothing. The line is 600 MB above that, Python and torch themselves included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper
from safetensors.torch import save_file

ROOT = Path(__file__).parent.parent
LINE = 600e6
Shapes = dict[str, tuple[int, ...]]


def shapes(scale: float) -> Shapes:
    """1.1 GB of single precision at scale 1; the numbers of channels shrink with the scale."""
    few, many, most = (max(8, round(size * scale)) for size in (512, 4096, 8192))
    convolutions = {f"conv{i}.weight": (few, few, 3, 3) for i in range(24)}
    linear = {
        "in.weight": (most, few),
        "big1.weight": (most, most),
        "big2.weight": (most, most),
        "down.weight": (many, most),
        **{f"fc{i}.weight": (many, many) for i in range(3)},
    }
    return convolutions | linear


def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random weights, the same for the same name."""
    random = np.random.default_rng(sum(map(ord, name)))
    fan_in = int(np.prod(shape[1:]))
    return random.standard_normal(shape, np.float32) / np.float32(fan_in**0.5)


def state(wanted: Shapes) -> dict[str, torch.Tensor]:
    """As a checkpoint has it."""
    return {name: torch.from_numpy(values(name, shape)) for name, shape in wanted.items()}


def checkpoint(wanted: Shapes, folder: Path) -> Path:
    """A zip archive, as torch.save makes it."""
    torch.save(state(wanted), folder / "model.pt")
    return folder / "model.pt"


def legacy(wanted: Shapes, folder: Path) -> Path:
    """A file of PyTorch before 1.6."""
    torch.save(state(wanted), folder / "model.pth", _use_new_zipfile_serialization=False)
    return folder / "model.pth"


def safetensors(wanted: Shapes, folder: Path) -> Path:
    """One file."""
    save_file(state(wanted), folder / "model.safetensors")
    return folder / "model.safetensors"


def sharded(wanted: Shapes, folder: Path) -> Path:
    """A file for each third of the tensors, and their index."""
    names = list(wanted)
    homes = {name: f"model-{index % 3}.safetensors" for index, name in enumerate(names)}
    for file in set(homes.values()):
        save_file(state({name: wanted[name] for name in names if homes[name] == file}), folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": homes}), encoding="utf-8")
    return index


def external(wanted: Shapes, folder: Path) -> Path:
    """ONNX with its weights in a file beside it."""
    model = graph(wanted)
    with (folder / "model.data").open("wb") as file:
        for tensor in model.graph.initializer:
            entries = {"location": "model.data", "offset": str(file.tell())}
            file.write(values(tensor.name, tuple(tensor.dims)).tobytes())
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=value)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def graph(wanted: Shapes) -> ModelProto:
    """The layers one after the other, with activations between, and no values yet."""
    nodes, last = [], "x"
    for name, shape in wanted.items():
        if len(shape) == 2 and last.startswith("conv"):
            nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"]))
            nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
            last = "flat"
        own = name.removesuffix(".weight")
        pads = {"pads": [1] * 4} if len(shape) == 4 else {"transB": 1}
        nodes.append(helper.make_node("Conv" if len(shape) == 4 else "Gemm", [last, name], [own], **pads))
        nodes.append(helper.make_node("Relu", [own], [f"{own}.relu"]))
        last = f"{own}.relu"
    first = next(iter(wanted.values()))
    size = [1, first[1], 14, 14] if len(first) == 4 else [1, first[1]]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, size)],
            [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
            [TensorProto(name=n, dims=shape, data_type=TensorProto.FLOAT) for n, shape in wanted.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


FORMATS: Mapping[str, Callable[[Shapes, Path], Path]] = {
    "onnx, external data": external,
    "checkpoint": checkpoint,
    "legacy checkpoint": legacy,
    "safetensors": safetensors,
    "sharded safetensors": sharded,
}


def peak(make: Callable[[Shapes, Path], Path], wanted: Shapes) -> int:
    """Bytes at the peak of an audit's resident memory, the file's mapped pages included."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = make(wanted, folder)
        command = [sys.executable, "-m", "convsv_cli", "audit", str(path), "-o", str(folder / "audit.json")]
        process = subprocess.Popen([*command, "--quiet", "--work-limit", "0"], cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        audited = json.loads((folder / "audit.json").read_text(encoding="utf-8"))["summary"]["audited"]
        if process.returncode or audited != len(wanted):
            raise SystemExit(f"{path.name}: exit code {process.returncode}, {audited} layers")
        return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(make: Callable[[Shapes, Path], Path], scale: float) -> dict[str, int]:
    """Peaks for the whole model, its largest layer, and hardly anything."""
    whole = shapes(scale)
    largest = max(whole, key=lambda name: int(np.prod(whole[name])))
    return {
        "weights": sum(4 * int(np.prod(shape)) for shape in whole.values()),
        "whole": peak(make, whole),
        "largest": peak(make, {largest: whole[largest]}),
        "nothing": peak(make, {"fc.weight": (8, 8)}),
    }


def main() -> int:
    """1 where the line does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of channels")
    asked = parser.parse_args()
    held = True
    print(f"{'MB':<22} weights    peak  largest layer needs   above that")
    for name in asked.formats or FORMATS:
        found = measure(FORMATS[name], asked.scale)
        needs = found["largest"] - found["nothing"]
        above = found["whole"] - needs
        held &= above < LINE
        numbers = f"{found['weights'] / 1e6:>7.0f} {found['whole'] / 1e6:>7.0f} {needs / 1e6:>20.0f}"
        print(
            f"{name:<22} {numbers} {above / 1e6:>12.0f}  (nothing: {found['nothing'] / 1e6:.0f})", flush=True
        )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
