"""State dicts and training checkpoints: which tensors are layers, and what their weights are."""

from __future__ import annotations

import copy
import math
import warnings
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, prune

from convsv_cli import audit, deadline, limit_norm, load
from convsv_cli.errors import UsageError
from convsv_cli.model.layer import Geometry, Layer, UnsupportedLayer
from convsv_cli.report import CLIP_METHODS, SCALE
from convsv_cli.spectral import norms
from convsv_cli.spectral.limited import NO_TIME, RECORD, proven_bound, proven_norm, record_of
from convsv_cli.torch_modules.modules import geometry_of
from tests.support import trained


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 4, (3, 5)),
            bn=nn.BatchNorm2d(4),
            wave=nn.Conv1d(4, 2, 7),
            volume=nn.Conv3d(2, 2, 2),
            fc=nn.Linear(6, 5),
        )
    )


def saved(value: object, folder: Path, name: str = "model.pt", **options: object) -> Path:
    path = folder / name
    torch.save(value, path, **options)
    return path


def names(path: Path) -> list[str]:
    return [layer.name for layer in load(path).layers]


def assert_net(path: Path) -> None:
    state = net().state_dict()
    network = load(path)
    assert [layer.name for layer in network.layers] == ["conv", "wave", "volume", "fc"]
    assert [layer.op for layer in network.layers] == ["Conv", "Conv", "Conv", "Gemm"]
    for layer in network.layers:
        assert isinstance(layer, Layer)
        assert torch.equal(layer.read(), state[f"{layer.name}.weight"])
        assert layer.kernel_shape == tuple(layer.read().shape)
        assert layer.dtype == "float32"
        assert layer.assumed


WRAPPINGS = {
    "bare": lambda state: state,
    "training": lambda state: {
        "epoch": 3,
        "state_dict": state,
        "optimizer": {"state": {}, "param_groups": []},
    },
    "model": lambda state: {"model": state, "args": {"lr": 0.1}},
    "nested": lambda state: {
        "checkpoint": 1,
        "model_state_dict": OrderedDict(state),
        "loss": torch.ones(3, 3),
    },
    "parallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "compiled": lambda state: {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
    "both": lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
    "lightning": lambda state: {
        "pytorch-lightning_version": "2.5",
        "state_dict": {f"model.{name}": tensor for name, tensor in state.items()},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(4, 3, 3, 5)}}, "param_groups": []}],
        "callbacks": {},
    },
    "parameters": lambda state: {
        name: nn.Parameter(tensor) if tensor.is_floating_point() else tensor for name, tensor in state.items()
    },
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("zipped", [True, False])
def test_wrapped_state_dicts(wrapping: str, zipped: bool, tmp_path: Path) -> None:
    value = WRAPPINGS[wrapping](net().state_dict())
    assert_net(saved(value, tmp_path, "model.th", _use_new_zipfile_serialization=zipped))


def test_safetensors_give_the_same(tmp_path: Path) -> None:
    save_file(net().state_dict(), tmp_path / "model.safetensors")
    network = load(tmp_path / "model.safetensors")
    assert network.format == "safetensors"
    state = net().state_dict()
    assert {layer.name for layer in network.layers} == {"conv", "wave", "volume", "fc"}
    for layer in network.layers:
        assert torch.equal(layer.read(), state[layer.weight])


def test_averaged_weights_only_where_there_is_nothing_better(tmp_path: Path) -> None:
    state = {"conv.weight": torch.ones(2, 2, 3, 3)}
    average = {"conv.weight": torch.zeros(2, 2, 3, 3)}
    network = load(saved({"ema": average, "model": state}, tmp_path))
    assert network.layers[0].read().sum() == 36
    assert network.notes == ("also holds 'ema': not audited (1 tensor: averages of the audited weights)",)
    assert network.left_out == ()
    assert load(saved({"ema": average}, tmp_path)).layers[0].read().sum() == 0


def test_averaged_weights_by_prefix(tmp_path: Path) -> None:
    state = {"model.conv.weight": torch.ones(2, 2, 3, 3), "ema_model.conv.weight": torch.zeros(2, 2, 3, 3)}
    network = load(saved({"state_dict": state}, tmp_path))
    assert [(layer.name, layer.read().sum()) for layer in network.layers] == [("conv", 36)]
    assert network.notes == (
        "also holds 'ema_model': not audited (1 tensor: averages of the audited weights)",
    )
    alone = {"ema_model.conv.weight": torch.ones(2, 2, 3, 3)}
    assert names(saved(alone, tmp_path)) == ["ema_model.conv"]


def test_networks_side_by_side_keep_their_names(tmp_path: Path) -> None:
    state = {"conv.weight": torch.ones(2, 2, 3, 3)}
    both = {"generator": state, "discriminator": state, "optim_g": {"state": {0: torch.ones(2, 2)}}}
    network = load(saved(both, tmp_path))
    (layer,) = network.layers
    assert layer.name == "generator.conv"
    assert layer.aliases == ("discriminator.conv.weight",)


