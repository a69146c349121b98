"""Models of llama.cpp: the values of every type, what its names say, parts, and files that lie."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import quants

from convsv_cli import audit, load
from convsv_cli.errors import ConvsvError, UnreadableModelError, UnsafeModelError, UsageError
from convsv_cli.loaders.files import may_be_model, model_file
from convsv_cli.loaders.gguf import blocks
from convsv_cli.loaders.gguf.header import BLOCKS
from convsv_cli.model.layer import Layer, UnsupportedLayer
from tests.support.gguf_files import Claim, claim, gguf_file, texts

NORMAL = np.random.default_rng(7).standard_normal
SMALL = claim("blk.0.attn_q.weight", NORMAL((4, 8)).astype("float32"))
KNOWN = {name: number for number, (name, *_) in BLOCKS.items() if name not in {"Q8_1", "Q8_K", "Q1_0"}}
ROUNDED = {"Q4_1", "Q5_1", "Q2_K", "Q4_K", "Q5_K"}
"""Where the library, in float32, adds what is no multiple of one power of two."""


def written(path: Path, *tensors: Claim, **claims: Any) -> Path:
    path.write_bytes(gguf_file(tensors, **claims))
    return path


def rows(path: Path) -> dict[str, Layer | UnsupportedLayer]:
    return {row.weight: row for row in load(path).layers}


def random_blocks(kind: str, count: int) -> np.ndarray:
    """Codes at random; numbers in float16 such that every value is one in float32."""
    _, _, width = BLOCKS[KNOWN[kind]]
    drawn = np.random.default_rng(3).integers(0, 256, (count, width), dtype=np.uint8)
    with np.errstate(all="ignore"):
        whole = quants.dequantize(drawn, gguf.GGMLQuantizationType[kind])
    return drawn[np.isfinite(whole).all(axis=1) & (np.abs(whole).max(axis=1) < 1e9)]


@pytest.mark.parametrize("kind", KNOWN)
def test_the_values_of_every_type_are_those_of_the_library(kind: str, tmp_path: Path) -> None:
    _, length, _ = BLOCKS[KNOWN[kind]]
    drawn = random_blocks(kind, 40)[:12]
    stored = Claim(name="blk.0.ffn_up.weight", shape=(6, 2 * length), type=KNOWN[kind], data=drawn.tobytes())
    (row,) = load(written(tmp_path / "a.gguf", stored)).layers
    assert isinstance(row, Layer)
    assert (row.dtype, row.kernel_shape) == (kind, (6, 2 * length))
    found = row.read().numpy()
    expected = quants.dequantize(drawn, gguf.GGMLQuantizationType[kind]).astype(float).reshape(found.shape)
    assert found.dtype == np.float64
    if kind not in ROUNDED:
        assert np.array_equal(found, expected)
    assert np.abs(found - expected).max() <= 2**-23 * np.abs(expected).max()
    assert kind in row.assumed[0]


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_floats_are_as_they_are(dtype: str, tmp_path: Path) -> None:
    matrix = NORMAL((6, 4)).astype(dtype)
    path = written(
        tmp_path / "a.gguf", claim("output.weight", matrix), claim("output_norm.weight", matrix[0])
    )
    (row,) = audit(path).layers
    assert (row.dtype, row.name) == (dtype, "output")
    enclosure = row.measurement("certified").enclosure
    norm = np.linalg.norm(matrix.astype(float), 2)
    assert enclosure.lower <= norm * (1 + 1e-12)
    assert enclosure.upper >= norm * (1 - 1e-12)


def test_bfloat16(tmp_path: Path) -> None:
    matrix = torch.randn(3, 5).bfloat16()
    stored = Claim(name="a.weight", shape=(3, 5), type=30, data=matrix.view(torch.int16).numpy().tobytes())
    (row,) = load(written(tmp_path / "a.gguf", stored)).layers
    assert isinstance(row, Layer)
    assert torch.equal(row.read(), matrix)


def test_without_the_library_only_its_own_types_are_left_out(tmp_path: Path, monkeypatch: Any) -> None:
    both = [
        Claim(name="a.weight", shape=(1, 256), type=KNOWN["IQ2_XS"], data=bytes(74)),
        Claim(name="b.weight", shape=(1, 256), type=KNOWN["Q4_K"], data=bytes(144)),
        Claim(name="c.weight", shape=(1, 256), type=KNOWN["Q4_K"] + 3, data=bytes(292)),
    ]
    found = rows(written(tmp_path / "a.gguf", *both))
    assert [isinstance(row, Layer) for row in found.values()] == [True, True, False]
    monkeypatch.setitem(sys.modules, "gguf", None)
    found = rows(tmp_path / "a.gguf")
    assert [isinstance(row, Layer) for row in found.values()] == [False, True, False]
    assert "pip install 'convsv[gguf]'" in found["a.weight"].reason  # type: ignore[union-attr]
    with pytest.raises(UnreadableModelError, match="pip install"):
        blocks.values(np.zeros((1, 74), np.uint8), "IQ2_XS", 256)


def test_experts_are_one_row_with_the_largest_norm(tmp_path: Path) -> None:
    experts = NORMAL((5, 6, 4)).astype("float32")
    (row,) = audit(written(tmp_path / "a.gguf", claim("blk.0.ffn_up_exps.weight", experts))).layers
    norm = max(np.linalg.norm(expert.astype(float), 2) for expert in experts)
    assert row.measurement("certified").enclosure.upper == pytest.approx(norm, rel=1e-3)
    assert row.measurement("certified").enclosure.upper >= norm
    assert row.groups == 5


def test_what_names_say(tmp_path: Path) -> None:
    square = NORMAL((8, 8)).astype("float32")
    names = (
        "token_embd",
        "output",
        "position_embd",
        "v.position_embd",
        "enc.blk.0.attn_rel_b",
        "blk.0.other",
    )
    path = written(tmp_path / "a.gguf", *(claim(f"{name}.weight", square) for name in names))
    found = rows(path)
    assert [name for name, row in found.items() if isinstance(row, Layer)] == [
        "output.weight",
        "blk.0.other.weight",
    ]
    assert all(not row.applicable for row in found.values() if isinstance(row, UnsupportedLayer))
    tied = written(tmp_path / "b.gguf", claim("token_embd.weight", square))
    assert isinstance(rows(tied)["token_embd.weight"], Layer)
    encoder = written(
        tmp_path / "c.gguf", claim("token_embd.weight", square), pairs={"general.architecture": "bert"}
    )
    assert not isinstance(rows(encoder)["token_embd.weight"], Layer)


def test_other_layers(tmp_path: Path) -> None:
    kernel = NORMAL((6, 4)).astype("float32")
    image = NORMAL((6, 3, 2, 2)).astype("float32")
    path = written(
        tmp_path / "a.gguf",
        claim("blk.0.ssm_conv1d.weight", kernel),
        claim("v.patch_embd.weight", image),
        claim("blk.0.mystery.weight", image[0]),
    )
    depthwise, patches, mystery = load(path).layers
    assert isinstance(depthwise, Layer)
    assert (depthwise.kernel_shape, depthwise.geometry.groups) == ((6, 1, 4), 6)
    assert isinstance(patches, Layer)
    assert "of which llama.cpp's name does not say" in mystery.reason  # type: ignore[union-attr]


def test_scales_beside_a_weight_multiply_it(tmp_path: Path) -> None:
    half, two = np.array([0.5], "float32"), np.ones(2, "float32")
    (row,) = load(written(tmp_path / "a.gguf", SMALL, claim("blk.0.attn_q.scale", half))).layers
    assert isinstance(row, Layer)
    assert np.array_equal(row.read().numpy(), np.frombuffer(SMALL.data, "f4").reshape(4, 8) * 0.5)
    (row,) = load(written(tmp_path / "b.gguf", SMALL, claim("blk.0.attn_q.scale", two))).layers
    assert "is not one number" in row.reason  # type: ignore[union-attr]


def test_parts_are_one_model(tmp_path: Path) -> None:
    other = claim("blk.1.attn_q.weight", NORMAL((4, 8)).astype("float32"))
    split = {"split.count": 2}
    first = written(tmp_path / "m-00001-of-00002.gguf", SMALL, pairs=split)
    second = tmp_path / "m-00002-of-00002.gguf"
    with pytest.raises(UnreadableModelError, match="is missing"):
        load(first)
    written(second, other)
    network = load(first)
    assert [row.name for row in network.layers] == ["blk.0.attn_q", "blk.1.attn_q"]
    assert network.files == (first.name, second.name)
    assert model_file(tmp_path) == first
    assert (may_be_model(first.name), may_be_model(second.name)) == (True, False)
    with pytest.raises(UsageError, match="not the first part"):
        load(second)
    with pytest.raises(UnreadableModelError, match="name says something else"):
        load(written(tmp_path / "alone.gguf", SMALL, pairs=split))
    written(second, SMALL)
    with pytest.raises(UnreadableModelError, match="is in two parts"):
        load(first)


NESTED = struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 40 + struct.pack("<IQ", 0, 0)
BIG = 2**60
LIES: dict[str, tuple[dict[str, Any], str]] = {
    "no alignment": ({"pairs": {"general.alignment": 0}}, "its alignment is 0"),
    "odd alignment": ({"pairs": {"general.alignment": 48}}, "its alignment is 48"),
    "alignment in words": ({"pairs": {"general.alignment": "x"}}, "its alignment is x"),
    "many texts": ({"pairs": {"t": struct.pack("<IIQ", 9, 8, 2**40)}}, "header is incomplete"),
    "many numbers": ({"pairs": {"t": struct.pack("<IIQ", 9, 0, BIG)}}, "header is incomplete"),
    "nested": ({"pairs": {"t": NESTED}}, "nested too deeply"),
    "long text": ({"pairs": {"t": struct.pack("<IQ", 8, BIG)}}, "header is incomplete"),
    "no such type": ({"pairs": {"t": struct.pack("<I", 77)}}, "a value of type 77"),
    "many tensors": ({"counts": (BIG, 1)}, "more than 250000"),
    "more tensors": ({"counts": (9, 1)}, "damaged|a name longer"),
    "many pairs": ({"counts": (1, BIG)}, "more than 65536"),
    "version": ({"version": 1}, "of version 1"),
    "order": ({"version": 3 << 24}, "big-endian"),
}  # fmt: skip
TENSORS: dict[str, tuple[list[Claim], str]] = {
    "long": ([Claim(name="a", shape=(BIG, 4), type=0, data=b"")], "more values than any file"),
    "beyond": ([Claim(name="a", shape=(64, 64), type=0, data=bytes(64))], "cut off"),
    "far": ([Claim(name="a", shape=(2, 2), type=0, data=bytes(16), start=2**40)], "cut off"),
    "twice": ([SMALL, SMALL], "there twice"),
    "overlap": (
        [SMALL, Claim(name="b", shape=(4, 8), type=0, data=bytes(128), start=32)],
        "'blk.0.attn_q.weight' and 'b' overlap",
    ),
    "between": ([SMALL, Claim(name="b", shape=(1,), type=0, data=bytes(4), start=131)], "not where"),
    "axes": ([Claim(name="a", shape=(1,) * 5, type=0, data=bytes(4))], "5 axes"),
    "name": ([Claim(name="a" * 9000, shape=(1,), type=0, data=bytes(4))], "a name longer"),
}


@pytest.mark.parametrize("lie", LIES)
def test_headers_that_lie(lie: str, tmp_path: Path) -> None:
    claims, what = LIES[lie]
    with pytest.raises((UnreadableModelError, UnsafeModelError), match=what):
        load(written(tmp_path / "a.gguf", SMALL, **claims))


@pytest.mark.parametrize("lie", TENSORS)
def test_tensors_that_are_not_there(lie: str, tmp_path: Path) -> None:
    tensors, what = TENSORS[lie]
    with pytest.raises((UnreadableModelError, UnsafeModelError), match=what):
        load(written(tmp_path / "a.gguf", *tensors))


def test_rows_with_a_reason(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.gguf",
        Claim(name="a.weight", shape=(4, 8), type=KNOWN["Q4_0"], data=bytes(18)),
        Claim(name="b.weight", shape=(4, 8), type=99, data=bytes(18)),
        SMALL,
    )
    found = rows(path)
    assert found["a.weight"].reason == "rows of 8 entries are no whole number of blocks of 32"  # type: ignore[union-attr]
    assert found["b.weight"].reason == "values of type 99, which convsv does not know"  # type: ignore[union-attr]
    assert isinstance(found["blk.0.attn_q.weight"], Layer)


def test_no_beginning_of_a_file_is_read_as_another(tmp_path: Path) -> None:
    whole = gguf_file([SMALL], pairs={"tokens": texts("a", "b")})
    for length in range(4, len(whole), 3):
        (tmp_path / "a.gguf").write_bytes(whole[:length])
        with pytest.raises(ConvsvError):
            load(tmp_path / "a.gguf")
