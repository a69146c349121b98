"""Checkpoints of any shape: each tensor that could be a weight is a row, a named non-layer or counted."""

from __future__ import annotations

import collections
import dataclasses
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from torch import nn

from convsv_cli import audit, load
from convsv_cli.model.layer import Layer
from convsv_cli.model.network import Network
from tests.support.command_line import convsv


def saved(value: object, folder: Path) -> Path:
    path = folder / "model.pt"
    torch.save(value, path)
    return path


def state(*names: str) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": torch.rand(3, 4) for name in names or ("a",)}


def weights(network: Network) -> list[str]:
    return [row.weight for row in network.layers]


@pytest.mark.parametrize(
    "key",
    ["hyperprior", "rescaler", "random_proj", "loss_net", "config_encoder", "grad_scaler_net", "teacher"],
)
def test_no_word_inside_a_name_makes_it_training_state(key: str, tmp_path: Path) -> None:
    network = load(saved({"encoder": state(), key: state()}, tmp_path))
    assert weights(network) == ["encoder.a.weight", f"{key}.a.weight"]
    network = load(saved({"model": state(), key: state("a", "b")}, tmp_path))
    assert network.left_out == (f"also holds {key!r}: not audited (2 tensors: could be weights)",)
    network = load(saved({f"{key}.weight": torch.ones(2, 2)}, tmp_path))
    assert weights(network) == [f"{key}.weight"]


@pytest.mark.parametrize("key", ["loss", "kwargs", "config", "optimizer", "optim_g"])
def test_a_name_alone_does_not_prove_training_state(key: str, tmp_path: Path) -> None:
    network = load(saved({"encoder": state(), key: state()}, tmp_path))
    assert weights(network) == ["encoder.a.weight"]
    (note,) = network.left_out
    assert note.startswith(f"also holds {key!r}: not audited (1 tensor")
    assert weights(load(saved({key: state()}, tmp_path))) == [f"{key}.a.weight"]


class Dict(dict[str, Any]):
    """A dict of a class of its own."""


class List(list[Any]):
    """A list of a class of its own."""


Pair = collections.namedtuple("Pair", ["model", "step"])  # noqa: PYI024


@dataclasses.dataclass
class State:
    model: dict[str, Any]
    scale: torch.Tensor


class Slots:
    __slots__ = ("kernel",)

    def __init__(self) -> None:
        self.kernel = torch.ones(3, 3)


NESTS: dict[str, tuple[Any, list[str]]] = {
    "a list beside a dict": (
        {"models": [state(), state()], "head": state()},
        ["models.0.a.weight", "models.1.a.weight", "head.a.weight"],
    ),
    "a list": ([state(), state()], ["0.a.weight", "1.a.weight"]),
    "weights and a number": ((state(), 3), ["a.weight"]),
    "numbers as keys": ({0: state(), 1: state()}, ["0.a.weight", "1.a.weight"]),
    "keys that look alike": ({0: torch.ones(2, 2), "0": torch.ones(2, 2)}, ["0", "0 (2)"]),
    "a dict of its own class": (Dict(state()), ["a.weight"]),
    "a list of its own class": (List([state(), state()]), ["0.a.weight", "1.a.weight"]),
    "a deque": (collections.deque([state(), state()]), ["0.a.weight", "1.a.weight"]),
    "deep": ({"a": {"b": [{"c": ({"d": {"e": {"f": {"g": {"h": {"i": state()}}}}}}, state())}]}},
             ["a.b.c.0.d.e.f.g.h.i.a.weight", "a.b.c.1.a.weight"]),
    "wrapped lists": ({"model": [state(), state()]}, ["0.a.weight", "1.a.weight"]),
}  # fmt: skip
OBJECTS: dict[str, tuple[Any, list[str]]] = {
    "a named tuple": ({"a": Pair(state("a", "b"), 3)}, ["a.0.a.weight", "a.0.b.weight"]),
    "attributes": ({"a": State(state(), torch.ones(2, 2))}, ["a.scale", "a.model.a.weight"]),
    "slots": ({"a": Slots()}, ["a"]),
    "an array of objects": (
        {"a": np.array([state(), state()], dtype=object)},
        ["a.state.0.a.weight", "a.state.1.a.weight"],
    ),
}


