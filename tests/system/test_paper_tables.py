"""The script that sets convsv's figures beside the paper's Tables 6 and 7."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.paper_tables import PAPER
from tests.support import oracles
from tests.support.resnet18 import random_resnet18

SPATIAL = 13  # of the 17 layers, which the shared folder has
PARTS = pytest.param(("conv1", "layer1"), id="parts")
LATER = pytest.param(("layer2", "layer3"), id="later layers", marks=pytest.mark.exhaustive)
"""The last ones take a minute; `benchmarks/paper_tables.py` prints them all."""
Rows = dict[str, list[float]]


def printed(checkpoint: Path, root: Path) -> tuple[Rows, Rows]:
    """The two tables as the script prints them: figures by layer."""
    command = [sys.executable, "benchmarks/paper_tables.py", str(checkpoint)]
    output = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    tables = re.split(r"^Table 7.*$", output, flags=re.MULTILINE)
    lines = (
        [line.split() for line in table.splitlines() if re.search(r" \d+x\d+x", line)] for table in tables
    )
    six, seven = ({layer: list(map(float, figures)) for layer, _, *figures in rows} for rows in lines)
    return six, seven


def assert_printed(figure: float, truth: float) -> None:
    """Equal, to the three decimals that are printed."""
    assert abs(figure - truth) <= 0.0005 + 1e-9


def sedghi(kernel: np.ndarray, n: int) -> float:
    """The largest of the symbols' singular values, by numpy's FFT (half of the frequencies) and SVD."""
    symbols = np.fft.rfft2(kernel, (n, n)).transpose(2, 3, 0, 1)
    return float(np.linalg.svd(symbols, compute_uv=False).max())


@pytest.fixture(scope="module")
def kernels(shared: Path) -> dict[str, np.ndarray]:
    """Kernels of the paper's layers: an ImageNet ResNet-18 with BatchNorm folded in, as far as it goes."""
    folder = shared / "models/resnet18-imagenet-bn-folded"
    files = {row.layer: folder / f"{row.layer}.weight.npy" for row in PAPER}
    return {layer: np.load(path).astype(np.float64) for layer, path in files.items() if path.exists()}


@pytest.mark.parametrize("parts", [PARTS, LATER])
def test_real_kernels_have_the_figures_of_dense_matrices(
    parts: tuple[str, ...], kernels: dict[str, np.ndarray], root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "resnet18.pth"
    chosen = {name: kernel for name, kernel in kernels.items() if name.startswith(parts)}
    torch.save({f"{name}.weight": torch.from_numpy(kernel) for name, kernel in chosen.items()}, path)
    six, seven = printed(path, root)
    assert len(kernels) == SPATIAL
    assert list(six) == list(seven) == list(chosen)
    for row in (row for row in PAPER if row.layer in chosen):
        kernel = kernels[row.layer]
        r, s, t = (
            oracles.spectral_norm(oracles.unfolding(kernel, frozenset(rows))) for rows in ((0,), (1,), ())
        )
        root_hw = np.sqrt(np.prod(kernel.shape[2:]))
        paper_r, our_r, paper_s, our_s = six[row.layer]
        assert (paper_r, paper_s) == (row.r, row.s)
        assert_printed(our_r, root_hw * r)
        assert_printed(our_s, root_hw * s)
        assert seven[row.layer][::2] == [
            row.exact,
            row.heuristic,
            row.bound,
            row.exact_seconds,
            row.bound_seconds,
        ]
        exact, heuristic, bound = seven[row.layer][1:6:2]
        assert_printed(exact, sedghi(kernel, row.n))
        assert_printed(heuristic, t)
        assert_printed(bound, root_hw * min(r, s))


@pytest.mark.parametrize("parts", [PARTS, LATER])
def test_random_kernels_fill_both_tables(parts: tuple[str, ...], root: Path, tmp_path: Path) -> None:
    """Those of these parts of a ResNet-18, or of all of it."""
    path = tmp_path / "resnet18.pth"
    model = random_resnet18()
    rows = [row for row in PAPER if row.layer.startswith(parts)]
    torch.save({name: value for name, value in model.state_dict().items() if name.startswith(parts)}, path)
    six, seven = printed(path, root)
    assert list(six) == list(seven) == [row.layer for row in rows]
    for row in rows:
        weight = model.get_submodule(row.layer).weight
        exact, heuristic, bound = seven[row.layer][1:6:2]
        assert heuristic <= exact <= bound
        assert_printed(heuristic, np.linalg.norm(weight.detach().double().flatten(1).numpy(), 2))


def test_another_network_is_refused(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"conv.weight": torch.ones(2, 2, 3, 3)}, path)
    command = [sys.executable, "benchmarks/paper_tables.py", str(path)]
    process = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert "no layer has one of the names" in process.stderr
