"""Images on another scale or with their channels elsewhere, and odd classes: never taken without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from convsv_cli import audit
from convsv_cli.certification.samples import samples_in
from convsv_cli.errors import ConvsvError, UsageError
from tests.support import onnx_models, runtime
from tests.support.quickly import certify

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 5)).astype(np.float32)
CLASSES = np.arange(6) % 3
REFUSED = r"look like pixels of 0 to 255 \(divide them by 255"


def flattening(folder: Path, *shape: int) -> Path:
    """A network that would take its entries in any order."""
    weight = onnx_models.normal(int(np.prod(shape)), 3)
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w"], ["y"])]
    path = folder / "net.onnx"
    onnx.save(onnx_models.graph_model(nodes, {"x": (1, *shape)}, {"w": weight}), path)
    return path


def data(folder: Path, x: np.ndarray, y: np.ndarray = CLASSES, name: str = "data.npz") -> Path:
    np.savez(folder / name, x=x, y=y)
    return folder / name


def logits(path: Path, x: np.ndarray) -> np.ndarray:
    session = runtime.session(path)
    return np.concatenate([session.run(None, {"x": each[None]})[0] for each in x.astype(np.float32)])


SCALES = {
    "single precision": PIXELS,
    "double precision": PIXELS.astype(np.float64),
    "half precision": PIXELS.astype(np.float16),
    "gray": PIXELS[:, 0],
    "dark": np.minimum(PIXELS, 14),
    "two": np.minimum(PIXELS, 2),
    "channels last": PIXELS.transpose(0, 2, 3, 1),
    "dark ones first": np.concatenate(
        [np.zeros((1500, 3, 4, 5), np.float32), np.tile(PIXELS, (50, 1, 1, 1))]
    ),
    "as vectors": np.tile(PIXELS.reshape(6, -1), 2),
}


@pytest.mark.parametrize("name", SCALES)
def test_floats_that_are_pixels_are_refused(name: str, tmp_path: Path) -> None:
    x = SCALES[name]
    path = data(tmp_path, x, np.arange(len(x)) % 3)
    with pytest.raises(UsageError, match=REFUSED) as refused:
        samples_in(path)
    assert "\n" not in str(refused.value)
    assert "--input-range 0,255" in str(refused.value)


HONEST = {
    "scaled": PIXELS / 255,
    "scaled to both signs": PIXELS / 127.5 - 1,
    "black and white": (PIXELS > 128).astype(np.float32),
    "normalized": (PIXELS / 255 - 0.45) / 0.225,
    "a table of small numbers": np.arange(24, dtype=np.float32).reshape(6, 4),
    "large figures": PIXELS * 1000,
    "bytes": PIXELS.astype(np.uint8),
}


@pytest.mark.parametrize("name", HONEST)
def test_others_are_taken_as_they_are(name: str, tmp_path: Path) -> None:
    found = samples_in(data(tmp_path, HONEST[name]))
    scale = np.float32(255) if name == "bytes" else 1
    np.testing.assert_array_equal(found.x, HONEST[name] / scale)
    assert found.notes == (("bytes 0 to 255 were divided by 255",) if name == "bytes" else ())


OPTIONS = {
    "a range": {"input_range": (0.0, 255.0)},
    "a mean": {"input_mean": (123.7, 116.3, 103.5), "input_std": (58.4, 57.1, 57.4)},
    "a deviation": {"input_std": (255.0,)},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_say_that_the_network_takes_pixels(name: str, tmp_path: Path) -> None:
    path = flattening(tmp_path, 3, 4, 5)
    floats = certify(path, data(tmp_path, PIXELS), **OPTIONS[name])
    raw = certify(path, data(tmp_path, PIXELS.astype(np.uint8), name="b.npz"), **OPTIONS[name])
    assert [s.radius for s in raw.samples] == [s.radius for s in floats.samples]
    assert any("bytes 0 to 255 were taken as they are" in note for note in raw.notes)
    mean = np.array(OPTIONS[name].get("input_mean", 0.0)).reshape(-1, 1, 1)
    std = np.array(OPTIONS[name].get("input_std", 1.0)).reshape(-1, 1, 1)
    expected = logits(path, (PIXELS - mean) / std).argmax(1)
    assert [s.predicted for s in floats.samples] == expected.tolist()


def test_an_option_about_scaled_images_does_not(tmp_path: Path) -> None:
    path, file = flattening(tmp_path, 3, 4, 5), data(tmp_path, PIXELS)
    for options in (
        {"input_mean": (0.48,), "input_std": (0.22,)},
        {"input_range": (0.0, 1.0)},
        {"attack": True},
    ):
        with pytest.raises(UsageError, match=REFUSED):
            certify(path, file, **options)
    found = certify(path, file, normalized=True)
    assert [s.predicted for s in found.samples] == logits(path, PIXELS).argmax(1).tolist()


def test_what_is_not_certain_is_noted(tmp_path: Path) -> None:
    path = flattening(tmp_path, 3, 4, 5)
    bright = certify(path, data(tmp_path, PIXELS * np.float32(0.97)))
    assert any(
        note.startswith("the samples go from 0 to 24") and "divided by 255" in note for note in bright.notes
    )
    twice = certify(path, data(tmp_path, PIXELS / 255 - 0.5), input_mean=(0.5,), input_std=(0.5,))
    assert any(
        "before the normalization: if already normalized, use --normalized" in note for note in twice.notes
    )
    done = certify(path, data(tmp_path, PIXELS / 255 - 0.5), input_std=(0.5,), normalized=True)
    assert not any("the samples go from" in note for note in done.notes)


def test_channels_that_are_moved_are_noted(tmp_path: Path) -> None:
    path, x = flattening(tmp_path, 3, 4, 5), PIXELS / 255
    first = certify(path, data(tmp_path, x))
    last = certify(path, data(tmp_path, x.transpose(0, 2, 3, 1)))
    assert not any("channels" in note for note in first.notes)
    assert any("come last; they were moved to the front" in note for note in last.notes)
    assert [s.radius for s in last.samples] == [s.radius for s in first.samples]
    assert [s.predicted for s in last.samples] == logits(path, x).argmax(1).tolist()


def test_channels_that_could_be_either_are_noted(tmp_path: Path) -> None:
    found = certify(flattening(tmp_path, 3, 3, 3), data(tmp_path, PIXELS[:, :, :3, :3] / 255))
    assert any("may have their channels first or last" in note for note in found.notes)
    flat = certify(flattening(tmp_path, 1, 4, 5), data(tmp_path, PIXELS[:, :1].transpose(0, 2, 3, 1) / 255))
    assert not any("channels" in note for note in flat.notes), "of one channel the order is the same"


@pytest.mark.parametrize(
    ("shape", "hint"),
    [((4, 5, 3), "save x.transpose(0, 2, 3, 1)"), ((60,), ""), ((5, 4, 3), ""), ((3, 5, 4), "")],
)
def test_other_orders_are_refused(shape: tuple[int, ...], hint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the samples are 3x4x5, and the network takes") as refused:
        certify(flattening(tmp_path, *shape), data(tmp_path, PIXELS / 255))
    assert hint in str(refused.value)
    assert ("save" in str(refused.value)) == bool(hint)


ONE_HOT = np.eye(3, dtype=np.float32)[CLASSES]
ODD_CLASSES = {
    "one-hot": (ONE_HOT, "a table of 3 columns, one per class: not one number per sample (save y.argmax(1))"),
    "whole one-hot": (ONE_HOT.astype(int), "save y.argmax(1)"),
    "floats": (CLASSES.astype(float), "not whole numbers (save y.astype(int))"),
    "fractions": (CLASSES + 0.5, "not whole numbers (classes count from 0)"),
    "flags": (CLASSES > 1, "not whole numbers (save y.astype(int))"),
    "text": (CLASSES.astype(str), "not whole numbers"),
    "from 1": (CLASSES + 1, "range from 1 to 3, but the network has 3 (classes count from 0: save y - 1)"),
    "negative": (CLASSES - 1, "range from -1 to 1, but the network has 3"),
    "too many": (CLASSES * 2, "range from 0 to 4, but the network has 3"),
    "another length": (CLASSES[:5], "do not fit together"),
    "one number": (np.array(1), "an array of 0 axes"),
}


@pytest.mark.parametrize("name", ODD_CLASSES)
def test_odd_classes_are_one_line(name: str, tmp_path: Path) -> None:
    y, message = ODD_CLASSES[name]
    with pytest.raises(ConvsvError) as refused:
        certify(flattening(tmp_path, 3, 4, 5), data(tmp_path, PIXELS / 255, y))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["uint16", "int32", "int64", "bool", "complex64"])
def test_samples_of_other_types_are_one_line(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"samples are of type {kind} \(floats, or bytes 0 to 255: divide"):
        samples_in(data(tmp_path, PIXELS.astype(kind)))


@pytest.mark.parametrize("kind", ["float32", "uint8", "int64"])
def test_the_data_of_an_estimate_are_looked_at_too(kind: str, tmp_path: Path) -> None:
    path = flattening(tmp_path, 3, 4, 5)
    np.savez(tmp_path / "x.npz", x=PIXELS.astype(kind))
    with pytest.raises(UsageError, match=REFUSED):
        audit(path, empirical=tmp_path / "x.npz")
    with pytest.raises(UsageError, match=r"leave the range 0 to 1 \(divide them by 255\)"):
        audit(path, empirical=tmp_path / "x.npz", input_range=(0.0, 1.0))


def test_an_estimate_takes_pixels_where_that_is_said(tmp_path: Path) -> None:
    path = flattening(tmp_path, 3, 4, 5)
    np.savez(tmp_path / "x.npz", x=PIXELS)
    assert audit(path, empirical=tmp_path / "x.npz", input_range=(0.0, 255.0)).bound.empirical.ratio > 0
    np.savez(tmp_path / "last.npz", x=PIXELS.transpose(0, 2, 3, 1) / 255)
    with pytest.raises(UsageError, match=r"save x.transpose\(0, 3, 1, 2\)"):
        audit(path, empirical=tmp_path / "last.npz")
