"""Steps compute what the graph computes, and what has no rule says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from convsv_cli.local.lowering import lowered
from convsv_cli.local.steps import NoLocalCertificateError
from tests.support import runtime
from tests.support.local_nets import Net, own_norms, random_net


@pytest.mark.parametrize("seed", range(60))
def test_steps_compute_what_the_runtime_does(seed: int, tmp_path: Path) -> None:
    net = random_net(seed)
    program = lowered(net.graph(tmp_path), own_norms())
    x = np.random.default_rng(seed).standard_normal(net.shapes["x"]).astype(np.float32)
    (expected,) = runtime.session(tmp_path / "model.onnx").run(None, {"x": x})
    found = program.values(torch.from_numpy(x).double()[None])[program.output][0]
    assert np.allclose(found.numpy(), expected, atol=1e-4 * (1 + np.abs(expected).max()))


def test_attention_stands_in_the_way(tmp_path: Path) -> None:
    net = Net(0, (1, 2, 3))
    net.add("Softmax", "x")
    with pytest.raises(NoLocalCertificateError, match=r"no local certificate, because Softmax 'Softmax_t0'"):
        lowered(net.graph(tmp_path), own_norms())


def test_products_of_activations_stand_in_the_way(tmp_path: Path) -> None:
    net = Net(0, (1, 3))
    net.add("MatMul", "x", net.normal(3, 3))
    net.add("Mul", "x", "t0")
    with pytest.raises(NoLocalCertificateError, match="multiplies or divides two tensors that both vary"):
        lowered(net.graph(tmp_path), own_norms())


def test_what_an_exporter_has_taken_apart_is_put_together(tmp_path: Path) -> None:
    net = Net(0, (1, 3))
    net.add("Sigmoid", "x")
    net.add("Mul", "x", "t0")
    program = lowered(net.graph(tmp_path), own_norms())
    x = torch.linspace(-4, 4, 3, dtype=torch.float64).reshape(1, 1, 3)
    assert program.values(x)[program.output] == pytest.approx(x * x.sigmoid(), abs=1e-12)
