"""Networks of the well-known architectures: bounded on a range, and everywhere where they can be."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.zoo import NETS, steepest
from benchmarks.zoo_export import EXPORTERS, export
from convsv_cli.report import NetworkBound
from tests.support.whole_bounds import bounded

UNBOUNDED = frozenset(
    (
        *("attention", "attention-causal", "sdpa", "sdpa-causal", "multihead", "multihead-weights"),
        *("encoder-post", "efficientnet", "mobilenet-v3", "regnet-y", "cbam", "glu", "highway"),
    )
)
"""They multiply what may be arbitrarily large: without a range there is no Lipschitz constant."""
UNKNOWN = frozenset(("attention-l2",))
"""It has a constant, which is not known without a range (Kim, Papamakarios & Mnih, ICML 2021)."""
FUSED = frozenset(("sdpa", "sdpa-causal", "multihead", "encoder-post", "encoder-pre", "vit", "clip"))
"""Their attention has no export before opset 14."""
DEFAULT = (
    ("bert", "script", 13),
    ("mobilenet-v3", "script", 17),
    ("llama", "script", 17),
    ("vit", "dynamo", 20),
)
EXPORTS = (("dynamo", 20), ("script", 17), ("script", 13))
TURNS = [(name, *EXPORTS[i // 2 % len(EXPORTS)]) for i, name in enumerate(NETS) if i % 2]
ALL = [(name, exporter, 17 if name in FUSED and opset < 14 else opset) for name, exporter, opset in TURNS]
"""Every other one; `benchmarks/zoo.py` has all, of every exporter and at every operator set."""


def exported(name: str, exporter: str, opset: int, folder: Path) -> Path:
    path, net = folder / "net.onnx", NETS[name]
    assert export(net.built(), net.points()[0], path, dynamo=EXPORTERS[exporter], opset=opset) == ""
    return path


def told(bound: NetworkBound) -> list[str]:
    return [f"{each.op}: {each.reason}" for each in bound.obstacles]


def check(name: str, exporter: str, opset: int, folder: Path) -> None:
    path = exported(name, exporter, opset, folder)
    free, boxed = bounded(path), bounded(path, NETS[name].box)
    assert told(boxed) == []
    assert steepest(NETS[name]) <= boxed.lipschitz < math.inf
    assert boxed.lipschitz <= free.lipschitz * (1 + 1e-9)
    assert (free.lipschitz == math.inf) == (name in UNBOUNDED | UNKNOWN), told(free)
    if name in UNBOUNDED:
        assert all("a product of two activations" in each for each in told(free))


@pytest.mark.parametrize(("name", "exporter", "opset"), DEFAULT)
def test_networks_have_a_bound(name: str, exporter: str, opset: int, tmp_path: Path) -> None:
    check(name, exporter, opset, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "exporter", "opset"), ALL)
def test_all_of_them_have_one(name: str, exporter: str, opset: int, tmp_path: Path) -> None:
    check(name, exporter, opset, tmp_path)
