"""`convsv spectrum`: all singular values, against dense matrices and through the command line."""

from __future__ import annotations

import csv
import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from convsv_cli import audit, load
from convsv_cli.auditing.spectra import AUDIT_BINS, layer_spectra
from convsv_cli.errors import UsageError
from convsv_cli.model.kernel import Kernel, reduce_kernel
from convsv_cli.model.layer import Geometry
from convsv_cli.renderers.html.page import render
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import Distribution, Report, Settings
from convsv_cli.spectral import spectrum as streamed
from convsv_cli.spectral.norms import norms_of
from convsv_cli.spectral.spectrum import ACCURACY, Tally, count_values, singular_values
from tests.support import oracles
from tests.support.command_line import COMMAND_LINE, convsv, convsv_anew
from tests.support.geometry import Case, cases

ROUNDING = 10 * ACCURACY


def reduced(case: Case) -> Kernel:
    return reduce_kernel(torch.from_numpy(case.weight), case.geometry)


def values_of(kernel: Kernel, size: tuple[int, ...]) -> np.ndarray:
    """All of them, descending."""
    blocks = list(singular_values(kernel, size))
    repeated = [block.values.repeat_interleave(block.multiplicity, dim=0).flatten() for block in blocks]
    assert [len(values) for values in repeated] == [block.count for block in blocks]
    return torch.cat(repeated).sort(descending=True).values.numpy()


def error(case: Case) -> float:
    """Relative to the sum of the taps' norms: they may meet on a small circle, and cancel."""
    taps = case.weight.reshape(*case.weight.shape[:2], -1)
    return ROUNDING * float(np.linalg.norm(taps, axis=(0, 1)).sum())


def distribution(kernel: Kernel, size: tuple[int, ...], bins: int = 7) -> Distribution:
    tally = Tally(upper=norms_of(kernel).on_grid(kernel.grid(size)).upper, bins=bins)
    for block in singular_values(kernel, size):
        tally.add(block)
    return tally.distribution()


@settings(max_examples=300)
@given(case=cases())
def test_the_multiset_is_that_of_the_dense_matrix(case: Case) -> None:
    dense = oracles.singular_values(case.circular())
    kernel = reduced(case)
    values = values_of(kernel, case.input_size)
    assert len(values) == count_values(kernel, case.input_size) == len(dense)
    assert np.abs(values - dense).max() <= error(case)


@settings(max_examples=100)
@given(case=cases())
def test_the_largest_lies_in_the_certified_interval(case: Case) -> None:
    kernel = reduced(case)
    interval = norms_of(kernel).on_grid(kernel.grid(case.input_size))
    largest = values_of(kernel, case.input_size)[0]
    slack = error(case) + 1e-12 * interval.upper
    assert interval.lower - slack <= largest <= interval.upper + slack


@settings(max_examples=100)
@given(case=cases())
def test_the_figures_are_those_of_the_dense_matrix(case: Case) -> None:
    dense = oracles.singular_values(case.circular())
    found = distribution(reduced(case), case.input_size)
    slack = error(case)
    assert found.count == sum(found.histogram) == len(dense)
    assert found.largest == pytest.approx(dense[0], abs=slack)
    assert found.smallest == pytest.approx(dense[-1], abs=slack)
    assert found.nuclear == pytest.approx(dense.sum(), abs=slack * len(dense))
    scale = dense[0] or 1.0
    assert found.frobenius / scale == pytest.approx(
        np.linalg.norm(dense / scale), abs=slack / scale * len(dense)
    )
    assert found.rms == pytest.approx(found.frobenius / math.sqrt(len(dense)))
    if dense[0]:
        assert found.stable_rank == pytest.approx((found.frobenius / found.largest) ** 2)
        assert found.vanishing == 0 or found.condition == math.inf


@settings(max_examples=100)
@given(case=cases())
def test_squares_add_up_to_the_frobenius_norm_of_the_layer(case: Case) -> None:
    """Every tap occurs once for each place of the coarse lattice, where no two meet."""
    if case.taps_meet():
        return
    kernel = reduced(case)
    values = values_of(kernel, case.input_size)
    places = math.prod(kernel.coarse_size(case.input_size))
    expected = math.sqrt(places) * np.linalg.norm(case.weight)
    assert np.linalg.norm(values) == pytest.approx(expected, rel=1e-12)