@pytest.mark.parametrize("other", ["target", "large", "optimal"])
def test_networks_with_names_like_training_state(other: str, tmp_path: Path) -> None:
    state, more = {"a.weight": torch.ones(2, 2)}, {"a.weight": torch.zeros(2, 2)}
    assert names(saved({"policy": state, other: more, "kwargs": more}, tmp_path)) == [
        "policy.a",
        f"{other}.a",
    ]
    network = load(saved({"model": state, other: more}, tmp_path))
    assert network.left_out == (f"also holds {other!r}: not audited (1 tensor: could be weights)",)
    assert network.notes == network.left_out


def test_networks_beside_a_loose_tensor(tmp_path: Path) -> None:
    state, average = {"a.weight": torch.ones(2, 2)}, {"a.weight": torch.zeros(2, 2)}
    both = {"anchors": torch.ones(9, 4), "backbone": {"model": state, "ema": average}}
    network = load(saved(both, tmp_path))
    assert [layer.name for layer in network.layers] == ["anchors", "backbone.a"]
    assert network.notes == (
        "also holds 'backbone.ema': not audited (1 tensor: averages of the audited weights)",
    )
    assert load(saved({"state_dict": state, "head.weight": torch.ones(2, 2)}, tmp_path)).left_out == (
        "also holds 'head.weight': not audited (1 tensor: could be weights)",
    )


def test_prefixes_stay_where_names_would_collide(tmp_path: Path) -> None:
    state = {"module.a.weight": torch.ones(2, 2), "a.weight": torch.zeros(2, 2)}
    assert names(saved(state, tmp_path)) == ["module.a", "a"]


