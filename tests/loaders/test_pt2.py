"""Programs of torch.export: layers and geometry from their graph, and hostile archives made byte by byte."""

from __future__ import annotations

import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from convsv_cli import audit, load
from convsv_cli.errors import UnreadableModelError, UnsafeModelError, UsageError
from convsv_cli.model.layer import Layer, UnsupportedLayer
from convsv_cli.report import BOUNDED
from tests.support.command_line import convsv


class Net(nn.Module):
    """Each kind of layer once, but for those that a test adds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.same = nn.Conv2d(8, 8, (3, 2), groups=2, dilation=2, padding="same")
        self.up = nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1)
        self.wave = nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular")
        self.volume = nn.Conv3d(4, 2, (1, 3, 2), stride=(1, 2, 1))
        self.fc = nn.Linear(210, 5)
        self.norm = nn.LayerNorm(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(self.same(self.conv(x)).relu())
        x = x + self.wave(x.flatten(2)).view_as(x)
        return self.norm(self.fc(self.volume(x[:, :, None]).flatten(1)))


IMAGE = torch.ones(1, 3, 16, 16)


def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def exported(module: nn.Module, inputs: tuple[torch.Tensor, ...], path: Path, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decompose = options.pop("decompose", False)
        program = torch.export.export(module.eval(), inputs, **options)
        torch.export.save(program.run_decompositions() if decompose else program, path)
    return path


@pytest.mark.parametrize(("decompose", "name"), [(False, "net.pt2"), (True, "net.pt"), (True, "net.bytes")])
def test_kernels_of_the_state_dict_and_geometry_of_the_onnx_form(
    decompose: bool, name: str, tmp_path: Path
) -> None:
    module = net()
    network = load(exported(module, (IMAGE,), tmp_path / name, decompose=decompose))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (IMAGE,), tmp_path / "net.onnx", dynamo=True, verbose=False)
    others = load(tmp_path / "net.onnx").layers
    assert (network.format, network.files, network.inputs) == ("pt2", (name,), (("x", (1, 3, 16, 16)),))
    assert [layer.name for layer in network.layers] == ["conv", "same", "up", "wave", "volume", "fc"]
    for layer, other in zip(network.layers, others, strict=True):
        assert isinstance(layer, Layer)
        assert (layer.name, layer.op, layer.kernel_shape) == (other.name, other.op, other.kernel_shape)
        assert (layer.geometry, layer.input_size) == (other.geometry, other.input_size)
        assert layer.assumed == ()
        assert torch.equal(layer.read(), module.state_dict()[layer.weight])
        assert torch.equal(layer.read(), other.read())


def test_the_audit_is_the_onnx_forms(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Flatten(), nn.Linear(196, 3))
    path = exported(module, (IMAGE,), tmp_path / "m.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (IMAGE,), tmp_path / "m.onnx", dynamo=True, verbose=False)
    one, other = (audit(tmp_path / name, exact=True) for name in ("m.pt2", "m.onnx"))
    assert one.model.format == "pt2"
    assert len(one.model.sha256) == 64
    assert one.bound.lipschitz == pytest.approx(other.bound.lipschitz, rel=1e-9)
    for row, twin in zip(one.layers, other.layers, strict=True):
        for method in ("heuristic", "exact", "certified", "bound"):
            assert row.measurement(method).value == twin.measurement(method).value
    shown = convsv("audit", path, "--format", "json")
    assert shown.returncode == 0
    assert json.loads(shown.stdout)["audits"][0]["model"]["format"] == "pt2"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precisions(dtype: torch.dtype, tmp_path: Path) -> None:
    module = nn.Linear(3, 4).to(dtype)
    (layer,) = load(exported(module, (torch.ones(1, 3, dtype=dtype),), tmp_path / "m.pt2")).layers
    assert layer.dtype == str(dtype).removeprefix("torch.")
    assert torch.equal(layer.read(), module.weight)


NORMS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight_norm": nn.utils.weight_norm,
    "parametrized weight_norm": parametrizations.weight_norm,
    "parametrized weight_norm by columns": lambda module: parametrizations.weight_norm(module, dim=1),
    "parametrized spectral_norm": parametrizations.spectral_norm,
}


@pytest.mark.parametrize("decompose", [False, True])
@pytest.mark.parametrize("kind", NORMS)
def test_effective_weights(kind: str, decompose: bool, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = NORMS[kind](nn.Conv2d(3, 4, 3)).eval()
        module(IMAGE)
    wrapped = nn.Sequential(module)
    (layer,) = load(exported(wrapped, (IMAGE,), tmp_path / "m.pt2", decompose=decompose)).layers
    assert isinstance(layer, Layer)
    assert (layer.name, layer.dtype) == ("0", "float32")
    torch.testing.assert_close(layer.read(), module.weight.detach().double(), rtol=1e-6, atol=1e-7)


class Products(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(torch.randn(5, 6)), nn.Parameter(torch.randn(4, 3))
        self.register_buffer("codes", torch.arange(-6, 6, dtype=torch.int8).view(3, 4))
        self.scale = nn.Parameter(torch.randn(3, 1))
        self.batch = nn.Parameter(torch.randn(2, 3, 3))
        self.unused = nn.Linear(7, 8)
        self.table = nn.Embedding(9, 3)
        self.position = nn.Parameter(torch.randn(5, 3))

    def forward(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        y = self.left @ x @ self.right + self.position
        z = torch.addmm(y, y @ y.T, y, alpha=2)
        z = nn.functional.linear(
            nn.functional.linear(z, self.codes.T.float() * 2), self.codes.float() * self.scale
        )
        return z @ self.batch + self.table(index)


def test_products_constants_and_what_is_no_layer(tmp_path: Path) -> None:
    module = Products()
    inputs = torch.ones(6, 4), torch.ones(1, dtype=torch.int64)
    layers = {layer.weight: layer for layer in load(exported(module, inputs, tmp_path / "m.pt2")).layers}
    assert torch.equal(layers["left"].read(), module.left)
    assert torch.equal(layers["right"].read(), module.right.T)
    codes = [row for row in load(tmp_path / "m.pt2").layers if row.weight == "codes"]
    expected = [module.codes.T * 2.0, module.codes * module.scale.double()]
    for row, kernel in zip(codes, expected, strict=True):
        assert torch.equal(row.read(), kernel.double())
        assert row.assumed == ("dequantised weights: int8 values with their scale",)
    reasons = {name: row.reason for name, row in layers.items() if isinstance(row, UnsupportedLayer)}
    assert set(reasons) == {"batch", "unused.weight", "table.weight"}
    assert "3 axes" in reasons["batch"]
    assert "no operator" in reasons["unused.weight"]
    assert "look-up" in reasons["table.weight"]


def test_weights_used_twice_and_under_two_names(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    module[2].weight = module[0].weight
    module[4].weight = nn.Parameter(module[0].weight.detach().clone())
    first, last = load(exported(module, (torch.ones(1, 4),), tmp_path / "m.pt2")).layers
    assert {first.weight, *first.aliases} >= {"0.weight", "2.weight"}
    assert (last.name, last.aliases) == ("4", ())


def test_recurrent_layers_give_their_gate_matrices(tmp_path: Path) -> None:
    module = nn.LSTM(3, 4, batch_first=True)
    rows = load(exported(module, (torch.ones(1, 5, 3),), tmp_path / "m.pt2")).layers
    assert [(row.weight, row.op) for row in rows] == [("weight_ih_l0", "LSTM"), ("weight_hh_l0", "LSTM")]
    assert all("recurrence" in row.assumed[0] for row in rows)


def test_sizes_are_those_of_export(tmp_path: Path) -> None:
    dims = ({0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO},)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 3))
    path = exported(module, (torch.ones(2, 3, 16, 16),), tmp_path / "m.pt2", dynamic_shapes=dims)
    rows = load(path).layers
    assert [row.input_size for row in rows] == [(16, 16), (7, 7)]
    assert all("was exported" in row.assumed[0] for row in rows)
    assert not any(row.assumed for row in load(path, input_size=16).layers)
    tall = load(path, input_shapes={"input": (2, 3, 32, 16)})
    assert [row.input_size for row in tall.layers] == [(32, 16), (15, 7)]
    for asked in (
        {"input_size": 32},
        {"input_shapes": {"input": (1, 3, 32, 32)}},
        {"input_shapes": {"x": (1,)}},
    ):
        with pytest.raises(UsageError, match=r"exported for input:\?x3x\?x16"):
            load(path, **asked)


def test_an_exported_program_takes_a_graph(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (IMAGE,), tmp_path / "m.onnx", dynamo=True, verbose=False)
    result = audit(exported(module, (IMAGE,), tmp_path / "m.pt2"), graph=tmp_path / "m.onnx")
    assert result.bound.status == BOUNDED


# Hostile and damaged archives.

Records = dict[str, bytes]


def repacked(folder: Path, change: Callable[[Records], None], compression: int = zipfile.ZIP_STORED) -> Path:
    """A sound archive with its records changed."""
    source = exported(nn.Conv2d(3, 4, 3), (IMAGE,), folder / "sound.pt2")
    with zipfile.ZipFile(source) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    change(records)
    with zipfile.ZipFile(folder / "model.pt2", "w", compression) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return folder / "model.pt2"


WEIGHTS = "sound/data/weights/model_weights_config.json"
MODEL = "sound/models/model.json"


def edited(record: str, edit: Callable[[Any], Any]) -> Callable[[Records], None]:
    def change(records: Records) -> None:
        value = json.loads(records[record])
        replacement = edit(value)
        records[record] = json.dumps(value if replacement is None else replacement).encode()

    return change


def meta(**entries: Any) -> Callable[[Records], None]:
    return edited(WEIGHTS, lambda value: value["config"]["weight"]["tensor_meta"].update(entries))


def test_repacking_alone_changes_nothing(tmp_path: Path) -> None:
    assert load(repacked(tmp_path, lambda _: None)).layers[0].kernel_shape == (4, 3, 3, 3)


def test_the_sample_inputs_are_not_read(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(canary),)

    def change(records: Records) -> None:
        records["sound/data/sample_inputs/model.pt"] = pickle.dumps(Bomb())

    assert audit(repacked(tmp_path, change)).layers[0].status == "audited"
    assert not canary.exists()


def pickled_weights(records: Records) -> None:
    edited(WEIGHTS, lambda value: value["config"]["weight"].update(use_pickle=True))(records)


def old_form(records: Records) -> None:
    records.clear()
    records["serialized_exported_program.json"] = b"{}"
    records["serialized_state_dict.pt"] = b""


def size(number: int) -> dict[str, int]:
    return {"as_int": number}


UNSAFE: list[tuple[str, Callable[[Records], None], str]] = [
    ("pickled", pickled_weights, "is a pickle"),
    ("old", old_form, "torch 2.8 and older"),
    ("long", meta(sizes=[size(1000), size(3), size(3), size(3)]), "more values"),
    ("shifted", meta(storage_offset=size(1)), "more values"),
    ("wide", meta(sizes=[size(2), size(2)], strides=[size(10**30), size(1)]), "more values"),
    ("huge and empty", meta(sizes=[size(0), size(10**30)], strides=[size(1)] * 2), "more values"),
    ("outside", lambda records: records.update({"sound/../../x": b""}), "leads out"),
    ("absolute", lambda records: records.update({"/etc/x": b""}), "leads out"),
    ("other folder", lambda records: records.update({"b/byteorder": b""}), "two records"),
    ("long text", lambda records: records.update({MODEL: b" " * (25 << 20)}), "longer than 24 MiB"),
]


@pytest.mark.parametrize(("change", "fragment"), [case[1:] for case in UNSAFE], ids=[c[0] for c in UNSAFE])
def test_unsafe_archives(change: Callable[[Records], None], fragment: str, tmp_path: Path) -> None:
    path = repacked(tmp_path, change)
    with pytest.raises(UnsafeModelError, match=fragment) as raised:
        load(path)
    assert raised.value.where == str(path)
    assert "\n" not in str(raised.value)


def test_entries_that_share_values_are_read_as_they_are(tmp_path: Path) -> None:
    few = meta(sizes=[size(4), size(3), size(3), size(3)], strides=[size(0), size(9), size(3), size(1)])
    (row,) = load(repacked(tmp_path, few)).layers
    assert isinstance(row, Layer)
    assert torch.equal(row.read(), row.read()[:1].expand(4, 3, 3, 3))
    (row,) = load(repacked(tmp_path, meta(sizes=[size(10**4)] * 4, strides=[size(0)] * 4))).layers
    assert isinstance(row, UnsupportedLayer)
    assert "too many to unfold" in row.reason


def test_deflated_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsafeModelError, match="compressed"):
        load(repacked(tmp_path, lambda _: None, zipfile.ZIP_DEFLATED))
    assert convsv("audit", tmp_path / "model.pt2").returncode == 4


def test_duplicate_and_overlapping_records_are_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = repacked(tmp_path, lambda _: None)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("sound/byteorder", b"little")
    with pytest.raises(UnsafeModelError, match="holds 'sound/byteorder' twice"):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/models/model.json", b"x" * 100)
        archive.writestr("a/second", b"y" * 100)
    raw = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        second = archive.getinfo("a/second").header_offset
    moved = raw.replace(second.to_bytes(4, "little"), (60).to_bytes(4, "little"))
    path.write_bytes(moved[:60] + raw[second : second + 38] + moved[98:])
    with pytest.raises(UnsafeModelError, match="overlaps another"):
        load(path)


def without(record: str) -> Callable[[Records], None]:
    def change(records: Records) -> None:
        del records[record]

    return change


def replaced(record: str, content: bytes) -> Callable[[Records], None]:
    return lambda records: records.update({record: content})


def second_model(records: Records) -> None:
    records["sound/models/other.json"] = b"{}"


def nodes(edit: Callable[[Any], Any]) -> Callable[[Records], None]:
    return edited(MODEL, lambda value: edit(value["graph_module"]["graph"]["nodes"][0]))


BROKEN: list[tuple[str, Callable[[Records], None], str]] = [
    ("no model", without(MODEL), "no program"),
    ("two models", second_model, "2 programs"),
    ("no list", without(WEIGHTS), "no list of weights"),
    ("no data", without("sound/data/weights/weight_0"), "has no data"),
    ("big-endian", replaced("sound/byteorder", b"big"), "big-endian"),
    ("no json", replaced(MODEL, b"{"), "damaged"),
    ("deep json", replaced(MODEL, b"[" * 10**6), "nested too deeply"),
    ("long number", replaced(MODEL, b"1" * 10**5), "damaged"),
    ("named twice", replaced(WEIGHTS, b'{"config": {"a": 1, "a": 2}}'), "'a' appears twice"),
    ("a list", replaced(MODEL, b"[]"), "damaged"),
    ("numbers", replaced(WEIGHTS, b'{"config": {"a": 1}}'), "damaged"),
    ("negative", meta(strides=[size(-1)] * 4), "damaged"),
    ("text", meta(sizes=["4"]), "damaged"),
    ("fewer strides", meta(strides=[size(1)]), "damaged"),
    ("no inputs", nodes(lambda node: node.pop("inputs")), "damaged"),
    ("odd outputs", nodes(lambda node: node.update(outputs=[3])), "damaged"),
]


@pytest.mark.parametrize(("change", "fragment"), [case[1:] for case in BROKEN], ids=[c[0] for c in BROKEN])
def test_broken_archives(change: Callable[[Records], None], fragment: str, tmp_path: Path) -> None:
    path = repacked(tmp_path, change)
    with pytest.raises(UnreadableModelError, match=fragment) as raised:
        load(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


ARGUMENTS = [
    ("stride", {"as_ints": [0, 1]}, "fit no kernel"),
    ("stride", {"as_ints": [1, 1, 1]}, "fit no kernel"),
    ("stride", {"as_sym_ints": [{"as_name": "s"}, {"as_int": 1}]}, "depends on the input"),
    ("padding", {"as_ints": [-1, 0]}, "fit no kernel"),
    ("groups", {"as_string": "many"}, "not a number"),
]


@pytest.mark.parametrize(("name", "argument", "fragment"), ARGUMENTS)
def test_odd_geometry_is_listed_with_the_reason(
    name: str, argument: Any, fragment: str, tmp_path: Path
) -> None:
    def edit(node: Any) -> None:
        node["inputs"] = [item for item in node["inputs"] if item["name"] != name]
        node["inputs"].append({"name": name, "arg": argument})

    (row,) = load(repacked(tmp_path, nodes(edit))).layers
    assert isinstance(row, UnsupportedLayer)
    assert (row.weight, row.op, row.kernel_shape) == ("weight", "Conv", (4, 3, 3, 3))
    assert fragment in row.reason


@pytest.mark.parametrize(
    ("target", "reason"),
    [("torch.ops.evil.system.default", "used by evil.system.default"), ("os.system", "used by os.system")],
)
def test_operators_are_never_looked_up(target: str, reason: str, tmp_path: Path) -> None:
    (row,) = load(repacked(tmp_path, nodes(lambda node: node.update(target=target)))).layers
    assert isinstance(row, UnsupportedLayer)
    assert reason in row.reason


@pytest.mark.parametrize("entries", [{"dtype": 99}, {"layout": 1}])
def test_unknown_types_and_layouts_are_listed(entries: dict[str, int], tmp_path: Path) -> None:
    (row,) = load(repacked(tmp_path, meta(**entries))).layers
    assert isinstance(row, UnsupportedLayer)
    assert row.kernel_shape == (4, 3, 3, 3)


def test_every_truncation_and_mutation_is_an_error_or_a_program(tmp_path: Path) -> None:
    raw = repacked(tmp_path, lambda _: None).read_bytes()
    path = tmp_path / "cut.pt2"
    outcomes = set()
    mutations = [raw[:length] for length in range(4, len(raw), 511)]
    mutations += [raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :] for at in range(4, len(raw), 97)]
    for content in mutations:
        path.write_bytes(content)
        try:
            rows = load(path).layers
            outcomes.add(len(rows))
            [row.read() for row in rows if isinstance(row, Layer)]
        except (UnreadableModelError, UnsafeModelError) as error:
            outcomes.add(type(error))
    assert outcomes >= {1, UnreadableModelError}
