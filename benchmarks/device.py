"""convsv's norms on a GPU beside those on the CPU: whether they agree, and which is faster.

    python benchmarks/device.py [--device cuda] [--quick] [--threads N]

For each kernel, the exact norm at an input size, the certified one for all sizes and the one with the layer's
own zero padding. Each is an interval that is proven on the device it is found on; one table has the relative
difference of their upper ends, and the times, the best of up to 5 runs. Exit status: 0 if both intervals of
each norm overlap, as they must where both hold it; 1 if not; 2 without such a device.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import Row, Section, machine, progress, table, timed
from benchmarks.sample_kernels import gaussian, orthogonal, perturbed
from convsv_cli import api
from convsv_cli.auditing.plan import resolve_device
from convsv_cli.errors import UsageError

DISJOINT = "NO: DISJOINT"


def cases(*, quick: bool) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
    """Names, kernels [c_out, c_in, h, w], and their input size and stride."""
    yield "8 random", gaussian(8), {"input_size": 8}
    if quick:
        return
    first = np.random.default_rng(0).standard_normal((64, 3, 7, 7)) / 12
    yield "64 of 3, 7x7, stride 2", first, {"input_size": 224, "stride": 2}
    yield "64 random", gaussian(64), {"input_size": 56}
    yield "128 random, stride 2", gaussian(128), {"input_size": 28, "stride": 2}
    yield "256 orthogonal, perturbed", perturbed(orthogonal(256), 1e-2), {"input_size": 14}
    yield "512 random", gaussian(512), {"input_size": 7}


def figures(at: dict[str, Any], taps: int) -> dict[str, dict[str, Any]]:
    """What `spectral_norm` is asked for each of the norms."""
    everywhere = {name: value for name, value in at.items() if name != "input_size"}
    stride = at.get("stride", 1)
    return {
        "exact": at | {"input_size": -(-at["input_size"] // stride) * stride},
        "certified": everywhere,
        "zero-padded": at | {"padding": taps // 2},
    }


def compared(kernel: np.ndarray, asked: dict[str, Any], device: torch.device) -> Row:
    """The norm of a kernel on the CPU and on the device."""
    here, there = torch.from_numpy(kernel), torch.from_numpy(kernel).to(device)
    api.spectral_norm(there, **asked)  # a device's first operation of a kind takes long
    cpu, gpu = (timed(partial(api.spectral_norm, each, **asked)) for each in (here, there))
    one, other = cpu.result, gpu.result
    agree = max(one.lower, other.lower) <= min(one.upper, other.upper)
    return {
        "upper": one.upper,
        "difference": abs(other.upper / one.upper - 1),
        "agree": "yes" if agree else DISJOINT,
        "cpu_s": cpu.seconds,
        "device_s": gpu.seconds,
        "faster_x": cpu.seconds / gpu.seconds,
    }


def section(device: torch.device, *, quick: bool) -> Section:
    """All norms of all kernels."""
    rows: list[Row] = []
    for name, kernel, at in cases(quick=quick):
        progress(name)
        for norm, asked in figures(at, kernel.shape[-1]).items():
            rows.append({"kernel": name, "norm": norm, **compared(kernel, asked, device)})
    return Section(title=f"convsv on {device.type}, beside the CPU", rows=rows)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; the exit status."""
    from rich.console import Console

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="as torch calls it (default: cuda)")
    parser.add_argument("--quick", action="store_true", help="one small kernel")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    asked = parser.parse_args(arguments)
    try:
        device = resolve_device(asked.device)
    except UsageError as error:
        print(f"nothing to compare: {error.what}", file=sys.stderr)
        return 2
    torch.set_num_threads(asked.threads)
    result = section(device, quick=asked.quick)
    console = Console(width=200)
    console.print(", ".join(f"{key} {value}" for key, value in machine().items()), "")
    console.print(table(result))
    return 1 if any(row["agree"] == DISJOINT for row in result.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