def test_small_singular_values_are_accurate() -> None:
    """A Gram matrix would lose whatever is below 1e-8."""
    left, right = (np.linalg.qr(np.random.default_rng(seed).standard_normal((4, 4)))[0] for seed in (0, 1))
    exact = np.array([1.0, 1e-4, 1e-9, 1e-12])
    weight = np.zeros((4, 4, 3))
    weight[..., 1] = left * exact @ right
    kernel = reduce_kernel(torch.from_numpy(weight), Geometry(stride=(1,), dilation=(1,)))
    values = values_of(kernel, (8,)).reshape(4, 8)
    assert np.abs(values - exact[:, None]).max() < 1e-15


def test_memory_does_not_grow_with_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "BLOCK_BYTES", 2**16)
    kernel = reduce_kernel(torch.randn(2, 3, 3, 3), Geometry(stride=(1, 1), dilation=(1, 1)))
    for n in (64, 128):
        blocks = list(singular_values(kernel, (n, n)))
        assert max(block.values.numel() for block in blocks) <= 2 * 2**16 // (16 * 9)
        assert sum(block.count for block in blocks) == 2 * n * n


def test_histogram_of_known_values() -> None:
    weight = torch.diag(torch.tensor([4.0, 2.5, 1.5, 1.5, 0.0], dtype=torch.float64))
    found = distribution(reduce_kernel(weight, Geometry()), (), bins=4)
    assert found.histogram == (1, 2, 1, 1)
    assert found.vanishing == 1
    assert (found.largest, found.smallest, found.nuclear) == pytest.approx((4, 0, 9.5), abs=1e-12)


@pytest.mark.parametrize("scale", [1e-310, 1e300])
def test_no_square_over_or_underflows(scale: float) -> None:
    weight = scale * torch.ones(2, 2, 1, dtype=torch.float64)
    found = distribution(reduce_kernel(weight, Geometry(stride=(1,), dilation=(1,))), (4,))
    assert found.largest == pytest.approx(2 * scale, rel=1e-9)
    assert found.frobenius == pytest.approx(4 * scale, rel=1e-9)


def test_a_stride_that_does_not_divide_is_for_the_next_multiple(tmp_path: Path) -> None:
    network = load(_checkpoint(tmp_path), input_size=8)
    (layer,) = [layer for layer in network.layers if layer.name == "conv"]
    kernel = reduce_kernel(layer.read(), Geometry(stride=(3, 3), dilation=(1, 1)))
    assert count_values(kernel, (8, 8)) == count_values(kernel, (9, 9)) == 9 * 4


@pytest.fixture(scope="module")
def sample(root: Path) -> Path:
    return root / "sample_models" / "resnet20.onnx"


def _checkpoint(folder: Path) -> Path:
    path = folder / "model.pt"
    torch.manual_seed(0)
    torch.save({"conv.weight": torch.randn(4, 3, 3, 3), "fc.weight": torch.randn(2, 4)}, path)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return _checkpoint(tmp_path)


def test_the_sample_model_prints_a_histogram_a_layer(sample: Path) -> None:
    process = convsv("spectrum", sample, "--layer", "layer3.*", "--layer", "fc", "--bins", "5")
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.count("singular values") == 8
    assert "fc · Gemm 10×64\n  10 singular values, from 0.003400 to 4.100" in process.stdout
    first = process.stdout.split("\n\n")[1].splitlines()
    assert first[0] == "layer3.0.conv1 · Conv 64×32×3×3 · n 8"
    assert first[1].startswith("  2,048 singular values, from ")
    assert " to 5.778; condition number " in first[1]
    bars = [line.split() for line in first[3:]]
    assert len(bars) == 5
    assert sum(int(bar[3].replace(",", "")) for bar in bars) == 2048
    assert max(map(len, process.stdout.splitlines())) <= 100


