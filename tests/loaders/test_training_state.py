"""The state of an iteration is no weight: it is in no checkpoint, and those in which it was are read."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from convsv_cli import CurvatureLoss, LipschitzPenalty, PowerState, limit_norm, load
from convsv_cli.errors import UnreadableModelError, UsageError
from convsv_cli.loaders import load_with_graph
from convsv_cli.model.layer import Layer
from tests.support import oracles, trained


def net(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.Softplus(), nn.Flatten(), nn.Linear(96, 3)).double()


def limited(seed: int) -> nn.Sequential:
    model = net(seed)
    limit_norm(model[0], 0.1)
    return model


class Trained(nn.Module):
    """A network that has its penalty as a part, as in Lightning."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.net = net(seed)
        self.penalty = LipschitzPenalty(self.net)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def old_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict as it was: with the directions."""
    return {**model.state_dict(), **PowerState(model).state_dict()}


def test_no_state_dict_has_it() -> None:
    model = net(0)
    assert not LipschitzPenalty(model).state_dict()
    assert not CurvatureLoss(model, gamma=0.1).state_dict()
    assert set(Trained(0).state_dict()) == {f"net.{name}" for name in model.state_dict()}
    assert set(limited(0).state_dict()) == {
        "0.bias",
        "0.parametrizations.weight.original",
        "0.parametrizations.weight.0.convsv_norm_limit",
        "3.weight",
        "3.bias",
    }


def test_the_first_call_after_loading_knows_the_new_weights() -> None:
    """Thirty steps on weights of which it knew nothing; the bound, not what the old directions say of it."""
    other = net(1)
    model = net(0)
    penalty, loss = LipschitzPenalty(model), CurvatureLoss(model, gamma=1.0, epsilon=0.0)
    asked = LipschitzPenalty(model)
    asked.layer_values()
    model.load_state_dict(other.state_dict())
    truth = trained.true_bound(other[0]) + trained.true_bound(other[3])
    assert penalty().item() == pytest.approx(truth, rel=1e-6)
    assert sum(asked.layer_values().values()) == pytest.approx(truth, rel=1e-6)
    y, t = torch.tensor([0]), torch.tensor([1])
    fresh = CurvatureLoss(other, gamma=1.0, epsilon=0.0).bound(y, t)
    assert loss.bound(y, t).item() == pytest.approx(fresh.item(), rel=1e-6)


@pytest.mark.parametrize("old", [False, True])
def test_a_limited_layer_loads_checkpoints_of_both_forms(old: bool) -> None:
    source, model = limited(1), limited(0)
    for _ in range(50):
        expected = source[0].weight
        _ = model[0].weight
    model.load_state_dict(old_state(source) if old else source.state_dict())
    torch.testing.assert_close(model[0].weight, expected, rtol=1e-7, atol=0)


def test_a_checkpoint_in_which_it_was_still_loads_and_restores_it() -> None:
    source, model = Trained(1), Trained(0)
    for _ in range(3):
        source.penalty()
    model.load_state_dict(old_state(source))
    for one, other in zip(source.penalty.buffers(), model.penalty.buffers(), strict=True):
        assert torch.equal(one, other)
    alone = LipschitzPenalty(model.net)
    alone.load_state_dict(PowerState(source.penalty).state_dict())
    assert alone().item() == model.penalty().item() == source.penalty().item()


class Recurrent(Trained):
    """With layers that older versions did not count: the first stack was the two Linear layers."""

    def __init__(self, seed: int) -> None:
        nn.Module.__init__(self)
        torch.manual_seed(seed)
        layers = {"lstm": nn.LSTM(16, 4), "conv": nn.Conv2d(1, 2, 3)}
        self.net = nn.ModuleDict(layers | {name: nn.Linear(8, 16) for name in ("a", "b")}).double()
        self.penalty = LipschitzPenalty(self.net)


def test_a_checkpoint_with_the_directions_of_fewer_layers_loads() -> None:
    """None of them is taken for those of another layer, whether their shapes fit or not."""
    source, model = Recurrent(1), Recurrent(0)
    before = LipschitzPenalty(source.net, exclude=["lstm"])
    old = {f"penalty.{name}": each for name, each in PowerState(before).state_dict().items()}
    assert any(name not in dict(model.named_buffers()) for name in old)
    model.load_state_dict({**source.state_dict(), **old})
    assert model.penalty().item() == pytest.approx(source.penalty().item(), rel=1e-6)
    certified = LipschitzPenalty(source.net, "certified")
    certified.load_state_dict(PowerState(before).state_dict())


def test_directions_that_fit_by_accident_are_not_those_of_another_layer() -> None:
    """The rows alone tell: [4, 9] after [4, 3] in the same place of the order."""
    model = nn.ModuleDict({"cell": nn.RNNCell(3, 4), "fc": nn.Linear(9, 4)}).double()
    penalty = LipschitzPenalty(model)
    truth = sum(penalty.layer_values().values())
    old = PowerState(LipschitzPenalty(model, exclude=["cell"])).state_dict()
    assert old["unfoldings.0.kept"].shape == penalty.unfoldings[0].kept.shape
    penalty.load_state_dict(old)
    assert sum(penalty.layer_values().values()) == pytest.approx(truth, rel=1e-6)


def test_a_module_that_was_pickled_with_it_no_longer_saves_it() -> None:
    model = Trained(0)
    for each in model.penalty.unfoldings:
        each._non_persistent_buffers_set.clear()  # as all were before
    assert any("kept" in name for name in model.state_dict())
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert set(torch.load(file, weights_only=False).state_dict()) == set(Trained(0).state_dict())


def steps(model: nn.Sequential, penalty: nn.Module, optimiser: torch.optim.Optimizer, count: int) -> None:
    x = torch.linspace(0, 1, 36, dtype=torch.float64).view(1, 1, 6, 6)
    for _ in range(count):
        optimiser.zero_grad()
        (model(x).square().sum() + 0.1 * penalty()).backward()
        optimiser.step()


@pytest.mark.parametrize("make", [net, limited])
def test_a_training_goes_on_bit_by_bit(make) -> None:
    """Of a penalty, and of a layer with its own iteration; without the state it goes on, but not so."""
    runs = []
    for stops in (False, True):
        model = make(0)
        penalty = LipschitzPenalty(model)
        optimiser = torch.optim.SGD(model.parameters(), 0.05)
        steps(model, penalty, optimiser, 4)
        if stops:
            file = io.BytesIO()
            parts = (model, PowerState(model), PowerState(penalty))
            torch.save([part.state_dict() for part in parts], file)
            file.seek(0)
            model = make(7)
            penalty = LipschitzPenalty(model)
            optimiser = torch.optim.SGD(model.parameters(), 0.05)
            for part, state in zip(
                (model, PowerState(model), PowerState(penalty)),
                torch.load(file, weights_only=True),
                strict=True,
            ):
                part.load_state_dict(state)
        steps(model, penalty, optimiser, 4)
        runs.append(model.state_dict())
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_it_can_be_forgotten_in_the_middle() -> None:
    model = net(0)
    penalty = LipschitzPenalty(model)
    penalty()
    model.load_state_dict(net(1).state_dict())
    truth = trained.true_bound(model[0]) + trained.true_bound(model[3])
    assert penalty().item() < 0.99 * truth
    PowerState(penalty).forget()
    assert penalty().item() == pytest.approx(truth, rel=1e-6)


def test_that_of_other_layers_is_refused() -> None:
    penalty = LipschitzPenalty(net(0))
    with pytest.raises(UsageError, match=r"no directions for unfoldings\.0 that fit"):
        PowerState(penalty).load_state_dict(PowerState(LipschitzPenalty(nn.Linear(2, 2))).state_dict())


def test_names_do_not_depend_on_wrappers() -> None:
    model = Trained(0)
    names = list(PowerState(model).state_dict())
    assert names[0].startswith("penalty.unfoldings.0.kept")
    for wrapped in (nn.DataParallel(model), torch.compile(model, backend="eager")):
        assert list(PowerState(wrapped).state_dict()) == names


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_copies_and_other_types_keep_on(dtype: torch.dtype) -> None:
    """No type of a model's weights leaves the directions in so few digits."""
    model = Trained(0)
    model.penalty()
    model = copy.deepcopy(model).to(dtype)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    model = torch.load(file, weights_only=False)
    for _ in range(30):
        value = model.penalty()
    truth = sum(trained.true_bound(model.net[i]) for i in (0, 3))
    assert value.item() == pytest.approx(truth, rel=1e-6)
    assert all(each.dtype in {torch.float32, torch.float64} for each in model.penalty.buffers())


