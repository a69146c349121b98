"""The script that sets convsv's figures beside the paper's Tables 6 and 7."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import paper_tables
from benchmarks.paper_tables import PAPER
from tests.support import oracles

SPATIAL = 13  # of the 17 layers, which the shared folder has
PARTS = pytest.param(("conv1", "layer1"), id="parts")
LATER = pytest.param(("layer2",), id="later layers", marks=pytest.mark.exhaustive)
"""The last ones take a minute; `benchmarks/paper_tables.py` prints them all."""
WIDTH = 80
Rows = dict[str, list[float]]


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Rows]:
    """The tables as the script prints them: figures by layer, by the title."""
    paper_tables.main([str(each) for each in arguments])
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= WIDTH
    return tables(output, r"^(Table .*)$", r"^(\S+) +\d+x\d+x\S+ +(.*)$")


def tables(text: str, title: str, row: str) -> dict[str, Rows]:
    _, *parts = re.split(title, text, flags=re.MULTILINE)
    return {
        name: {
            layer: [float(figure) for figure in re.findall(r"[\d.]+", figures)]
            for layer, figures in re.findall(row, part, re.MULTILINE)
        }
        for name, part in zip(parts[::2], parts[1::2], strict=True)
    }


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
    parts: tuple[str, ...], kernels: dict[str, np.ndarray], root: Path, tmp_path: Path, capsys
) -> None:
    """In the tables, and on the page of the documentation."""
    chosen = {name: kernel for name, kernel in kernels.items() if name.startswith(parts)}
    for name, kernel in chosen.items():
        np.save(tmp_path / f"{name}.weight.npy", kernel.astype("float32"))
    shown = printed(capsys, tmp_path, "--alone")
    page = tables(
        (root / "docs/paper.md").read_text(), r"^## (Table .*)$", r"^\| (\w\S+) \| \d+x\S+ \| (.*) \|$"
    )
    first, _, six, seven, seconds = shown.values()
    assert len(kernels) == SPATIAL
    assert list(six) == list(seven) == list(seconds) == list(chosen)
    assert first == {layer: seven[layer] for layer in list(kernels)[:6] if layer in chosen}
    for title, rows in shown.items():
        for layer, figures in rows.items():
            assert page[title][layer] == figures or "seconds" in title
    for row in (row for row in PAPER if row.layer in chosen):
        kernel = kernels[row.layer]
        r, s, t = (
            oracles.spectral_norm(oracles.unfolding(kernel, frozenset(rows))) for rows in ((0,), (1,), ())
        )
        root_hw = np.sqrt(np.prod(kernel.shape[2:]))
        for figure, truth in zip(six[row.layer], (root_hw * r, root_hw * s), strict=True):
            assert_printed(figure, truth)
        truths = (sedghi(kernel, row.n), t, root_hw * min(r, s))
        for figure, truth in zip(seven[row.layer], truths, strict=True):
            assert_printed(figure, truth)


def test_the_paper_stands_beside_its_own_network(
    kernels: dict[str, np.ndarray], tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the network of a paper that found, to three digits, what is true of this one."""
    name = "layer1.0.conv1"
    np.save(tmp_path / f"{name}.weight.npy", kernels[name].astype("float32"))
    (found,) = paper_tables.measure(tmp_path)
    fields = ("r", "s", "exact", "heuristic", "bound")
    paper = {field: float(f"{getattr(found, field):.3g}") for field in fields}
    row = dataclasses.replace(PAPER[1], **paper)
    monkeypatch.setattr(paper_tables, "PAPER", (PAPER[0], row))
    first, seconds, six, seven, _ = printed(capsys, tmp_path).values()
    assert seven[name][::2] == first[name][::2] == [row.exact, row.heuristic, row.bound]
    assert six[name][::2] == [row.r, row.s]
    assert seconds[name][::2] == [75.481, 0.004, 0.007]
    monkeypatch.setattr(paper_tables, "PAPER", (PAPER[0], dataclasses.replace(row, s=1.02 * row.s)))
    with pytest.raises(SystemExit, match=rf"^error: \S+: not the paper's network: s of {name} is [^\n]*$"):
        paper_tables.main([str(tmp_path)])


def test_the_tables_are_those_of_the_paper(shared: Path) -> None:
    """Figures of its first table and the length of the others; all lines fit, whatever is filled in."""
    text = (shared / "paper/bounding-singular-values.txt").read_text(encoding="utf-8")
    for row, seconds in zip(PAPER[:6], paper_tables.HEURISTIC_SECONDS, strict=True):
        figures = (row.exact, row.heuristic, row.bound, row.exact_seconds, seconds, row.bound_seconds)
        assert "\t".join(f"{figure:.3f}" for figure in figures) in text
    fields = [dataclasses.asdict(row) for row in PAPER]
    found = [
        paper_tables.Found(shape="512x512x3x3", heuristic_seconds=0.1, **each)
        for each in fields
        if each.pop("n")
    ]
    for table in paper_tables.TABLES:
        for line in paper_tables.text(table, found, alone=False).splitlines():
            assert len(line) <= WIDTH


@pytest.mark.parametrize("text", [None, b"no model"])
def test_what_is_no_network_of_the_paper_is_one_line(text: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"conv.weight": torch.ones(2, 2, 3, 3)}, path) if text is None else path.write_bytes(text)
    with pytest.raises(SystemExit, match=r"^error: \S+other.pth: [^\n]+$"):
        paper_tables.main([str(path), "--alone"])
