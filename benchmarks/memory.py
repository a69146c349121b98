"""Peak memory of audits of 1 GB models: python benchmarks/memory.py [--scale S] [FORMAT ...].

Each is audited layer by layer in a process of its own, without exact norms and with no search beyond the
first enclosures. What the largest layer needs is measured too: the peak for a model of that layer alone, less
the peak for a model of nearly nothing. The line is 600 MB above that, Python and torch themselves included.
"""

from __future__ import annotations

import argparse
import json
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
AUDIT = """
import re, sys
from convsv_cli.cli import main
try:
    main()
except SystemExit as end:
    if end.code:
        raise
status = open("/proc/self/status").read()
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024)
"""
"""Prints its own peak (Linux): what `wait4` says of a child is no less than the peak of who started it."""
Shapes = dict[str, tuple[int, ...]]


def shapes(scale: float) -> Shapes:
    """1.1 GB of single precision at scale 1, in convolutions, one square matrix, and long ones."""
    few, some, many, most = (max(8, round(size * scale)) for size in (512, 1024, 8192, 65536))
    convolutions = {f"conv{i}.weight": (few, few, 3, 3) for i in range(24)}
    linear = {
        "up.weight": (most, few),
        "long.weight": (some, most),
        "in.weight": (many, some),
        "square.weight": (many, many),
        "out.weight": (few, many),
        "again.weight": (most, few),
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
        arguments = ["audit", str(path), "-o", str(folder / "audit.json"), "--quiet", "--work-limit", "0"]
        command = [sys.executable, "-c", AUDIT, *arguments]
        process = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        audited = json.loads((folder / "audit.json").read_text(encoding="utf-8"))["audits"][0]["summary"][
            "audited"
        ]
        if audited != len(wanted):
            raise SystemExit(f"{path.name}: {audited} layers of {len(wanted)} are audited")
        return int(process.stdout)


def needs(scale: float) -> int:
    """Bytes for the largest layer alone, beyond those for hardly anything; of a checkpoint."""
    whole = shapes(scale)
    largest = max(whole, key=lambda name: (int(np.prod(whole[name])), min(whole[name])))
    return peak(checkpoint, {largest: whole[largest]}) - peak(checkpoint, {"fc.weight": (8, 8)})


def main() -> int:
    """1 where the line does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of channels")
    asked = parser.parse_args()
    whole = shapes(asked.scale)
    weights = sum(4 * int(np.prod(shape)) for shape in whole.values())
    own = needs(asked.scale)
    print(f"{weights / 1e6:.0f} MB of weights; the largest layer needs {own / 1e6:.0f} MB", flush=True)
    held = True
    for name in asked.formats or FORMATS:
        found = peak(FORMATS[name], whole)
        held &= found - own < LINE
        print(
            f"{name:<22} peak {found / 1e6:>6.0f} MB, above that {(found - own) / 1e6:>5.0f} MB", flush=True
        )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