@pytest.mark.parametrize("form", ["part", "beside", "module", "script", "program", "safetensors"])
def test_an_audit_says_what_it_is(form: str, tmp_path: Path) -> None:
    model = Trained(0)
    suffix = {"safetensors": "safetensors", "program": "pt2"}.get(form, "pt")
    path = tmp_path / f"model.{suffix}"
    images = (torch.rand(1, 1, 6, 6, dtype=torch.float64),)
    if form == "safetensors":
        save_file(old_state(model), path)
    elif form == "program":
        torch.export.save(torch.export.export(model, images), path)
    elif form == "script":
        torch.jit.trace(model, images).save(path)
    else:
        beside = {"model": model.net.state_dict(), "penalty": PowerState(model.penalty).state_dict()}
        torch.save({"part": old_state(model), "beside": beside, "module": model}[form], path)
    network = load(path)
    prefix = "" if form == "beside" else "net."
    assert [layer.name for layer in network.layers] == [f"{prefix}0", f"{prefix}3"]
    assert all(isinstance(layer, Layer) for layer in network.layers)
    (note,) = (line for line in network.notes if "unfoldings.0.kept" in line)
    assert "training state of convsv" in note


def test_an_audit_of_nothing_but_it_finds_no_weights(tmp_path: Path) -> None:
    torch.save(PowerState(Trained(0)).state_dict(), tmp_path / "model.pt")
    with pytest.raises(UnreadableModelError, match="no weights"):
        load(tmp_path / "model.pt")