@pytest.mark.parametrize("kind", NESTS)
def test_containers_of_any_kind_are_walked(kind: str, tmp_path: Path) -> None:
    value, expected = NESTS[kind]
    network = load(saved(value, tmp_path))
    assert weights(network) == expected
    assert network.notes == ()


@pytest.mark.parametrize("kind", OBJECTS)
def test_weights_in_objects_are_rows_that_are_not_audited(kind: str, tmp_path: Path) -> None:
    value, expected = OBJECTS[kind]
    network = load(saved(value, tmp_path))
    assert weights(network) == expected
    assert not any(isinstance(row, Layer) for row in network.layers)


class Odd(nn.Module):
    """A module with weights outside its registries."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.kernel = torch.ones(3, 3)
        self.others = [nn.Linear(2, 2), self.linear]
        self.recurrent = nn.LSTM(2, 2)


def test_what_a_module_has_outside_its_registries(tmp_path: Path) -> None:
    network = load(saved(Odd(), tmp_path))
    expected = [
        "linear.weight",
        "recurrent.weight_ih_l0",
        "recurrent.weight_hh_l0",
        "kernel",
        "others.0.weight",
    ]
    assert weights(network) == expected


class Scripted(nn.Module):
    """A module with a list of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = [torch.ones(3, 3), torch.rand(3, 3)]
        self.named = {"b": torch.ones(3, 3)}
        self.recurrent = nn.LSTM(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.recurrent(x @ self.pieces[0] @ self.pieces[1] @ self.named["b"])[0]


def test_containers_of_scripted_modules(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Scripted()), tmp_path / "model.pt")
    recurrent = ["recurrent.weight_ih_l0", "recurrent.weight_hh_l0"]
    assert weights(load(tmp_path / "model.pt")) == [*recurrent, "pieces.0", "pieces.1", "named.b"]


OPTIMISERS = [
    torch.optim.Adam,
    torch.optim.Adagrad,
    torch.optim.RMSprop,
    torch.optim.Adadelta,
    torch.optim.Rprop,
]


