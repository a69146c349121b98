"""`certify`: networks and files that a reviewer found it to be wrong about."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from convsv_cli import margin_radii
from convsv_cli.certification.samples import samples_in
from convsv_cli.errors import ConvsvError, UnreadableReportError, UsageError
from convsv_cli.renderers.certification import RENDERERS
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.saved import read
from tests.support import onnx_models
from tests.support.quickly import certify

FORMATS = {renderer.name: renderer.render for renderer in RENDERERS}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model(folder: Path, nodes: list, shape: tuple, opset: int = 20, **weights: np.ndarray) -> Path:
    """Of nodes (operator, inputs, outputs, attributes), from "x" to "y"."""
    made = [helper.make_node(op, ins.split(), outs.split(), **more) for op, ins, outs, more in nodes]
    path = folder / "net.onnx"
    onnx.save(onnx_models.graph_model(made, {"x": shape}, weights, opset=opset), path)
    return path


def data(folder: Path, x: np.ndarray, y: np.ndarray | None = None) -> Path:
    path = folder / "data.npz"
    np.savez(path, x=x, y=np.zeros(len(x), int) if y is None else y)
    return path


def test_a_gemm_that_adds_what_varies_is_no_head(tmp_path: Path) -> None:
    nodes = [("Relu", "x", "h", {}), ("MatMul", "x v", "c", {}), ("Gemm", "h w c", "y", {})]
    path = model(tmp_path, nodes, (1, 4), w=normal(4, 3), v=50 * normal(4, 3, seed=1))
    found = certify(path, data(tmp_path, normal(8, 4, seed=2)))
    assert [name for name, _ in found.routes[0].constants] == ["lipschitz"]


LEFT = [("MatMul", "w x", "h", {}), ("Sigmoid", "h", "s", {})]
RIGHT = [("MatMul", "x w", "h", {}), ("Sigmoid", "h", "s", {})]
NO_CHAINS = {
    "a matrix from the left": (LEFT, (1, 65, 65), {"w": normal(65, 65)}, "from the left"),
    "a matrix from the left, of another size": (LEFT, (1, 8), {"w": normal(1, 1)}, "from the left"),
    "a matrix for each row": (RIGHT, (1, 5, 5), {"w": normal(5, 5)}, "more than one vector"),
    "two of them": (
        [*RIGHT[:1], ("Sigmoid", "h", "t", {}), ("MatMul", "t w", "u", {}), ("Sigmoid", "u", "s", {})],
        (1, 5, 5),
        {"w": normal(5, 5)},
        "more than one vector",
    ),
    "a bias for each row": (
        [("MatMul", "x w", "m", {}), ("Add", "m b", "h", {}), ("Sigmoid", "h", "s", {})],
        (1, 9, 500),
        {"w": normal(500, 9), "b": normal(9, 1)},
        "more than one vector",
    ),
    "a bias that is spread": (
        [("MatMul", "x w", "m", {}), ("Add", "m b", "h", {}), ("Sigmoid", "h", "s", {})],
        (1, 6),
        {"w": normal(6, 6), "b": normal(6, 1)},
        "not a chain",
    ),
    "a transposed input": (
        [("Gemm", "x w", "h", {"transA": 1}), ("Sigmoid", "h", "s", {})],
        (1, 4),
        {"w": normal(1, 2)},
        "do not fit",
    ),
    "a threshold that is no number": (
        [
            ("Gemm", "x w", "h", {}),
            ("Softplus", "h", "p", {}),
            ("Greater", "h t", "g", {}),
            ("Where", "g h p", "s", {}),
        ],
        (1, 4),
        {"w": normal(4, 4), "t": np.float32([np.nan, 0, 0, 0])},
        "cut off",
    ),
}


@pytest.mark.parametrize("name", NO_CHAINS)
def test_what_looks_like_a_chain_of_layers_is_none(tmp_path: Path, name: str) -> None:
    nodes, shape, weights, reason = NO_CHAINS[name]
    features = {"a bias that is spread": 36, "a bias for each row": 81, "a transposed input": 8}
    size = features.get(name, int(np.prod(shape)))
    nodes = [*nodes, ("Reshape", "s flat", "f", {}), ("Gemm", "f head", "y", {})]
    path = model(tmp_path, nodes, shape, **weights, flat=np.array([1, size]), head=normal(size, 3, seed=3))
    found = certify(path, data(tmp_path, normal(4, *shape[1:], seed=2)))
    assert reason in found.routes[1].reason


@pytest.mark.parametrize("activation", ["Relu", "Sigmoid"])
@pytest.mark.parametrize("turned", [0, 1])
def test_a_matrix_that_is_used_twice_may_be_transposed_once(
    tmp_path: Path, activation: str, turned: int
) -> None:
    nodes = [
        ("Gemm", "x w", "h", {"transB": turned}),
        (activation, "h", "s", {}),
        ("Gemm", "s w", "y", {"transB": 1 - turned}),
    ]
    w, x = 2 * normal(6, 6), data(tmp_path, normal(20, 6, seed=1))
    tied = certify(model(tmp_path, nodes, (1, 6), w=w), x)
    nodes[2] = ("Gemm", "s v", "y", {"transB": 1 - turned})
    free = certify(model(tmp_path, nodes, (1, 6), w=w, v=w), x)
    assert [s.predicted for s in tied.samples] == [s.predicted for s in free.samples]
    assert [s.radius for s in tied.samples] == pytest.approx([s.radius for s in free.samples], rel=1e-3)
    assert not tied.routes[1].reason or activation == "Relu"


def test_samples_that_meet_in_a_batch_are_run_alone(tmp_path: Path) -> None:
    nodes = [
        ("ReduceMean", "x batch", "m", {}),
        ("Sub", "m two", "s", {}),
        ("Relu", "s", "r", {}),
        ("MatMul", "r v", "q", {}),
        ("MatMul", "x w", "z", {}),
        ("Add", "z q", "y", {}),
    ]
    x = 0.3 * normal(12, 4, seed=1)
    x[7, 0], x[9, 0] = 100, -100
    v, w = np.zeros((4, 3), np.float32), normal(4, 3)
    v[0] = -20, 30, 5
    weights = {"batch": np.array([0]), "two": np.float32(2), "v": v, "w": w}
    found = certify(model(tmp_path, nodes, ("n", 4), **weights), data(tmp_path, x))
    logits = np.maximum(x - 2, 0) @ v + x @ w
    assert [sample.predicted for sample in found.samples] == logits.argmax(1).tolist()


def test_half_precision_is_allowed_for(tmp_path: Path) -> None:
    w, head = normal(4, 16).astype(np.float16), normal(16, 2, seed=1).astype(np.float16)
    step = np.where(np.arange(16) % 2, 0.01, -0.01).astype(np.float16)  # what the bias of 50 adds cancels
    head[:, 1] = head[:, 0] + step
    x = normal(100, 4, seed=3)
    bias = np.full(16, 50, np.float16)
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "head"], ["y"]),
    ]
    half = TensorProto.FLOAT16
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", half, (1, 4))],
        [helper.make_tensor_value_info("y", half, (1, 2))],
        [numpy_helper.from_array(value, name) for name, value in (("w", w), ("head", head), ("b", bias))],
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    found = certify(path, data(tmp_path, x))
    logits = np.maximum(x.astype(float) @ w.astype(float) + 50, 0) @ head.astype(float)
    wrong = [s for s, z in zip(found.samples, logits, strict=True) if s.predicted != z.argmax()]
    assert wrong
    assert not any(sample.radius for sample in wrong)
    assert any("float16, in any order" in note for note in found.notes)


def test_an_input_type_that_moves_samples_takes_that_off_their_radii(tmp_path: Path) -> None:
    nodes = [("Relu", "x", "h", {}), ("Gemm", "h w", "y", {})]
    path = model(tmp_path, nodes, (1, 2), w=np.eye(2, dtype=np.float32))
    far = np.array([[1e9 + 31.0, 1e9 - 1000.0]])  # 32 apart in single precision
    found = certify(path, data(tmp_path, far), input_std=(2.0,), normalized=True)
    assert found.samples[0].radius == 0


def test_nothing_to_attack_is_no_error(tmp_path: Path) -> None:
    path = model(
        tmp_path, [("Relu", "x", "h", {}), ("Gemm", "h w", "y", {})], (1, 2), w=-np.eye(2, 3).astype("f")
    )
    found = certify(path, data(tmp_path, 1 + normal(3, 2) ** 2, np.zeros(3, int)), attack=True)
    assert (found.correct, found.levels[0].robust) == (0, 0)


def test_a_sample_may_be_one_number(tmp_path: Path) -> None:
    nodes = [("Unsqueeze", "x axis", "u", {}), ("Gemm", "u w", "y", {})]
    path = model(tmp_path, nodes, (1,), axis=np.array([1]), w=normal(1, 3))
    assert len(certify(path, data(tmp_path, normal(5, 1)), input_std=(2.0,)).samples) == 5


@pytest.mark.parametrize(
    "nodes", [[("Log", "x", "h", {}), ("Gemm", "h w", "y", {})], [("Gemm", "x w", "y", {})]]
)
def test_logits_that_are_no_numbers_are_said(tmp_path: Path, nodes: list) -> None:
    path = model(tmp_path, nodes, (1, 4), w=normal(4, 3) * np.float32(1e38))
    with pytest.raises(UsageError, match="NaN or infinite at 5 of 5 samples"):
        certify(path, data(tmp_path, -1000 * np.abs(normal(5, 4))))


def test_there_may_be_many_classes() -> None:
    head = torch.randn(100_000, 2, generator=torch.Generator().manual_seed(0))
    logits = torch.randn(2, 100_000, generator=torch.Generator().manual_seed(1))
    assert (margin_radii(logits, before_head=1.0, head=head) > 0).all()
    assert (margin_radii(logits, lipschitz=1.0) > 0).all()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


HOSTILE = {
    "no array": ("x", b"hello"),
    "a number of samples beyond 64 bits": (
        "x.npy",
        header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**70}, 4), }}"),
    ),
    "a header that does not end": ("x.npy", header("{'descr': (((")),
    "a header that is no dictionary": ("x.npy", header("{[]: 1}")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arrays_are_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(*HOSTILE[name])
        file.writestr("y.npy", npy(np.zeros(4, int)))
    with pytest.raises(UsageError, match=r"not a \.npz file with arrays of numbers"):
        samples_in(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_damaged_archives_are_one_line(tmp_path: Path, compression: int) -> None:
    path, dice = tmp_path / "data.npz", random.Random(0)
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("x.npy", npy(normal(8, 4)))
        file.writestr("y.npy", npy(np.zeros(8, int)))
    whole, refused = path.read_bytes(), 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[dice.randrange(len(damaged))] = dice.choice([0, 1, 255])
        path.write_bytes(damaged)
        try:
            samples_in(path)
        except ConvsvError:
            refused += 1
    assert refused > 10


def test_classes_may_be_a_column(tmp_path: Path) -> None:
    path = data(tmp_path, normal(4, 2), np.arange(4)[:, None])
    assert samples_in(path).y.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("eps", [5e-324, 1e-310, 1e308])
def test_every_format_takes_every_radius(tmp_path: Path, eps: float) -> None:
    path = model(tmp_path, [("Exp", "x", "h", {}), ("Gemm", "h w", "y", {})], (1, 2), w=normal(2, 3))
    found = certify(path, data(tmp_path, normal(4, 2)), eps=eps)
    assert all(render(found, Terminal()) for render in FORMATS.values())


def test_the_curve_in_the_terminal_is_rounded_down(tmp_path: Path) -> None:
    path = model(tmp_path, [("Gemm", "x w", "y", {})], (1, 2), w=np.eye(2, dtype="f"))
    x, y = np.tile(np.float32([[1, 0]]), (20_000, 1)), np.zeros(20_000, int)
    y[:9] = 1
    text = FORMATS["table"](certify(path, data(tmp_path, x, y), eps=0.1), Terminal())
    assert "99.96 %" not in text.partition("by radius")[2]
    assert text.count("99.95 %") >= 10


OLDER = {
    "softmax over all axes": ("Softmax", 11, {}),
    "softmax over some axes": ("LogSoftmax", 11, {"axis": 2}),
    "softmax over one axis": ("Softmax", 13, {"axis": 1}),
    "a mean over no axes": ("ReduceMean", 18, {"noop_with_empty_axes": 1}),
    "a negative axis": ("Flatten", 20, {"axis": -3}),
}


@pytest.mark.parametrize("name", OLDER)
def test_operators_mean_the_same_with_the_weights_of_a_checkpoint(tmp_path: Path, name: str) -> None:
    op, opset, attributes = OLDER[name]
    nodes = [(op, "x", "s", attributes), ("Flatten", "s", "f", {}), ("Gemm", "f w", "y", {})]
    w, x = 10 * normal(18, 4), data(tmp_path, 3 * normal(20, 2, 3, 3, seed=1))
    path = model(tmp_path, nodes, (1, 2, 3, 3), opset, w=w)
    torch.save({"w": torch.from_numpy(w)}, tmp_path / "net.pt")
    own, theirs = certify(path, x), certify(tmp_path / "net.pt", x, graph=path)
    assert [s.predicted for s in own.samples] == [s.predicted for s in theirs.samples]
    assert [s.radius for s in own.samples] == pytest.approx([s.radius for s in theirs.samples], abs=1e-3)


def test_padding_that_has_no_room_is_not_attacked(tmp_path: Path) -> None:
    conv = {"pads": [10_000] * 4, "strides": [5000, 5000]}
    nodes = [
        ("Conv", "x k", "c", conv),
        ("Relu", "c", "r", {}),
        ("Flatten", "r", "f", {}),
        ("Gemm", "f w", "y", {}),
    ]
    path = model(tmp_path, nodes, (1, 1, 8, 8), k=normal(1, 1, 3, 3), w=normal(25, 3))
    found = certify(path, data(tmp_path, normal(4, 1, 8, 8)), attack=True)
    assert found.attack is not None
    assert "pads to more than" in found.attack.failure


def test_a_chain_that_has_no_room_is_not_taken(tmp_path: Path) -> None:
    nodes = [
        ("Conv", "x k", "a", {"pads": [4000] * 4}),
        ("Tanh", "a", "b", {}),
        ("Conv", "b k", "c", {"strides": [2000, 2000]}),
        ("Tanh", "c", "d", {}),
        ("Flatten", "d", "f", {}),
        ("Gemm", "f w", "y", {}),
    ]
    path = model(tmp_path, nodes, (1, 1, 8, 8), k=normal(1, 1, 3, 3), w=normal(25, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "convsv_cli.certification.certify.logits_of", lambda *_: torch.tensor([[1.0, 0.0, 0.0]])
        )
        found = certify(path, data(tmp_path, normal(1, 1, 8, 8)))
    assert "more than 33,554,432 entries" in found.routes[1].reason


def test_a_certification_is_no_audit(tmp_path: Path) -> None:
    path = model(tmp_path, [("Relu", "x", "h", {}), ("Gemm", "h w", "y", {})], (1, 2), w=normal(2, 3))
    found = certify(path, data(tmp_path, normal(4, 2)))
    (tmp_path / "found.json").write_text(FORMATS["json"](found, Terminal()))
    with pytest.raises(UnreadableReportError, match="convsv certify"):
        read(tmp_path / "found.json")


def test_inputs_that_are_held_are_said(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Where", ["mask", "zero", "x"], ["u"]),
        helper.make_node("Gemm", ["u", "w"], ["y"]),
    ]
    made = onnx_models.graph_model(
        nodes, {"x": (1, 4), "mask": (1, 4)}, {"w": normal(4, 3), "zero": np.float32(0)}
    )
    made.graph.input[1].type.tensor_type.elem_type = TensorProto.BOOL
    path = tmp_path / "net.onnx"
    onnx.save(made, path)
    found = certify(path, data(tmp_path, normal(4, 4)))
    assert any("(mask) are held at 0" in note for note in found.notes)
