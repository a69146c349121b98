"""Products with matrices of 2 to 8 bits an entry: their rows, and bounds of graphs that have them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper
from onnx.helper import make_node as node

from convsv_cli.model.layer import Layer, UnsupportedLayer
from convsv_cli.report import BOUNDED
from tests.support import runtime
from tests.support.onnx_models import graph_model, rng
from tests.support.sensitivity import network
from tests.support.whole_bounds import bounded

MICROSOFT = {"domain": "com.microsoft"}
K, N, BLOCK = 32, 6, 16


def n_bits(*more: str, **changes: int) -> NodeProto:
    attributes = {"K": K, "N": N, "bits": 4, "block_size": BLOCK} | changes
    return node("MatMulNBits", ["x", "w", "s", *more], ["h"], **MICROSOFT, **attributes)


def bnb4(kind: int, **changes: int) -> NodeProto:
    attributes = {"K": K, "N": N, "quant_type": kind, "block_size": BLOCK} | changes
    return node("MatMulBnb4", ["x", "w", "s"], ["h"], **MICROSOFT, **attributes)


def model(packed: NodeProto, *after: NodeProto, shape: tuple[int, ...] = (2, 3, K)) -> ModelProto:
    random = rng()
    codes = random.integers(0, 256, K * N // 2).astype(np.uint8)
    weights = {
        "w": codes.reshape(N, K // BLOCK, -1) if packed.op_type == "MatMulNBits" else codes,
        "s": random.uniform(0.1, 1, K * N // BLOCK).astype(np.float32),
        "b": random.standard_normal(N).astype(np.float32),
    }
    last = [*after, node("Identity", [after[-1].output[0] if after else "h"], ["y"])]
    result = graph_model([packed, *last], {"x": shape}, weights)
    result.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return result


def matrix(packed: NodeProto) -> np.ndarray:
    """[K, N], by onnxruntime."""
    session = runtime.session(model(packed, shape=(K, K)))
    (seen,) = session.run(None, {"x": np.eye(K, dtype=np.float32)})
    (zero,) = session.run(None, {"x": np.zeros((K, K), np.float32)})
    return (seen - zero).astype(np.float64)


PRODUCTS = {
    "4 bits": n_bits(),
    "4 bits and a bias": n_bits("", "", "b"),
    "floats": bnb4(0),
    "quantiles": bnb4(1),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_bound_is_the_norm_of_the_matrix(name: str) -> None:
    """And of what follows, whose shape is known."""
    found, norm = bounded(model(PRODUCTS[name])), np.linalg.norm(matrix(PRODUCTS[name]), 2)
    assert found.lipschitz == pytest.approx(norm, rel=1e-5)
    normal = node("LayerNormalization", ["h", "b"], ["n"], epsilon=1.0)
    assert bounded(model(PRODUCTS[name], normal)).status == BOUNDED


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_what_comes_out_are_bounded_by_a_range(name: str) -> None:
    """The entries of the result are known by those of the input and the bias."""
    square = node("Mul", ["h", "h"], ["n"])
    found = bounded(model(PRODUCTS[name], square), (-1.0, 1.0))
    whole = matrix(PRODUCTS[name])
    session = runtime.session(model(PRODUCTS[name]))
    signs = np.sign(whole[:, 0]).astype(np.float32)
    value = session.run(None, {"x": np.broadcast_to(signs, (2, 3, K)).copy()})[0][0, 0]
    slope = np.linalg.norm(2 * value[:, None] * whole.T, 2)
    assert found.status == BOUNDED
    assert slope <= found.lipschitz < 100 * slope


@pytest.mark.parametrize("kind", [0, 1])
def test_codes_of_bitsandbytes_are_read_as_onnxruntime_does(kind: int) -> None:
    packed = bnb4(kind)
    (row,) = network(model(packed)).layers
    assert isinstance(row, Layer)
    assert (row.op, row.kernel_shape) == ("MatMulBnb4", (N, K))
    np.testing.assert_allclose(row.read().numpy().T, matrix(packed), rtol=1e-6, atol=1e-6)


def test_a_matrix_that_is_not_turned_has_the_same_codes_in_another_order() -> None:
    (turned,), (other,) = (network(model(bnb4(1, transB=flag))).layers for flag in (1, 0))
    assert other.kernel_shape == (N, K)
    np.testing.assert_array_equal(other.read().numpy().T.ravel(), turned.read().numpy().ravel())


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (bnb4(2), "of a type"),
        (bnb4(0, K=K + 2), "does not fit"),
        (bnb4(0, block_size=8), "does not fit"),
        (bnb4(0, N=2**40), "of sizes"),
        (bnb4(0, K=-1), "of sizes"),
        (n_bits(weight_prepacked=1), "weight_prepacked"),
    ],
)
def test_what_is_not_read_is_listed_and_has_no_bound(packed: NodeProto, reason: str) -> None:
    (row,) = network(model(packed)).layers
    assert isinstance(row, UnsupportedLayer)
    assert reason in row.reason
    assert bounded(model(packed)).status != BOUNDED
