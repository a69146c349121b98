"""What runs of an ONNX model runs in a child process: what that is sent, and what becomes of its end."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convsv_cli import audit, empirical, load
from convsv_cli.confinement import Limits
from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.onnx import confined
from convsv_cli.loaders.onnx.confined import restore, stripped
from convsv_cli.loaders.onnx.shape_inference import skeleton_of
from tests.support.command_line import COMMAND_LINE
from tests.support.onnx_models import graph_model, normal, saved
from tests.support.processes import children, ends

node = helper.make_node
X = {"x": ["n", 8, 12, 12]}


def constant(name: str, array: np.ndarray) -> onnx.NodeProto:
    return node("Constant", [], [name], value=numpy_helper.from_array(array))


def conv_model() -> onnx.ModelProto:
    nodes = [node("Conv", ["x", "w"], ["h"]), node("Conv", ["h", "v"], ["y"])]
    return graph_model(nodes, X, {"w": normal(8, 8, 3, 3), "v": normal(8, 8, 3, 3)})


def branching() -> onnx.ModelProto:
    """Weights of 0.5 MB each: an initializer, a Constant, and the same two in a body."""
    weights = {name: normal(512, 256) for name in ("a", "c")}
    inner = helper.make_graph(
        [
            constant("d", normal(512, 256)),
            node("MatMul", ["h", "c"], ["i"]),
            node("Transpose", ["d"], ["e"]),
            node("MatMul", ["i", "e"], ["o"]),
        ],
        "inner",
        [],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights["c"], "c")],
    )
    nodes = [
        node("MatMul", ["x", "a"], ["f"]),
        constant("b", normal(512, 256)),
        node("Transpose", ["b"], ["t"]),
        node("MatMul", ["f", "t"], ["h"]),
        node("If", ["which"], ["y"], then_branch=inner, else_branch=inner),
    ]
    model = graph_model(nodes, {"x": ["n", 512]}, {"a": weights["a"]})
    model.graph.input.append(helper.make_tensor_value_info("which", TensorProto.BOOL, []))
    return model


def test_inference_sees_no_weights_and_finds_the_same_shapes(tmp_path: Path) -> None:
    model = branching()
    assert model.ByteSize() > 2e6
    assert skeleton_of(model, Path("model.onnx")).ByteSize() < 4096
    graph = load(saved(model, tmp_path)).graph
    assert graph is not None
    assert [graph.shapes[name] for name in ("f", "t", "h", "y")] == [(1, 256), (256, 512), (1, 512), (1, 512)]
    assert {graph.shapes[name] for name in graph.shapes if name.endswith("/i")} == {(1, 256)}
    assert len(load(saved(model, tmp_path)).layers) == 6


def test_tensors_are_taken_out_and_put_back() -> None:
    model = branching()
    light, taken = stripped(model)
    assert light.ByteSize() < 4096
    assert len(taken) == 6
    restore(light, taken)
    assert light == model


def calling(times: int) -> onnx.ModelProto:
    """A function that holds a large weight, of another operator set, called so many times."""
    body = [constant("w", normal(8, 8, 9, 9)), node("Conv", ["a", "w"], ["b"], pads=[4] * 4)]
    function = helper.make_function("local", "block", ["a"], ["b"], body, [helper.make_opsetid("", 18)])
    names = ["x", *(f"v{i}" for i in range(times - 1)), "y"]
    calls = [node("block", [a], [b], domain="local") for a, b in itertools.pairwise(names)]
    return graph_model(calls, X, {}, functions=[function])


def test_functions_get_their_weights_back(tmp_path: Path) -> None:
    layers = load(saved(calling(2), tmp_path)).layers
    assert len(layers) == 2
    for layer in layers:
        assert np.array_equal(layer.read().numpy(), normal(8, 8, 9, 9))


def test_a_function_that_multiplies_its_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsafeModelError, match="repeat their constants"):
        load(saved(calling(40), tmp_path))


def stop(monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    monkeypatch.setattr(confined, "TASK", f"tests.support.confined_tasks:{task}")
    monkeypatch.setattr(confined, "limits", lambda _size: Limits(seconds=1, processor=9, memory=2**28))


@pytest.mark.parametrize(("task", "why"), [("sleep", "more than 1 s"), ("swell", "memory"), ("crash", "11")])
def test_without_inference_the_audit_goes_on(tmp_path: Path, monkeypatch, task: str, why: str) -> None:
    path = saved(conv_model(), tmp_path)
    complete = audit(path, input_size=12, exact=True)
    stop(monkeypatch, task)
    result = audit(path, input_size=12, exact=True)
    for layer, whole in zip(result.layers, complete.layers, strict=True):
        assert layer.measurement("certified").enclosure == whole.measurement("certified").enclosure
    assert [layer.input_size for layer in complete.layers] == [(12, 12), (10, 10)]
    assert [layer.input_size for layer in result.layers] == [(12, 12), None]
    (note,) = (finding for finding in result.findings if finding.rule == "file")
    assert "shape inference was stopped" in note.message
    assert why in note.message


@pytest.mark.parametrize("task", ["sleep", "swell", "crash"])
def test_without_inlining_the_file_is_refused(tmp_path: Path, monkeypatch, task: str) -> None:
    path = saved(calling(2), tmp_path)
    stop(monkeypatch, task)
    with pytest.raises(UnsafeModelError, match="cannot be inlined") as caught:
        load(path)
    assert caught.value.exit_code == 4


def test_functions_that_onnx_rejects_are_one_line(tmp_path: Path, monkeypatch) -> None:
    path = saved(calling(2), tmp_path)
    stop(monkeypatch, "fail")
    with pytest.raises(UnreadableModelError, match="damaged: ValueError: a fault"):
        load(path)


def endless() -> onnx.ModelProto:
    """A loop of 2^62 steps, which is a valid program."""
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Neg", ["h"], ["i"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("i", TensorProto.FLOAT, None),
        ],
    )
    weights = {"count": np.array(2**62), "w": normal(4, 4)}
    nodes = [node("MatMul", ["x", "w"], ["z"]), node("Loop", ["count", "", "z"], ["y"], body=body)]
    return graph_model(nodes, {"x": ["n", 4]}, weights)


def test_a_model_that_never_ends_is_refused(tmp_path: Path, monkeypatch) -> None:
    path = saved(endless(), tmp_path)
    assert len(audit(path).layers) == 1
    monkeypatch.setattr(
        empirical, "limits_of", lambda _weights: Limits(seconds=3, processor=60, memory=2**32, reads=True)
    )
    with pytest.raises(UnsafeModelError, match="more than 3 s") as caught:
        audit(path, empirical="random")
    assert caught.value.exit_code == 4


def test_a_model_that_wants_all_memory_is_refused(tmp_path: Path, monkeypatch) -> None:
    nodes = [node("Expand", ["x", "shape"], ["e"]), node("ReduceSum", ["e"], ["y"])]
    path = saved(graph_model(nodes, {"x": ["n", 1]}, {"shape": np.array([1 << 20, 1 << 12])}), tmp_path)
    monkeypatch.setattr(
        empirical, "limits_of", lambda _weights: Limits(seconds=60, processor=60, memory=2**30, reads=True)
    )
    start = time.monotonic()
    with pytest.raises(Exception, match=r"cannot run|stopped") as caught:
        audit(path, empirical="random")
    assert caught.value.exit_code in (2, 4)
    assert time.monotonic() - start < 30


SCRIPT = """
import sys
from convsv_cli import audit
shares = []
result = audit(sys.argv[1], empirical="random", progress=lambda task, share: shares.append((task, share)))
assert result.bound.empirical.ratio > 0
assert [share for task, share in shares if task == "empirical lower bound"][-1] == 1
assert "onnxruntime" not in sys.modules
"""


def test_the_tool_itself_never_imports_onnxruntime(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", SCRIPT, str(saved(conv_model(), tmp_path))], check=True)


def test_limits_grow_with_the_model() -> None:
    small, large = empirical.limits_of(0), empirical.limits_of(1 << 30)
    assert (small.seconds, large.seconds) == (600, 600 + 1024)
    assert large.memory == small.memory + 6 * (1 << 30)
    assert confined.limits(0).seconds <= 10
    assert confined.limits(1 << 26).seconds > 300


def test_an_interrupt_ends_the_search_in_both_processes(tmp_path: Path) -> None:
    path = saved(endless(), tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND_LINE, "audit", str(path), "--empirical", "random"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        server, search = running(process.pid)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()
    assert (process.returncode, errors.strip()) == (130, "convsv: interrupted")
    assert ends(server)
    assert ends(search)


def running(parent: int) -> tuple[int, int]:
    """The child, and the process of its own that has worked for two seconds: the search that never ends."""
    since: dict[tuple[int, int], float] = {}
    end = time.monotonic() + 60
    while time.monotonic() < end:
        pairs = [(child, grandchild) for child in children(parent) for grandchild in children(child)]
        since = {pair: since.get(pair, time.monotonic()) for pair in pairs}
        for pair, start in since.items():
            if time.monotonic() - start > 2:
                return pair
        time.sleep(0.1)
    pytest.fail("no search is running")
