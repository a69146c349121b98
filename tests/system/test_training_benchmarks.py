"""The training with the paper's regulariser, at toy scale: noise for images, a few steps."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from benchmarks import resumable, train_regularised
from benchmarks.regularised_points import Point, noise, points, verdict
from benchmarks.regularised_training import layer_norms
from sample_models import cifar10
from sample_models.resnet import ResNet
from tests.support import trained

TOY = ("--betas", "0.01,0", "--seeds", "0,1", "--epochs", "2", "--batch", "8", "--blocks", "1")
RUNS, EPOCHS = 4, 2


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive like that of CIFAR-10."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for split, count in (("train", 40), ("test", 20)):
        images = [_jpeg(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(count)]
        arrays[f"{split}_jpeg"] = np.frombuffer(b"".join(images), dtype=np.uint8)
        arrays[f"{split}_offsets"] = np.cumsum([0, *map(len, images)])
        arrays[f"{split}_labels"] = random.integers(0, 10, count)
    np.savez(folder / "cifar10_jpeg.npz", **arrays)
    return folder


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a run without interruption leaves."""
    folder = tmp_path_factory.mktemp("whole")
    result = run(data, folder)
    assert result.exit_code == 0, result.output
    return folder


def run(data: Path, folder: Path, *options: str) -> Result:
    places = ("--data", str(data), "--work", str(folder / "work"), "--out", str(folder / "docs"))
    with torch.random.fork_rng():
        return CliRunner().invoke(train_regularised.main, [*places, *TOY, *options])


def told(folder: Path) -> tuple[str, str, list[dict[str, Any]]]:
    """The report, without what depends on the clock."""
    docs = folder / "docs"
    page, figure = (
        (docs / f"training_regularised.{suffix}").read_text(encoding="utf-8") for suffix in ("md", "svg")
    )
    runs = json.loads((docs / "training_regularised.json").read_text(encoding="utf-8"))["runs"]
    for each in runs:
        assert each.pop("seconds") > 0
        assert each.pop("machine")["threads"] == 1
    return page.partition("## Seconds")[0], figure, runs


def stop_in_epoch(monkeypatch: pytest.MonkeyPatch, stops: int) -> None:
    """Let the n-th epoch from now on stop after two steps, as if by the user."""
    batches, epochs = cifar10.augmented_batches, iter(range(1, 100))

    def stopping(*arguments: Any) -> Iterator[Any]:
        last = next(epochs) == stops
        for number, batch in enumerate(batches(*arguments)):
            if last and number == 2:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(cifar10, "augmented_batches", stopping)