@pytest.mark.parametrize("kind", OPTIMISERS, ids=lambda kind: kind.__name__)
def test_optimisers_are_told_by_their_structure(kind: Any, tmp_path: Path) -> None:
    module = nn.Linear(3, 4)
    optimiser = kind(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    value = {"weights_of_it": module.state_dict(), "x": optimiser.state_dict(), "y": [optimiser.state_dict()]}
    for extra in ({}, {"z": optimiser}):
        network = load(saved(value | extra, tmp_path))
        assert weights(network) == ["weights_of_it.weight"]
        assert [note.split("'")[1] for note in network.notes] == ["x", "y", *extra]
        assert all(
            "tensors: state of an optimiser" in note or "(1 tensor: state" in note for note in network.notes
        )
        assert network.left_out == ()
    assert convsv("audit", saved(value, tmp_path)).returncode == 0


def test_a_state_dict_in_the_place_of_an_optimiser(tmp_path: Path) -> None:
    """It has the keys of one, but keeps of its parameters what only networks have."""
    value = {"a": state(), "b": {"state": {0: state()}, "param_groups": [{"params": [0]}]}}
    assert weights(load(saved(value, tmp_path))) == ["a.a.weight", "b.state.0.a.weight"]
    value = {"a": state(), "b": {"state": state(), "param_groups": []}}
    assert weights(load(saved(value, tmp_path))) == ["a.a.weight", "b.state.a.weight"]


AVERAGES: dict[str, tuple[dict[str, Any], bool]] = {
    "ema": ({"model": state(), "ema": state()}, True),
    "params_ema": ({"params": state(), "params_ema": state()}, True),
    "g_ema": ({"g": state(), "g_ema": state()}, True),
    "numbered": ({"model": state(), "ema": {"decay": 0.9, "shadow_params": [torch.ones(3, 4)]}}, True),
    "mangled": (
        {"state_dict": {"model.a.b.weight": torch.ones(3, 4), "model_ema.abweight": torch.zeros(3, 4)}},
        True,
    ),
    "another shape": ({"model": state(), "ema": {"a.weight": torch.ones(4, 4)}}, False),
    "another name": ({"model": state(), "ema": state("b")}, False),
    "no such network": ({"g": state(), "other_ema": state()}, False),
}


@pytest.mark.parametrize("kind", AVERAGES)
def test_averages_are_left_out_where_they_are_of_audited_weights(kind: str, tmp_path: Path) -> None:
    value, is_average = AVERAGES[kind]
    network = load(saved(value, tmp_path))
    assert (len(network.layers) == 1 and not network.left_out) == is_average
    assert any("averages of the audited weights" in note for note in network.notes) == is_average
    assert len(network.layers) == 2 or len(network.notes) == 1


def test_what_is_left_out_leaves_the_audit_incomplete(tmp_path: Path) -> None:
    budget = tmp_path / "convsv.toml"
    budget.write_text("max-layer = 100\n")
    path = saved({"model": state(), "head": state("a", "b")}, tmp_path)
    message = "also holds 'head': not audited (2 tensors: could be weights)"
    (finding,) = [f for f in audit(path).findings if f.rule == "left-out-weights"]
    assert (finding.severity, finding.message) == ("warning", message)
    process = convsv("check", path, "--config", budget)
    assert process.returncode == 3
    assert "1 part of the file left out" in process.stdout
    for form in ("table", "json", "junit"):
        assert "could be weights" in convsv("check", path, "--config", budget, "--format", form).stdout
    path = saved({"model": state(), "ema": state()}, tmp_path)
    assert convsv("check", path, "--config", budget).returncode == 0


def test_deep_nests_are_counted(tmp_path: Path) -> None:
    value: Any = state()
    for _ in range(100):
        value = {"x": value}
    network = load(saved({"a": value, "b": state()}, tmp_path))
    assert network.left_out == ("also holds 'a': not audited (1 tensor: nested more than 64 deep)",)


SHAPES = ((2, 3), (3,), (1, 4), (2, 2, 3, 3), (), (3, 1, 1))
KEYS = (
    "a.weight", "head", "model", "state_dict", "ema", "g_ema", "loss", "loss_net", "optimizer", "hyperprior",
    "b", "weights", "0", "x.weight", "state", "param_groups",
)  # fmt: skip
LEAVES = st.one_of(st.sampled_from(SHAPES), st.just(3), st.none(), st.text(max_size=3))


def nests(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.one_of(st.sampled_from(KEYS), st.integers(0, 2), st.none(), st.booleans())
    return st.one_of(
        st.dictionaries(keys, inner, max_size=4),
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=2).map(Dict),
        st.builds(Pair, inner, inner),
    )


NESTED = st.dictionaries(st.sampled_from(KEYS), st.recursive(LEAVES, nests, max_leaves=12), max_size=5)


def filled(value: Any) -> tuple[Any, int]:
    """Shapes replaced by tensors, and how many of those could be weights."""
    if value in SHAPES:
        return torch.rand(value), int(len(value) > 1)
    if isinstance(value, dict):
        items = {key: filled(item) for key, item in value.items()}
        return type(value)({key: item for key, (item, _) in items.items()}), sum(n for _, n in items.values())
    if isinstance(value, (list, tuple)):
        parts = [filled(item) for item in value]
        inside = [item for item, _ in parts]
        made = Pair(*inside) if isinstance(value, Pair) else type(value)(inside)
        return made, sum(count for _, count in parts)
    return value, 0


@seed(14)
@settings(max_examples=150, deadline=None, database=None)
@given(nest=NESTED)
def test_no_tensor_is_lost(nest: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    value, count = filled({"anchor.weight": (2, 3), **nest})
    network = load(saved(value, tmp_path_factory.mktemp("nest")))
    named = sum(int(re.search(r"[(:] ?(\d+) tensor", note)[1]) for note in network.notes)  # type: ignore[index]
    rows = sum(1 + len(row.aliases) for row in network.layers)
    assert rows + named == count
