"""Operators that onnxruntime contributes are read as ONNX's own: the same values, and bounds that hold."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import NodeProto, helper
from onnx.helper import make_node as node

from convsv_cli.model.layer import UnsupportedLayer
from convsv_cli.report import BOUNDED, UNBOUNDED
from tests.support.contributed_cases import cases
from tests.support.contributed_nodes import INTERNAL, MICROSOFT, Case, drawn, evaluator
from tests.support.onnx_models import graph_model
from tests.support.sensitivity import network
from tests.support.whole_bounds import bounded

CASES = cases()
JUMPING = "FusedGemm ThresholdedRelu"
QUICKLY = ("FusedConv sum", "FusedMatMul of activations", "Attention, causal", "SkipLayerNormalization")
WORDS = {name for name, case in CASES.items() if case.feeds}
"""Cases whose inputs are no real numbers, of which there is no Jacobian."""
REST = pytest.mark.parametrize("name", sorted(CASES.keys() - {*QUICKLY} - WORDS))
PLAIN = {case.op: name for name, case in reversed(CASES.items())}
"""The first case of each operator."""
VARIED = pytest.mark.parametrize("name", sorted(CASES.keys() - {*PLAIN.values()}))


@pytest.mark.parametrize("name", PLAIN.values())
def test_what_is_read_computes_the_same(name: str) -> None:
    _check_values(name)


@pytest.mark.exhaustive
@VARIED
def test_further_attributes_and_inputs_are_read(name: str) -> None:
    _check_values(name)


def _check_values(name: str) -> None:
    case, random = CASES[name], np.random.default_rng(1)
    original, read = case.computed(), evaluator(case.read())
    for scale in (0.1, 1.0, 5.0):
        feeds = case.sample(random, scale)
        for expected, found in zip(original(feeds), read(feeds), strict=True):
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-4 * scale)


@pytest.mark.parametrize("name", QUICKLY)
def test_no_jacobian_is_above_the_bound(name: str) -> None:
    _check_jacobians(name)


@pytest.mark.exhaustive
@REST
def test_no_jacobian_of_another_is_above_the_bound(name: str) -> None:
    _check_jacobians(name)


def _check_jacobians(name: str) -> None:
    """In single precision, so with steps that are not small; bounds are of inputs between -8 and 8."""
    case, random = CASES[name], np.random.default_rng(2)
    found = bounded(case.model(), (-8.0, 8.0))
    assert (found.status == BOUNDED) == (name != JUMPING), found.obstacles
    for scale in (0.1, 0.3, 1.0, 1.0, 2.0, 4.0):
        feeds = {name: values.clip(-7.9, 7.9) for name, values in case.sample(random, scale).items()}
        norm = np.linalg.norm(_jacobian(case, feeds), 2)
        assert norm <= found.lipschitz * (1 + 2e-3), (norm, found.lipschitz)


def _jacobian(case: Case, feeds: dict[str, np.ndarray], step: float = 1e-2) -> np.ndarray:
    """By central differences, all inputs and all outputs one after the other."""
    run, columns = case.computed(), []
    for values in feeds.values():
        for place in range(values.size):
            kept, sides = values.flat[place], []
            for sign in (1, -1):
                values.flat[place] = kept + sign * step
                sides.append(np.concatenate([np.ravel(each) for each in run(feeds)]).astype(np.float64))
            values.flat[place] = kept
            columns.append((sides[0] - sides[1]) / (2 * step))
    return np.stack(columns, 1)


def _slope(function: str, alpha: float = 1.0) -> float:
    """The largest one of Gelu, exact or not, or of x sigmoid(alpha x)."""
    import torch

    x = torch.linspace(-10, 10, 200_001, dtype=torch.float64, requires_grad=True)
    if function == "sigmoid":
        y = x * torch.sigmoid(alpha * x)
    else:
        y = torch.nn.functional.gelu(x, approximate=function)
    (slopes,) = torch.autograd.grad(y.sum(), x)
    return float(slopes.abs().max())


def _known() -> dict[str, tuple[Case, float]]:
    gamma = drawn(8)
    places, angles = np.array([[0, 1, 2, 3]], np.int64), np.random.default_rng(0).uniform(0, 6, (4, 2))
    tables = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    weight = drawn(6, 5)
    return {
        "QuickGelu": (Case(op="QuickGelu", inputs=((3, 6),)), _slope("sigmoid", 1.702)),
        "FastGelu": (Case(op="FastGelu", inputs=((3, 6), drawn(6))), _slope("tanh")),
        "BiasGelu": (Case(op="BiasGelu", inputs=((3, 6), drawn(6))), _slope("none")),
        "RotaryEmbedding": (Case(op="RotaryEmbedding", inputs=((1, 2, 4, 4), places, *tables)), 1.0),
        "BiasAdd": (
            Case(op="BiasAdd", inputs=((1, 3, 4), drawn(4), (1, 3, 4))),
            np.sqrt(2),
        ),
        "FusedMatMul": (
            Case(op="FusedMatMul", inputs=((3, 6), weight), attributes={"alpha": -0.7}),
            0.7 * np.linalg.norm(weight, 2),
        ),
        "SkipLayerNormalization": (
            Case(
                op="SkipLayerNormalization",
                inputs=((1, 4, 8), drawn(8), gamma),
                attributes={"epsilon": 0.01},
            ),
            _normalised(gamma, 0.01),
        ),
    }


def _normalised(gamma: np.ndarray, epsilon: float) -> float:
    centred = np.eye(gamma.size) - 1 / gamma.size
    return float(np.linalg.norm(gamma[:, None] * centred, 2)) / np.sqrt(epsilon)


KNOWN = _known()


@pytest.mark.parametrize("name", KNOWN)
def test_bounds_are_the_supremum_where_that_is_known(name: str) -> None:
    case, supremum = KNOWN[name]
    assert 1 - 1e-6 <= bounded(case.model()).lipschitz / supremum < 1.01


def test_a_tensor_that_is_added_to_itself_counts_twice() -> None:
    gamma = drawn(8)
    twice = node("SkipLayerNormalization", ["x", "x", "g"], ["y"], domain=MICROSOFT, epsilon=0.01)
    found = bounded(_model([twice], {"g": gamma}, (1, 4, 8))).lipschitz
    assert 1 - 1e-6 <= found / (2 * _normalised(gamma, 0.01)) < 1.01


def _model(nodes: list[NodeProto], weights: dict[str, np.ndarray], shape: tuple[int, ...], opset: int = 20):
    model = graph_model(nodes, {"x": shape}, weights, opset=opset)
    model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return model


@pytest.mark.parametrize("opset", [11, 13, 17, 23])
def test_every_operator_set_has_the_same_bound(opset: int) -> None:
    """Operators in which something is read may be newer than the model's operator set."""
    weights = {"g": drawn(8), "w": drawn(8, 24), "v": drawn(5, 8)}
    nodes = [
        node("SkipLayerNormalization", ["x", "x", "g"], ["a"], domain=MICROSOFT, epsilon=0.1),
        node("Attention", ["a", "w", ""], ["b"], domain=MICROSOFT, num_heads=2, unidirectional=1),
        node("Relu", ["b"], ["r"]),
        node("FusedMatMul", ["r", "v"], ["c"], domain=MICROSOFT, transB=1),
        node("FusedMatMul", ["c", "c"], ["d"], domain=MICROSOFT, transB=1, alpha=0.1),
        node("Gelu", ["d"], ["y"], domain=MICROSOFT),
    ]
    found, newest = (bounded(_model(nodes, weights, (1, 4, 8), each), (-1.0, 1.0)) for each in (opset, 23))
    if opset < 12:  # it has no Einsum, which the products of unknown axes are
        assert [each.op for each in found.obstacles] == ["FusedMatMul"]
    else:
        assert found.lipschitz == pytest.approx(newest.lipschitz, rel=1e-9)