def test_interrupted_runs_end_like_whole_ones(
    data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stop in (2, 4):
        with monkeypatch.context() as patched:
            stop_in_epoch(patched, stop)
            assert run(data, tmp_path).exit_code == 1
    assert run(data, tmp_path).exit_code == 0
    assert told(tmp_path) == told(whole)


def test_what_is_done_is_not_done_again(data: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = told(whole)
    monkeypatch.setattr(cifar10, "augmented_batches", pytest.fail)
    assert run(data, whole).exit_code == 0
    assert told(whole) == before


def test_the_page_has_all_tables(whole: Path) -> None:
    page, figure, runs = told(whole)
    assert [(each["seed"], each["beta"]) for each in runs] == [(0, 0.0), (0, 0.01), (1, 0.0), (1, 0.01)]
    plain, penalised = points(runs)
    shares = " | ".join(f"{share:.2%}" for share in (*plain.accuracies, plain.accuracy))
    for heading, row in (
        ("Table 3", f"| 0 | {shares} | 91.26% |"),
        ("Figure 2", f"| 0.01 | {sum(penalised.bounds):.2f} | {sum(penalised.exacts):.2f} |"),
        ("Table 5", f"| fc | 10×64 |  | {plain.bounds[-1]:.2f} / {plain.exacts[-1]:.2f} |"),
    ):
        section = page.partition(f"## {heading}")[2].partition("##")[0]
        assert row in section
    assert verdict(runs) in " ".join(page.split())
    assert "ResNet-8 " in page
    assert f">{sum(plain.bounds):.1f}</text>" in figure


def test_weight_decay_is_a_column(data: Path, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "work").symlink_to(whole / "work")
    assert run(data, tmp_path, "--decay", "0.01").exit_code == 0
    page, _, runs = told(tmp_path)
    assert "| seed 0, weight decay 0.01 |" in page
    assert [each["weight_decay"] for each in runs] == [0.0] * 4 + [0.01] * 2
    assert verdict(runs[:4]) in " ".join(page.split())


def test_norms_of_layers() -> None:
    torch.manual_seed(0)
    model = ResNet(1)
    rows = {row["name"]: row for row in layer_norms(model)}
    assert {name: row["n"][:1] for name, row in rows.items()} == {
        "conv1": [32], "layer1.0.conv1": [32], "layer1.0.conv2": [32], "layer2.0.conv1": [16],
        "layer2.0.conv2": [16], "layer2.0.skip.0": [16], "layer3.0.conv1": [8], "layer3.0.conv2": [8],
        "layer3.0.skip.0": [8], "fc": [],
    }  # fmt: skip
    for name, row in rows.items():
        layer = model.get_submodule(name)
        weight = layer.weight.detach().double().numpy()
        symbols = np.fft.fft2(weight, row["n"]).transpose(2, 3, 0, 1) if row["n"] else weight
        largest = torch.linalg.svdvals(torch.from_numpy(symbols)).max()
        assert row["exact"] == pytest.approx(largest.item(), rel=1e-9)
        assert row["bound"] == pytest.approx(trained.true_bound(layer), rel=1e-9)


def outcomes(figures: dict[float, list[tuple[float, float, float]]]) -> list[dict[str, Any]]:
    """Of networks of one layer: by beta, (accuracy, bound, exact norm) of each seed."""
    return [
        {"beta": beta, "seed": seed, "accuracy": accuracy, "layers": [{"bound": bound, "exact": exact}]}
        for beta, seeds in figures.items()
        for seed, (accuracy, bound, exact) in enumerate(seeds)
    ]


def test_the_verdict_is_that_of_the_figures() -> None:
    text = verdict(
        outcomes(
            {
                0.0: [(0.8, 9, 6), (0.9, 9, 6)],
                0.5: [(0.8, 6, 5), (0.8, 9, 5)],
                1.0: [(0.1, 6, 4), (0.1, 5, 4)],
            }
        )
    )
    for told in (
        "lowers the sum of bounds holds (9, 7.5, 5.5; it does in 0 of 2 seeds alone)",
        "lowers the sum of exact norms holds (6, 5, 4; it does in 2 of 2 seeds alone)",
        "lowers the gap between the sums holds (3, 2.5, 1.5; it does in 0 of 2 seeds alone)",
        "lowers the ratio of the sums does not hold (1.5, 1.5, 1.375; it does in 0 of 2 seeds alone)",
    ):
        assert told in text
    assert "within noise holds (beta = 0.5: 80.00%; beta = 0: 85.00%; noise 10.00%)" in text
    assert "regulariser does not all hold by means over 2 seed(s)" in text


def test_the_verdict_may_be_good_or_bad_or_open() -> None:
    plain, good, bad = [(0.8, 3, 2)] * 2, [(0.8, 1.2, 1)] * 2, [(0.7, 5, 2)] * 2
    assert "regulariser holds" in verdict(outcomes({0.0: plain, 0.5: good}))
    assert verdict(outcomes({0.0: plain, 0.5: bad})).count("does not hold") == 5
    assert "within noise cannot be told" in verdict(outcomes({0.0: plain[:1], 0.5: good[:1]}))


def test_noise_is_two_standard_errors() -> None:
    one, other = (
        Point(beta=0, accuracies=accuracies, bounds=(), exacts=())
        for accuracies in ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    )
    assert noise(one, other) == pytest.approx(2 * math.sqrt(0.01 / 3))


def test_missing_data_is_one_line(tmp_path: Path) -> None:
    result = run(tmp_path, tmp_path)
    assert result.exit_code == 1
    assert result.output == (
        f"Error: no CIFAR-10 at {tmp_path}/cifar10_jpeg.npz: give the folder of the archives with --data\n"
    )


@pytest.mark.parametrize("betas", ["a", "", "0,-1", "0,nan", "0", "0.1,0.2"])
def test_a_wrong_list_is_refused(betas: str, data: Path, tmp_path: Path) -> None:
    result = run(data, tmp_path, "--betas", betas)
    assert result.exit_code == 2
    assert "Invalid value for" in result.output


@pytest.mark.parametrize("what", ["state", "tables"])
def test_a_full_disk_is_one_line(
    what: str, data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "state":
        save = torch.save
        monkeypatch.setattr(resumable.torch, "save", lambda state, _: save(state, "/dev/full"))
    else:
        (tmp_path / "work").symlink_to(whole / "work")
        monkeypatch.setattr(resumable, "_write", lambda text, _: Path("/dev/full").write_text(text))
    result = run(data, tmp_path)
    assert result.exit_code == 1
    last = result.output.splitlines()[-1]
    assert last.startswith(f"Error: cannot write {tmp_path}")
    assert last.endswith("the same command goes on")


def _jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()
