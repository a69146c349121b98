"""Graphs of TorchScript: what its code computes, call by call, or why that is not known."""

from __future__ import annotations

import re
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convsv_cli import audit, certify
from convsv_cli.errors import UsageError
from convsv_cli.loaders import load_with_graph
from convsv_cli.model.network import InputSize
from convsv_cli.report import BOUNDED
from tests.support.scripted_modules import FOLLOWED, REFUSED, Base, computed, edited, network, saved

quick = partial(audit, network_effort="quick")


def flat(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [each for part in (value.values() if isinstance(value, dict) else value) for each in flat(part)]


@pytest.mark.parametrize("form", ["scripted", "scripted and frozen"])
def test_values_are_torchs(form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4)
    for kind in FOLLOWED:
        module = kind().eval()
        path, name = saved(module, x, tmp_path / "m.pt", form)
        found = network(path, name, x)
        assert found.graph is not None, found.no_graph
        for own, other in zip(
            computed(found, tmp_path, x), flat(torch.jit.load(path)(x.clone())), strict=True
        ):
            np.testing.assert_allclose(own, other.detach().numpy(), rtol=1e-5, atol=1e-5)


def test_what_is_no_function_of_the_input_alone_has_no_graph(tmp_path: Path) -> None:
    """In place, by attributes, by chance, or on data: its layers are audited all the same."""
    x = torch.randn(2, 4)
    for kind, reason in REFUSED:
        found = network(*saved(kind().eval(), x, tmp_path / "m.pt"), x)
        assert found.graph is None
        assert reason in found.no_graph, kind
        assert "linear" in [row.name for row in found.layers]
        assert "at line" not in reason or re.search(r"at line \d+ of code/__torch__/.*\.py$", found.no_graph)


class Two(nn.Module):
    """Two convolutions, the second of a smaller image."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.second, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(128, 4)
        self.drop = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.first(x)))
        return self.head(self.drop(torch.relu(self.second(y)).flatten(1)))


class Words(nn.Module):
    """A table that is looked up in."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.linear = nn.Embedding(7, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.size(1), device=x.device)
        return self.linear(self.table(x) + self.table(places))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return saved(Two().eval(), torch.ones(1), tmp_path_factory.mktemp("two") / "two.pt")[0]


def test_the_input_size_is_the_users(two: Path) -> None:
    """The channels are those that a convolution takes, and the rows have their own sizes then."""
    asked, told = quick(two, input_size=8), quick(two, input_shapes={"x": (1, 3, 8, 8)})
    assert asked.bound.lipschitz == told.bound.lipschitz
    assert [row.input_size for row in asked.layers] == [(8, 8), (4, 4), ()]
    assert not any(row.assumed for row in asked.layers)
    assert any("with as many channels as first takes" in line for line in asked.bound.assumptions)
    unsaid = quick(two).bound.reason
    assert "pass it, as in --input-size 32, or --input-shape x:1x3x32x32" in unsaid
    assert "torch refuses a call of linear in forward" in quick(two, input_size=16).bound.reason
    with pytest.raises(UsageError, match="forward takes no tensor called 'y'"):
        audit(two, input_shapes={"y": (1, 3, 8, 8)})


def test_a_trace_says_the_size_it_was_made_at(two: Path, tmp_path: Path) -> None:
    """Another one is asked for as of any file; whole numbers stay such."""
    module = Two().eval()
    module.load_state_dict(torch.jit.load(two).state_dict())
    traced, _ = saved(module, torch.ones(1, 3, 8, 8), tmp_path / "traced.pt", "traced")
    found = network(
        *saved(Words().eval(), torch.ones(1, 5, dtype=torch.int64), tmp_path / "w.pt", "traced"), None
    )
    assert quick(traced).bound.lipschitz == quick(two, input_size=8).bound.lipschitz
    assert "torch refuses" in quick(traced, input_size=16).bound.reason
    assert found.graph is not None


def test_it_is_certified_and_a_graph_for_others(two: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    line = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    path, _ = saved(line, torch.ones(1), tmp_path / "line.pt")
    x = torch.randn(1, 4)
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=line(x).argmax(1).numpy())
    found = certify(path, tmp_path / "data.npz")
    assert all(each.correct and each.radius > 0 for each in found.samples)
    torch.save(torch.jit.load(two).state_dict(), tmp_path / "state.pt")
    other = load_with_graph(tmp_path / "state.pt", two, InputSize(size=(8,)))
    assert other.graph is not None
    torch.save(line, tmp_path / "chain.pt")
    with pytest.raises(UsageError, match="not a graph"):
        load_with_graph(tmp_path / "state.pt", tmp_path / "chain.pt")


class Hooked(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def hook(self: Base, _inputs: tuple[Tensor], result: Tensor) -> Tensor:  # noqa: ARG001
    return result * 3


def test_hooks_of_the_whole_module_run_beside_its_code(tmp_path: Path) -> None:
    module, x = Hooked().eval(), torch.ones(2, 4)
    module.register_forward_hook(hook)
    found = network(*saved(module, x, tmp_path / "m.pt"), x)
    assert found.no_graph.endswith("its module has hooks, which run beside forward")


def test_training_is_seen(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
    path, _ = saved(module.train(), torch.ones(1), tmp_path / "m.pt")
    found = quick(path, input_shapes={"input": (1, 4)}).bound
    assert [obstacle.reason for obstacle in found.obstacles] == ["dropout in training"]
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    path, _ = saved(module.train(), torch.ones(1), tmp_path / "m.pt")
    reason = quick(path, input_shapes={"input": (2, 4)}).bound.reason
    assert "forward changes a stored tensor by torch.add_" in reason
    assert "the module was saved in training: call eval() before" in reason


BEGINNING = "class Hooked(Module):\n  def forward(self: Hooked, x: Tensor) -> Tensor:\n"
RARE = (
    ('return torch.mul(x, int(torch.__contains__("cat", "at")))',),
    ("a = torch.mul(ops.prim.NumToTensor(1e300), ops.prim.NumToTensor(1e-300))", "return torch.mul(x, a)"),
    ("return torch.mul(x, torch.div(torch.tensor(5), torch.tensor(3)))",),
    ("return torch.mul(x, torch.mean(torch.full([2], 5), [0]))",),
    ("return torch.softmax(torch.view_copy(x, [8]), 0)",),
)
"""Lines of `forward` whose values depend on what torch does where Python does something else."""


def test_rare_code_does_what_it_does_in_torch(tmp_path: Path) -> None:
    """Whole numbers were divided towards zero once, so that 5 / 3 was 1, for files of that version."""
    path, _ = saved(Hooked().eval(), torch.ones(1), tmp_path / "m.pt")
    x, results = torch.ones(2, 4), []
    for lines in RARE:
        edited(path, "class Hooked", BEGINNING + "".join(f"    {line}\n" for line in lines))
        (own,) = computed(network(path, "x", x), tmp_path, x)
        np.testing.assert_allclose(own, torch.jit.load(path)(x).numpy(), rtol=1e-6)
        results.append(float(own.max()))
    edited(path, "3", "10", ending="version")
    assert results == [1.0, 1.0, 1.0, 5.0, 0.125]
    edited(path, "class Hooked", BEGINNING + f"    {RARE[2][0]}\n")
    (own,) = computed(network(path, "x", x), tmp_path, x)
    assert own.max() == np.float32(5 / 3)


HOSTILE = (
    (("return (self).forward(x, )",), "forward calls functions inside functions without end"),
    (("a = [1]", *("a = torch.add(a, a)",) * 60, "return x"), "would take"),
    (("a = [1]", *("a = [a, a]",) * 60, "b = torch.eq(a, a)", "return x"), "is not followed (TypeError)"),
    (("a = (x, x)", *("a = (a, a)",) * 60, "return a"), "would take"),
    (("a = torch.mul([1], 4611686018427387904)", "return x"), "would take"),
    (("a = 3", *("a = torch.mul(a, a)",) * 60, "return x"), "is not followed (ValueError)"),
    (("for i in range(4611686018427387904):", "  x = torch.relu(x)", "return x"), "would take"),
    (("while True:", "  pass", "return x"), "would take"),
    ((f"a = {'(' * 5_000}", "return x"), "is of a form that convsv does not follow"),
    ((f"a = self{'.a' * 5_000}", "return x"), "is of a form that convsv does not follow"),
    ((f"a = {'-' * 5_000}1", "return x"), "is of a form that convsv does not follow"),
    ((f'a = "{"a" * 50_000}"', "return x"), "is not followed (ValueError)"),
    (("a = self.__class__", "return x"), "an attribute '__class__' that its module does not have"),
    (("return torch.__class__(x)",), "forward calls torch.__class__, which convsv does not translate"),
    (('return torch.save(x, "it")',), "forward calls torch.save, which convsv does not translate"),
    (("return ops.aten.system(x)",), "forward calls ops.aten.system, which convsv does not know"),
    (("return CONSTANTS.c7",), "a constant 'c7' that is not there"),
    (("a = torch.unbind(torch.zeros([1099511627776]))", "return x"), "would take"),
    (("a = torch.tensor_split(torch.zeros([1099511627776]), 1099511627776)", "return x"), "would take"),
    (("return torch.repeat(x, [4611686018427387904, 1])",), "torch refuses a call of repeat"),
    (("return torch.pixel_shuffle(x, 0)",), "torch refuses a call of pixel_shuffle"),
    (("return torch.add(x, 1, out=x)",), "in a form that convsv does not know"),
    (("return self",), "forward returns an object"),
    (("return torch.mul(x, 010)",), "which torch takes for octal"),
    (("y = torch.mul_(x, 2)\n# It goes on.", "return torch.mul(x, 3)"), "is neither of a function"),
    (('"""\nclass Hooked(Module):\n"""', "return x"), "has a text of several lines"),
    (("return torch.tensor(300, dtype=0)",), "forward writes a number that its type does not have"),
    (("return x if torch.eq(nan, nan) else torch.mul(x, 2)",), "is not followed (ValueError)"),
)
"""Lines of `forward`, and what is said of them."""


def test_hostile_code_is_neither_run_nor_followed_without_end(tmp_path: Path) -> None:
    path, _ = saved(Hooked().eval(), torch.ones(1), tmp_path / "m.pt")
    start = time.process_time()
    for lines, reason in HOSTILE:
        code = BEGINNING + "".join(f"    {line}\n" for line in lines)
        changed = edited(path, "class Hooked", code)
        found = quick(changed, input_shapes={"x": (2, 4)}, step_limit=3e7).bound
        assert reason in found.reason, lines[0][:40]
    assert time.process_time() - start < 10
    assert not Path("it").exists()
    assert quick(path).bound.status != BOUNDED