def test_the_parts_of_attention_are_rows() -> None:
    weight = drawn(8, 24)
    attend = node("Attention", ["x", "qkv.weight"], ["y"], "attn", domain=MICROSOFT, num_heads=2)
    rows = network(_model([attend], {"qkv.weight": weight}, (1, 4, 8))).layers
    kernels = [row.read().numpy() for row in rows]
    assert [kernel.shape for kernel in kernels] == [(8, 8)] * 3
    for kernel, part in zip(kernels, np.split(weight, 3, axis=1), strict=True):
        assert np.array_equal(kernel, part) or np.array_equal(kernel.T, part)


UNREAD = {
    "activation": (
        ("FusedConv", ["x", "w"], {"activation": "Mish"}),
        "whose activation is 'Mish' with 0 parameters",
    ),
    "parameters": (("FusedConv", ["x", "w"], {"activation": "LeakyRelu"}), "'LeakyRelu' with 0 parameters"),
    "attribute": (("FusedConv", ["x", "w"], {"later": 1}), "whose attribute 'later' convsv does not know"),
    "type": (("FusedConv", ["x", "w"], {"group": "one"}), "'group' has the wrong type"),
    "input": (("FusedConv", ["x", "w", "", "", "w"], {}), "with an input 4"),
    "kernel": (("FusedConv", ["x", "x"], {}), "whose input 'x' is not stored"),
    "layout": (("NhwcConv", ["x", "w"], {}), "in either of two layouts"),
    "past": (("Attention", ["x", "m", "", "", "p"], {"num_heads": 1}), "with an input 4"),
    "rotary": (("Attention", ["x", "m"], {"num_heads": 1, "do_rotary": 1}), "whose do_rotary is 1"),
    "flag": (("FusedMatMul", ["x", "m"], {"transB": 2}), "whose transB is 2, and not 0 or 1"),
    "heads": (("Attention", ["x", "m"], {"num_heads": 2}), "hidden sizes do not fit"),
    "padding": (
        ("GroupQueryAttention", ["x", "x", "x", "", "", "n", "n"], {"num_heads": 1, "kv_num_heads": 1}),
        "whose sequences have padding",
    ),
    "window": (
        (
            "GroupQueryAttention",
            ["x", "x", "x", "", "", "n", "n"],
            {"num_heads": 1, "kv_num_heads": 1, "local_window_size": 2, "causal": 0},
        ),
        "which has a window",
    ),
    "groups": (("GroupNorm", ["x", "m", "m"], {"groups": 7, "activation": 0}), "whose groups are 7"),
    "scaled": (("RotaryEmbedding", ["x", "n", "m", "m"], {"scale": 2.0}), "whose angles are scaled"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_cannot_be_read_exactly_says_why(name: str) -> None:
    (op, inputs, attributes), reason = UNREAD[name]
    weights = {"w": drawn(3, 3, 3, 3), "m": drawn(3, 3), "p": drawn(2, 1), "n": np.array([1], np.int32)}
    odd = node(op, inputs, ["y"], "odd", domain=MICROSOFT, **attributes)
    model = _model([odd], weights, (1, 3, 5, 5))
    found = bounded(model)
    assert found.status == UNBOUNDED
    (obstacle,) = found.obstacles
    assert obstacle.reason.startswith(f"a {op}, ")
    assert reason in obstacle.reason
    for row in network(model).layers:
        assert isinstance(row, UnsupportedLayer)
        assert reason in row.reason


def test_outputs_that_nothing_uses_do_not_matter() -> None:
    spare = node("SkipLayerNormalization", ["x", "x", "g"], ["y", "mean"], domain=MICROSOFT)
    unused, used = (_model([spare], {"g": drawn(8)}, (1, 4, 8)) for _ in range(2))
    assert bounded(unused).status == BOUNDED
    used.graph.output.append(helper.make_tensor_value_info("mean", 1, None))
    (obstacle,) = bounded(used).obstacles
    assert "whose output 1 is used" in obstacle.reason


def test_blocks_of_channels_name_the_level_to_save_at() -> None:
    conv = node("Conv", ["x", "w"], ["y"], domain="com.microsoft.nchwc", activation="Relu")
    model = graph_model([conv], {"x": (1, 8, 5, 5)}, {"w": drawn(8, 8, 3, 3)})
    (obstacle,) = bounded(model).obstacles
    assert "save it at the level ORT_ENABLE_EXTENDED" in obstacle.reason


def test_bodies_are_read_too() -> None:
    body = helper.make_graph(
        [node("FusedMatMul", ["x", "w"], ["b"], domain=MICROSOFT, alpha=2.0)],
        "body",
        [],
        [helper.make_tensor_value_info("b", 1, None)],
    )
    choice = node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    weight = drawn(6, 5)
    model = _model([choice], {"w": weight, "c": np.array(True)}, (3, 6))
    (row,) = network(model).layers
    assert np.allclose(row.read().numpy().T, weight) or np.allclose(row.read().numpy(), weight)
    assert 2 * np.linalg.norm(weight, 2) <= bounded(model).lipschitz * (1 + 1e-9)


@pytest.mark.parametrize("channels", [3, 4])
def test_channels_last_of_every_domain(channels: int) -> None:
    """A kernel that fits both layouts is read where the operator's definition says which."""
    kernel = drawn(5, channels, 3, 3)
    found = []
    for domain, op in ((INTERNAL, "Conv"), (MICROSOFT, "NhwcFusedConv"), (MICROSOFT, "NhwcConv")):
        conv = node(op, ["x", "w"], ["y"], domain=domain, kernel_shape=[3, 3])
        found.append(bounded(graph_model([conv], {"x": (1, 6, 6, channels)}, {"w": kernel})).lipschitz)
    assert found[0] == found[1] < np.inf
    assert (found[2] == found[0]) == (channels == 4)


def test_a_reason_in_a_file_is_not_believed() -> None:
    odd = {"convsv.reason": "it is secret"}
    model = _model([node("Gelu", ["x"], ["y"], domain=MICROSOFT, **odd)], {}, (2, 3))
    assert bounded(model).status == BOUNDED


def test_a_function_of_the_file_is_what_it_says() -> None:
    body = [node("Neg", ["x"], ["y"])]
    function = helper.make_function(MICROSOFT, "Gelu", ["x"], ["y"], body, [helper.make_opsetid("", 20)])
    model = graph_model(
        [node("Gelu", ["x"], ["y"], domain=MICROSOFT)], {"x": (2, 3)}, {}, functions=[function]
    )
    model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    assert bounded(model).lipschitz == pytest.approx(1.0)