def test_both_files_hold_all_values(sample: Path, tmp_path: Path) -> None:
    npz, table = tmp_path / "values.npz", tmp_path / "values.csv"
    process = convsv("spectrum", sample, "--layer", "layer3.0.*", "-o", npz, "-o", table)
    assert process.returncode == 0, process.stderr
    rows = list(csv.DictReader(table.read_text().splitlines()))
    with np.load(npz) as arrays:
        assert list(arrays) == ["layer3.0.conv1", "layer3.0.conv2", "layer3.0.skip.0"]
        for name, array in arrays.items():
            own = [row for row in rows if row["layer"] == name]
            values = [float(row["singular_value"]) for row in own]
            times = [int(row["multiplicity"]) for row in own]
            assert array.dtype == np.float64
            assert (np.diff(array) <= 0).all()
            assert np.array_equal(np.sort(np.repeat(values, times))[::-1], array)
            layer = next(layer for layer in load(sample).layers if layer.name == name)
            weight = layer.read().double()
            assert np.square(array).sum() == pytest.approx(64 * float(weight.square().sum()), rel=1e-12)


def test_equal_runs_give_equal_files(checkpoint: Path, tmp_path: Path) -> None:
    """Also where sets have other orders."""
    for name, seed in (("a.npz", "1"), ("b.npz", "2")):
        arguments = ("spectrum", checkpoint, "--input-size", "5", "-o", tmp_path / name)
        assert convsv_anew(*arguments, PYTHONHASHSEED=seed).returncode == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_names_are_harmless_in_every_output(tmp_path: Path) -> None:
    path, npz, table = tmp_path / "hostile.pt", tmp_path / "v.npz", tmp_path / "v.csv"
    names = ["\x1b[31mred", "=cmd()|x", "a\u202eb", "line\nbreak", "../../up", "__/../up", "__/__/up"]
    torch.save({f"{name}.weight": torch.ones(2, 2) for name in names}, path)
    process = convsv("spectrum", path, "-o", npz, "-o", table)
    assert process.returncode == 0, process.stderr
    for text in (process.stdout, table.read_text()):
        assert "\x1b" not in text
        assert "\u202e" not in text
    with np.load(npz) as arrays:
        assert len(set(arrays)) == len(names)
        assert not any(".." in name or not name.isprintable() for name in arrays)
    assert "'=cmd()|x" in {row["layer"] for row in csv.DictReader(table.read_text().splitlines())}