def test_a_kernel_of_such_a_name_is_a_row(tmp_path: Path) -> None:
    """Directions have three axes, and three of them."""
    weights = {
        "unfoldings.0.kept": torch.randn(4, 2, 3, 3),
        "unfoldings.1.kept": torch.randn(4, 3),
        "mix.kept": torch.randn(2, 4, 3),
        **{name: torch.randn(4, 4) for name in ("u", "v", "_u", "left", "right", "kept")},
    }
    torch.save(weights, tmp_path / "model.pt")
    save_file(weights, tmp_path / "model.safetensors")
    for name in ("model.pt", "model.safetensors"):
        network = load(tmp_path / name)
        assert {layer.name for layer in network.layers} == set(weights)
        assert not network.notes


def test_a_limited_layer_is_at_its_limit_with_and_without_its_parametrisation(tmp_path: Path) -> None:
    model = limited(0)
    for state in (model.state_dict(), old_state(model)):
        torch.save(state, tmp_path / "model.pt")
        layer, head = load(tmp_path / "model.pt").layers
        assert (layer.name, head.name) == ("0", "3")
        assert oracles.supremum(layer.read().numpy()) <= 0.1
    nn.utils.parametrize.remove_parametrizations(model.eval()[0], "weight")
    torch.save(model.state_dict(), tmp_path / "model.pt")
    kernel = load(tmp_path / "model.pt").layers[0].read()
    assert oracles.supremum(kernel.numpy()) <= 0.1


def test_a_graph_has_no_need_of_it(root: Path, tmp_path: Path) -> None:
    weights = torch.load(root / "sample_models/resnet20.pt", weights_only=True)
    directions = PowerState(Trained(0)).state_dict()
    torch.save({**weights, **directions}, tmp_path / "model.pt")
    network = load_with_graph(tmp_path / "model.pt", root / "sample_models/resnet20.onnx")
    assert network.graph is not None
