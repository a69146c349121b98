"""Names without the wrappers that training puts into them, in every format, anywhere in the path."""

from __future__ import annotations

import copy
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from safetensors.torch import save_file
from torch import nn

from convsv_cli import api
from convsv_cli.loaders import load, load_with_graph
from convsv_cli.names import counterparts, plain_names, says_nothing
from tests.support.onnx_models import graph_model, saved

WRAPPERS = (
    "module",
    "_orig_mod",
    "_checkpoint_wrapped_module",
    "_fsdp_wrapped_module",
    "_forward_module",
    "_fpw_module",
    "_module",
)
PATHS = {"layer1.0.conv.weight": (4, 3, 3, 3), "layer1.0.conv.bias": (4,), "head.weight": (4, 4, 1, 1)}
WRAPPED = {
    "layer1._orig_mod.0.conv._checkpoint_wrapped_module.weight": "layer1.0.conv.weight",
    "module.encoder.module.conv": "encoder.conv",
    "_orig_mod._orig_mod.module.a.weight": "a.weight",
    "a._fsdp_wrapped_module._checkpoint_wrapped_module.b._forward_module.weight": "a.b.weight",
    "encoder.module": "encoder",
    "loop/layer1._orig_mod.0": "loop/layer1.0",
    "submodule.modules.module_list.weight": "submodule.modules.module_list.weight",
    "module": "module",
    "_orig_mod.module": "_orig_mod.module",
    "": "",
}


@pytest.mark.parametrize(("name", "plain"), WRAPPED.items())
def test_wrappers_are_no_part_of_a_name(name: str, plain: str) -> None:
    assert plain_names([name]) == {name: plain}


PARTS = st.lists(st.sampled_from([*WRAPPERS, "a", "b"]), min_size=1, max_size=5)


@given(st.lists(PARTS.map(".".join), unique=True, max_size=8))
def test_no_two_names_become_one_and_no_name_becomes_empty(names: list[str]) -> None:
    plain = plain_names(names)
    assert len(set(plain.values())) == len(names)
    assert all(plain.values())
    assert not any(name for name in names if not set(name.split(".")) & set(WRAPPERS) and plain[name] != name)


def test_a_module_of_that_name_keeps_it_with_all_that_is_in_it() -> None:
    """Its bias must not become that of the layer around it."""
    names = ["conv.module.weight", "conv.module.bias", "conv.weight", "module.fc.weight"]
    assert list(plain_names(names).values()) == [*names[:3], "fc.weight"]


def test_counterparts_are_equal_then_plain_then_inside_another_network() -> None:
    assert counterparts(["a", "_orig_mod.b", "c"], ["a", "b", "module.c"]) == {
        "a": "a",
        "b": "_orig_mod.b",
        "module.c": "c",
    }
    assert counterparts(["model.0", "model.2"], ["model.model.0", "model._orig_mod.model.2"]) == {
        "model.model.0": "model.0",
        "model._orig_mod.model.2": "model.2",
    }
    assert counterparts(["encoder.conv"], ["decoder.conv"]) == {}


@pytest.mark.parametrize(
    ("name", "op", "expected"),
    [
        ("onnx::Conv_54", "Conv", True),
        ("Conv_12", "Conv", True),
        ("MatMul", "MatMul", True),
        ("val_7", "Gemm", True),
        ("", "Gemm", True),
        ("conv1", "Conv", False),
        ("0", "Gemm", False),
        ("Conv_stem", "Conv", False),
    ],
)
def test_names_that_exporters_made_up(name: str, op: str, expected: bool) -> None:
    assert says_nothing(name, op) == expected


def wrapped(wrapper: str) -> dict[str, torch.Tensor]:
    """Values by names with a wrapper before each part of the path, the last one left out."""
    generator = torch.Generator().manual_seed(1)
    return {
        ".".join(f"{wrapper}.{part}" for part in path.split(".")[:-1])
        + f".{wrapper}.{path.rpartition('.')[2]}": torch.randn(shape, generator=generator)
        for path, shape in PATHS.items()
    }


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    nodes = [
        helper.make_node("Conv", ["x", "layer1.0.conv.weight", "layer1.0.conv.bias"], ["h"]),
        helper.make_node("Conv", ["h", "head.weight"], ["y"]),
    ]
    weights = {name: torch.ones(shape).numpy() for name, shape in PATHS.items()}
    return saved(graph_model(nodes, {"x": [1, 3, 8, 8]}, weights), tmp_path)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_format_and_the_transplant_see_through_wrappers(
    wrapper: str, graph: Path, tmp_path: Path
) -> None:
    state = wrapped(wrapper)
    torch.save({"state_dict": state}, tmp_path / "net.ckpt")
    save_file(state, tmp_path / "net.safetensors")
    for path in (tmp_path / "net.ckpt", tmp_path / "net.safetensors"):
        assert {row.name for row in load(path).layers} == {"layer1.0.conv", "head"}
        network = load_with_graph(path, graph)
        assert [row.name for row in network.layers] == ["layer1.0.conv", "head"]
        for row, values in zip(network.layers, list(state.values())[::2], strict=True):
            assert torch.equal(row.read(), values)


def test_a_wrapped_export_takes_a_plain_checkpoint(tmp_path: Path) -> None:
    """The graph is that of a compiled network, with a wrapper inside; its rows have plain names."""
    nodes = [helper.make_node("Conv", ["x", "net._orig_mod.conv._checkpoint_wrapped_module.weight"], ["y"])]
    weight = torch.full((4, 3, 3, 3), 2.0)
    stored = {"net._orig_mod.conv._checkpoint_wrapped_module.weight": torch.ones(4, 3, 3, 3).numpy()}
    path = saved(graph_model(nodes, {"x": [1, 3, 8, 8]}, stored), tmp_path)
    assert [row.name for row in load(path).layers] == ["net.conv"]
    torch.save({"module.net.conv.weight": weight}, tmp_path / "net.pt")
    (row,) = load_with_graph(tmp_path / "net.pt", path).layers
    assert torch.equal(row.read(), weight)


class Checkpointed(nn.Module):
    """Keeps what it wraps as activation checkpointing does."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self._checkpoint_wrapped_module = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._checkpoint_wrapped_module(x)


def test_programs_and_averaged_models(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(OrderedDict(a=nn.Linear(4, 5), b=nn.Linear(5, 3)))
    net = copy.deepcopy(plain)
    net.a = Checkpointed(net.a)
    torch.export.save(torch.export.export(net, (torch.ones(1, 4),)), tmp_path / "net.pt2")
    torch.jit.script(net).save(tmp_path / "net.jit")
    torch.save(torch.optim.swa_utils.AveragedModel(net).state_dict(), tmp_path / "averaged.pt")
    torch.save({"state_dict": {f"model.{n}": t for n, t in net.state_dict().items()}}, tmp_path / "l.ckpt")
    for name in ("net.pt2", "net.jit", "averaged.pt", "l.ckpt"):
        rows = load(tmp_path / name).layers
        assert [row.name for row in rows] == ["a", "b"], name
        assert torch.equal(rows[0].read(), plain.a.weight), name


def test_a_shard_with_wrapped_names(tmp_path: Path) -> None:
    state = wrapped("_orig_mod")
    torch.save(state, tmp_path / "model-1.bin")
    index = ", ".join(f'"{name}": "model-1.bin"' for name in state)
    (tmp_path / "model.bin.index.json").write_text(f'{{"weight_map": {{{index}}}}}')
    audit = api.audit(tmp_path / "model.bin.index.json")
    assert [row.name for row in audit.layers] == ["layer1.0.conv", "head"]