def test_layers_without_a_spectrum_say_why_and_exit_with_3(tmp_path: Path) -> None:
    path, npz = tmp_path / "broken.pt", tmp_path / "v.npz"
    weights = {"a": torch.full((2, 2, 3, 3), torch.nan), "b": torch.ones(2, 2), "c": torch.zeros(2, 2)}
    torch.save({f"{name}.weight": weight for name, weight in weights.items()}, path)
    process = convsv("spectrum", path, "--input-size", "4", "-o", npz)
    assert (process.returncode, process.stderr) == (3, "")
    assert "not computed: the weight holds NaN or infinity" in process.stdout
    assert "2 singular values, from 0 to 0; 2 of them zero" in process.stdout
    with np.load(npz) as arrays:
        assert list(arrays) == ["b", "c"]
        assert not np.signbit(arrays["c"]).any()
    result = audit(path, spectra=["*"], input_size=4)
    assert [spectrum.layer for spectrum in result.spectra] == ["b", "c"]
    said = [f"{f.node}: {f.message}" for f in result.findings if f.rule == "spectrum-unavailable"]
    assert said == ["a: no spectrum: the weight holds NaN or infinity"]
    assert "2 singular values from 0 to 0" in render(Report(command="audit", audits=(result,)), Terminal())


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ([], ["input size", "--input-size 224"]),
        (["--input-size", "4", "--layer", "nope"], ["'nope'", "conv, fc"]),
        (["--input-size", "4", "--bins", "0"], ["bins"]),
        (["--input-size", "4", "-o", "values.txt"], ["values.txt", ".npz or .csv"]),
        (["--input-size", "4", "-o", "/nowhere/values.npz"], ["/nowhere", "no such folder"]),
        (["--input-size", "4", "-o", "a" * 300 + ".npz"], ["File name too long"]),
        (["--input-size", "4", "--device", "mps"], ["float64", "--device cpu"]),
        (["--input-size", "0"], ["'0'", "224x160"]),
    ],
)
def test_errors_are_one_line(checkpoint: Path, arguments: list[str], fragments: list[str]) -> None:
    process = convsv("spectrum", checkpoint, *arguments)
    assert (process.returncode, process.stdout, process.stderr.count("\n")) == (2, "", 1)
    for fragment in ["convsv: ", *fragments]:
        assert fragment in process.stderr


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_a_failure_leaves_the_old_file(suffix: str, tmp_path: Path) -> None:
    output = tmp_path / f"values.{suffix}"
    output.write_text("old")
    assert convsv("spectrum", tmp_path / "absent.onnx", "-o", output).returncode == 2
    assert output.read_text() == "old"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_ctrl_c_leaves_no_half_written_file(suffix: str, checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / f"values.{suffix}"
    command = [
        sys.executable,
        "-c",
        COMMAND_LINE,
        "spectrum",
        checkpoint,
        "--input-size",
        "4096",
        "--step-limit",
        "1e15",
        "--memory-limit",
        "64G",
        "-o",
        output,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".values*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr.strip()) == (130, "", "convsv: interrupted")
    assert list(tmp_path.iterdir()) == [checkpoint]


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_a_full_disk_is_one_line(suffix: str, checkpoint: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    output = tmp_path / f"values.{suffix}"
    command = (
        f'ulimit -f 8; "{sys.executable}" -m convsv_cli spectrum "{checkpoint}" --input-size 64 -o "{output}"'
    )
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == f"convsv: {output}: cannot write: File too large\n"
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_progress_reaches_the_end(checkpoint: Path) -> None:
    heard: list[tuple[str, float]] = []
    network = load(checkpoint, input_size=8)
    layer_spectra(network, Settings(), bins=3, progress=lambda *news: heard.append(news))
    shares = [share for _, share in heard]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1, abs=0.01)
    assert [name for name, _ in heard][:: len(heard) - 1] == ["conv", "fc"]


def test_ascii_terminals_get_plain_bars(checkpoint: Path) -> None:
    text = convsv_anew("spectrum", checkpoint, "--layer", "fc", PYTHONIOENCODING="ascii").stdout
    assert "##" in text
    assert "\\u2588" not in text


def test_the_json_validates_and_has_what_an_audit_has(checkpoint: Path) -> None:
    process = convsv(
        "spectrum", checkpoint, "--input-size", "8", "--bins", str(AUDIT_BINS), "--format", "json"
    )
    document = json.loads(process.stdout)
    schema = files("convsv_cli.renderers").joinpath("schema/spectrum-1.schema.json").read_text()
    jsonschema.Draft202012Validator(json.loads(schema)).validate(document)
    layers = {layer["name"]: layer for layer in document["layers"]}
    for each in audit(checkpoint, input_size=8, spectra=["*"]).spectra:
        figures = {**asdict(each.distribution), "histogram": list(each.distribution.histogram)}
        assert layers[each.layer]["distribution"] == figures
        assert layers.pop(each.layer)["size"] == list(each.size)
    assert all(layer["distribution"] is None and layer["reason"] for layer in layers.values())


def test_an_audit_has_the_spectra_that_were_asked_for(checkpoint: Path) -> None:
    result = audit(checkpoint, input_size=8, layers=["conv"], spectra=["fc", "c*"])
    assert [spectrum.layer for spectrum in result.spectra] == ["conv", "fc"]
    for spectrum in result.spectra:
        (alone,) = layer_spectra(
            load(checkpoint, input_size=8), Settings(layers=(spectrum.layer,)), bins=AUDIT_BINS
        ).layers
        assert (spectrum.size, spectrum.distribution) == (alone.size, alone.distribution)
    assert audit(checkpoint, input_size=8).spectra == ()


def test_an_audit_says_which_spectra_it_cannot_have(checkpoint: Path) -> None:
    heard: list[str] = []
    with pytest.raises(UsageError, match="nowhere"):
        audit(checkpoint, spectra=["nowhere"], progress=lambda layer, _: heard.append(layer))
    assert heard == []  # before any work
    with pytest.raises(UsageError, match="--input-size"):
        audit(checkpoint, spectra=["conv"])
