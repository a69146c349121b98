"""Files that once ended in an internal error; `benchmarks/fuzz.py` found them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from convsv_cli import audit, load, spectral_norm
from convsv_cli.errors import UnreadableModelError
from tests.support.onnx_models import graph_model, normal, saved

V, G = torch.ones(3, 2, 3, 3), torch.ones(3, 1, 1, 1)
PARTS = {
    "another length": {"weight_g": torch.ones(2, 1, 1, 1), "weight_v": V},
    "no entries": {"weight_g": torch.ones(0, 1, 1, 1), "weight_v": V},
    "more axes": {"parametrizations.weight.original0": torch.ones(2, 3, 1, 1, 1),
                  "parametrizations.weight.original1": V},
    "a mask of another shape": {"weight_orig": V, "weight_mask": torch.ones(3, 4, 3, 3)},
    "a larger mask": {"weight_orig": G, "weight_mask": V},
    "a v of another length": {"weight_orig": V, "weight_u": torch.ones(3), "weight_v": torch.ones(7)},
}  # fmt: skip


@pytest.mark.parametrize("parts", PARTS)
def test_parts_that_do_not_fit_are_listed(parts: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({f"conv.{name}": tensor for name, tensor in PARTS[parts].items()}, path)
    (row,) = audit(path).layers
    assert (row.status, row.name) == ("unsupported", "conv")
    assert "do not fit" in row.reason


@pytest.mark.parametrize("transposed", [False, True])
def test_a_stride_beyond_the_kernel_takes_no_memory(transposed: bool) -> None:
    """Windows that do not touch: the norm is that of the kernel as one matrix, whatever lies between."""
    kernel = torch.randn(4, 3, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    norm = float(torch.linalg.matrix_norm(kernel.flatten(1), 2))
    for stride in (5, 10**6, 2**62):
        found = spectral_norm(kernel, stride=stride, transposed=transposed)
        assert found.lower <= norm * (1 + 1e-12)
        assert found.upper >= norm * (1 - 1e-12)
        assert found.upper <= norm * (1 + 1e-6)


def test_entries_of_very_different_sizes() -> None:
    """LAPACK gives up on some matrices with them."""
    kernel = torch.from_numpy(normal(4, 3, 3, 3))
    for entry, size in ((104, 494064.21875), (105, -1.6555351264500422e33), (107, 2.1144125812402186e21)):
        kernel.view(-1)[entry] = size
    for stride in (1, 2):
        found = spectral_norm(kernel, stride=stride)
        assert 1.655e33 <= found.lower <= found.upper <= 1.656e33


@pytest.mark.parametrize("position", [2**32, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_zip_directory_beyond_the_file(position: int, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"conv.weight": V}, path)
    data = bytearray(path.read_bytes())
    end = data.rfind(b"PK\x05\x06")
    struct.pack_into("<L", data, end + 16, 2**32 - 1)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, position, 1)
    path.write_bytes(data[:end] + locator + data[end:])
    with pytest.raises(UnreadableModelError, match="zip archive is damaged"):
        load(path)


@pytest.mark.parametrize("position", [2**32, 2**63, 2**64 - 1])
def test_a_zip_record_beyond_the_file(position: int, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"conv.weight": V}, path)
    data = bytearray(path.read_bytes())
    entry, end = data.find(b"PK\x01\x02"), data.rfind(b"PK\x05\x06")
    name, extra = struct.unpack_from("<2H", data, entry + 28)
    wide = struct.pack("<2HQ", 1, 8, position)
    struct.pack_into("<L", data, entry + 42, 2**32 - 1)
    struct.pack_into("<H", data, entry + 30, len(wide))
    struct.pack_into("<L", data, end + 12, struct.unpack_from("<L", data, end + 12)[0] + len(wide) - extra)
    at = entry + 46 + name
    path.write_bytes(bytes(data[:at]) + wide + bytes(data[at + extra :]))
    with pytest.raises(UnreadableModelError, match="zip archive is damaged"):
        load(path)


@pytest.mark.parametrize("name", ["a" * 5000, "\ud800", "a/" * 3000])
def test_a_name_that_no_file_can_have(name: str, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a.weight": name}}), encoding="utf-8")
    with pytest.raises(UnreadableModelError, match="is missing"):
        load(index)


def branching() -> onnx.ModelProto:
    body = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["o"])], "b", [], [helper.make_tensor_value_info("o", 1, None)]
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("If", ["which"], ["y"], then_branch=body, else_branch=body),
    ]
    model = graph_model(nodes, {"x": [1, 4]}, {"w": normal(4, 4)})
    model.graph.input.append(helper.make_tensor_value_info("which", TensorProto.BOOL, []))
    return model


def without_condition(node: onnx.NodeProto) -> None:
    del node.input[:]


def without_branches(node: onnx.NodeProto) -> None:
    del node.attribute[:]


def with_one_branch(node: onnx.NodeProto) -> None:
    del node.attribute[1]


def with_more_outputs(node: onnx.NodeProto) -> None:
    node.output.append("z")


def with_an_empty_branch(node: onnx.NodeProto) -> None:
    del node.attribute[0].g.output[:]


@pytest.mark.parametrize(
    "change",
    [without_condition, without_branches, with_one_branch, with_more_outputs, with_an_empty_branch],
    ids=lambda change: change.__name__,
)
def test_an_if_without_all_its_parts_has_no_bound(change, tmp_path: Path) -> None:
    model = branching()
    change(model.graph.node[1])
    result = audit(saved(model, tmp_path))
    assert len(result.layers) == 1
    assert result.bound.status != "bounded" or (change is without_branches and result.bound.lipschitz == 0)


@pytest.mark.parametrize(
    ("data_type", "message"), [(0, "a data type that ONNX does not define"), (99, "the graph is damaged")]
)
def test_a_tensor_of_no_type_is_an_error(data_type: int, message: str, tmp_path: Path) -> None:
    model = graph_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 4]}, {"w": normal(4, 4)})
    model.graph.initializer[0].data_type = data_type
    with pytest.raises(UnreadableModelError, match=message):
        audit(saved(model, tmp_path))