def test_input_sizes_are_assumed_to_be_the_networks(tmp_path: Path) -> None:
    path = saved(net().state_dict(), tmp_path)
    assert [layer.input_size for layer in load(path, input_size=9).layers] == [(9, 9), (9,), (9, 9, 9), ()]
    sized = load(path, input_size=(9, 8)).layers
    assert [layer.input_size for layer in sized] == [(9, 8), None, None, ()]
    assert "9x8" in sized[0].assumed[-1]
    with pytest.raises(UsageError, match="no named inputs"):
        load(path, input_shapes={"x": (1, 3, 9, 8)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precisions(dtype: torch.dtype, tmp_path: Path) -> None:
    weight = torch.randn(2, 3, 3, 3).to(dtype)
    for path in (saved({"a.weight": weight}, tmp_path), tmp_path / "a.safetensors"):
        if path.suffix == ".safetensors":
            save_file({"a.weight": weight}, path)
        (layer,) = load(path).layers
        assert layer.dtype == str(dtype).removeprefix("torch.")
        assert torch.equal(layer.read().to(torch.float64), weight.to(torch.float64))


def test_eight_bit_floats(tmp_path: Path) -> None:
    plain, scaled = torch.ones(2, 2), torch.full((2, 2), 2.0)
    state = {"a.weight": plain, "b.weight": scaled, "b.weight_scale": torch.full((2, 1), 0.1)}
    path = tmp_path / "model.safetensors"
    save_file({name: tensor.to(torch.float8_e4m3fn) for name, tensor in state.items()}, path)
    a, b = audit(path).layers
    assert a.measurement("heuristic").value == pytest.approx(2)
    assert (b.status, b.reason) == (
        "unsupported",
        "quantised: what its values stand for depends on b.weight_scale",
    )


def test_tied_weights_are_one_row_with_all_names(tmp_path: Path) -> None:
    weight = torch.randn(4, 4)
    state = {"encoder.weight": weight, "other.weight": weight.clone(), "decoder.weight": weight}
    first, second = load(saved(state, tmp_path)).layers
    assert (first.name, first.aliases) == ("encoder", ("decoder.weight",))
    assert second.name == "other"


def test_what_is_no_layer_and_what_cannot_be_told(tmp_path: Path) -> None:
    state = {
        "embed_tokens.weight": torch.ones(9, 4),
        "position": torch.ones(1, 5, 4),
        "codes.weight": torch.ones(4, 4, dtype=torch.int8),
        "waves.weight": torch.ones(4, 4, dtype=torch.complex64),
        "many.weight": torch.ones(1, 2, 1, 2, 1, 2),
        "norm.weight": torch.ones(3, 4),
        "norm.bias": torch.ones(3, 4),
        "scale": torch.ones(1, 3, 1, 1),
        "bn.running_mean": torch.ones(3),
        "rnn.weight_hh_l0": torch.ones(4, 4),
        "attention.in_proj_weight": torch.ones(4, 4),
    }
    layers = {layer.weight: layer for layer in load(saved(state, tmp_path)).layers}
    reasons = {name: layer.reason for name, layer in layers.items() if isinstance(layer, UnsupportedLayer)}
    assert set(layers) == {*state} - {"norm.weight", "norm.bias", "scale", "bn.running_mean"}
    assert set(reasons) == {"embed_tokens.weight", "position", "codes.weight", "waves.weight", "many.weight"}
    fragments = ("embedding", "not named", "int8", "complex64", "6 axes")
    for reason, fragment in zip(reasons.values(), fragments, strict=True):
        assert fragment in reason


def test_tensors_without_values_are_listed(tmp_path: Path) -> None:
    (layer,) = load(saved({"meta.weight": torch.ones(2, 2, device="meta")}, tmp_path)).layers
    assert isinstance(layer, UnsupportedLayer)
    assert "meta device" in layer.reason


MODULES = [
    nn.Conv2d(3, 4, 3),
    nn.Conv1d(4, 4, 3),
    nn.Linear(5, 4),
    nn.ConvTranspose2d(4, 4, 3),
    nn.ConvTranspose2d(3, 5, 2),
]
REPARAMETRISATIONS = {
    "weight_norm": nn.utils.weight_norm,
    "weight_norm of the whole": lambda module: nn.utils.weight_norm(module, dim=None),
    "weight_norm by columns": lambda module: nn.utils.weight_norm(module, dim=1),
    "parametrized weight_norm": parametrizations.weight_norm,
    "spectral_norm": nn.utils.spectral_norm,
    "parametrized spectral_norm": parametrizations.spectral_norm,
    "pruning": lambda module: prune.l1_unstructured(module, "weight", amount=0.3),
}


@pytest.mark.parametrize("kind", REPARAMETRISATIONS)
@pytest.mark.parametrize("index", range(len(MODULES)), ids=lambda i: str(MODULES[i]))
def test_effective_weights(kind: str, index: int, tmp_path: Path) -> None:
    module = copy.deepcopy(MODULES[index])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        REPARAMETRISATIONS[kind](module)
        shape = (
            (1, 5)
            if isinstance(module, nn.Linear)
            else (1, module.in_channels, *(6,) * (module.weight.ndim - 2))
        )
        for _ in range(15):
            module(torch.rand(shape))
        module.eval()
        module(torch.rand(shape))
    state = {f"block.{name}": tensor for name, tensor in module.state_dict().items()}
    (layer,) = load(saved(state, tmp_path)).layers
    assert (layer.name, layer.weight) == ("block", "block.weight")
    assert layer.kernel_shape == tuple(module.weight.shape)
    torch.testing.assert_close(layer.read(), module.weight.detach().double(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["linear", "strided and dilated", "grouped", "transposed, grouped"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("method", CLIP_METHODS)
def test_weights_under_a_limit_are_those_of_the_module(
    kind: str, dtype: torch.dtype, method: str, tmp_path: Path
) -> None:
    module = limit_norm(trained.layer(kind).to(dtype), 0.3, method=method).eval()
    module.half().to(dtype)
    (layer,) = load(saved(module.state_dict(), tmp_path)).layers
    assert torch.equal(layer.read(), module.weight)
    assert layer.geometry == replace(geometry_of(module), padding=())
    assert layer.assumed == ()
    other = limit_norm(trained.layer(kind, seed=1).to(dtype), 0.2, method=method).eval()
    other.load_state_dict({name: each for name, each in module.state_dict().items() if RECORD not in name})
    other.load_state_dict(module.state_dict())
    proven = proven_bound if method == SCALE else proven_norm
    assert proven(other.weight, geometry_of(other)) <= 0.2
    assert torch.equal(load(saved(other.state_dict(), tmp_path)).layers[0].read(), other.weight)


@pytest.mark.parametrize(
    "record",
    [
        record_of(Geometry(stride=(1,), dilation=(1,)), 1.0),
        record_of(Geometry(stride=(1, 1), dilation=(1, 1), groups=3), 1.0),
        record_of(Geometry(stride=(0, 1), dilation=(1, 1)), 1.0),
        record_of(Geometry(stride=(1, 1), dilation=(1, 1)), math.nan),
        record_of(Geometry(stride=(1, 1), dilation=(1, 1)), -1.0),
        record_of(Geometry(stride=(1, 1), dilation=(1, 1)), 1.0).double(),
        torch.cat([record_of(Geometry(stride=(1, 1), dilation=(1, 1)), 1.0), torch.tensor([2])]),
        torch.tensor(5),
    ],
    ids=["axes", "groups", "stride", "nan", "negative", "type", "method", "scalar"],
)
def test_a_record_of_a_limit_that_does_not_fit(record: torch.Tensor, tmp_path: Path) -> None:
    parts = {"original": torch.ones(4, 3, 3, 3), f"0.{RECORD}": record}
    state = {f"conv.parametrizations.weight.{name}": tensor for name, tensor in parts.items()}
    (layer,) = load(saved(state, tmp_path)).layers
    assert (layer.name, layer.reason) == ("conv", "limit_norm whose record does not fit the weight")


def test_what_a_limit_makes_of_a_weight_is_never_found_in_a_hurry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coarser norm would make the weight smaller than it is; nor does the least limit take forever."""
    monkeypatch.setattr(norms, "LATE", 0)
    module = limit_norm(nn.Linear(4, 3), 5e-324).eval()
    path = saved(module.state_dict(), tmp_path)
    assert not load(path).layers[0].read().any()
    with deadline.running(1e-9):
        assert audit(path).layers[0].reason == NO_TIME


@pytest.mark.parametrize(
    "parts",
    [("orig",), ("orig", "u"), ("orig", "u", "v", "mask"), ("bar", "u", "v")],
    ids="+".join,
)
def test_raw_parts_are_never_audited(parts: tuple[str, ...], tmp_path: Path) -> None:
    shapes = {"orig": (4, 3), "bar": (4, 3), "mask": (4, 3), "u": (4,), "v": (3,)}
    state = {f"fc.weight_{part}": torch.ones(shapes[part]) for part in parts}
    (layer,) = load(saved(state, tmp_path)).layers
    assert isinstance(layer, UnsupportedLayer)
    assert (layer.name, layer.kernel_shape) == ("fc", (4, 3))


def test_tied_parts_are_one_row(tmp_path: Path) -> None:
    g, v = torch.ones(4, 1), torch.randn(4, 3)
    state = {"a.weight_g": g, "a.weight_v": v, "b.weight_g": g, "b.weight_v": v, "c.weight_g": g + 1}
    state["c.weight_v"] = v
    first, second = load(saved(state, tmp_path)).layers
    assert (first.name, first.aliases, second.name) == ("a", ("b.weight",), "c")


def test_names_like_parts_are_left_alone(tmp_path: Path) -> None:
    state = {
        "a.weight_v": torch.ones(3, 3),
        "b.weight_g": torch.ones(2, 2),
        "c.weight_mask": torch.ones(2, 2),
    }
    assert [layer.weight for layer in load(saved(state, tmp_path)).layers] == list(state)


def test_safetensors_whose_length_looks_like_a_pickle(tmp_path: Path) -> None:
    """The length of the header, which comes first, may begin with the byte that pickles begin with."""
    for pad in range(300):
        path = tmp_path / "model.safetensors"
        save_file({"w" * (1 + pad) + ".weight": torch.ones(4, 4)}, path)
        if path.read_bytes()[0] == 0x80:
            break
    else:
        pytest.fail("no header has that length")
    assert load(path).format == "safetensors"
    renamed = path.rename(tmp_path / "model.bin")
    assert load(renamed).format == "safetensors"


def test_entries_that_share_values_are_read_as_they_are(tmp_path: Path) -> None:
    """Nothing else than in a file where each entry has a value of its own."""
    torch.manual_seed(0)
    shared = {
        "conv.weight": torch.randn(1, 3, 3, 3).expand(6, 3, 3, 3),
        "fc.weight": torch.randn(10).unfold(0, 4, 1),
        "ones": torch.ones(1).expand(1000),
        "frames": torch.arange(40.0).unfold(0, 8, 3),
        "conv.mask": torch.ones(1, 1, 1).expand(1, 1, 999),
    }
    whole = {name: tensor.contiguous() for name, tensor in shared.items()}
    first, second = (
        load(saved(state, tmp_path, f"{i}.pt")).layers for i, state in enumerate((shared, whole))
    )
    assert [row.weight for row in first] == [row.weight for row in second]
    found = {row.weight: row.read() for row in first if isinstance(row, Layer)}
    assert found.keys() == {"conv.weight", "fc.weight"}
    assert all(torch.equal(values, shared[name]) for name, values in found.items())


def test_a_value_that_is_repeated_without_end_is_not_unfolded(tmp_path: Path) -> None:
    state = {"mask": torch.ones(1).expand(40_000_000), "w.weight": torch.ones(1).expand(20_000, 20_000)}
    (row,) = load(saved(state | {"b": torch.ones(3)}, tmp_path)).layers
    assert row.weight == "w.weight"
    assert isinstance(row, UnsupportedLayer)
    assert "too many to unfold" in row.reason


def test_reading_repeated_values_counts_as_work(tmp_path: Path) -> None:
    path = saved({"w.weight": torch.ones(1).expand(1000, 1000)}, tmp_path)
    (row,) = audit(path, step_limit=1e5).layers
    assert "tensor of 1 values would take 1e6 steps" in row.reason
