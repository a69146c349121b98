"""Calls of ATen's operators with rare arguments: translated to torch's values, or refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from convsv_cli.loaders.pt2.translation.writer import UntranslatedError
from tests.support.exported_programs import computed, exported, translation
from tests.support.torch_networks import Of

Tensor = torch.Tensor


def translated(x: Tensor) -> Sequence[Tensor]:
    truth = x > 0
    return [
        torch.rsub(x, 2 * x + 1, alpha=3),
        torch.flip(x, ()),
        torch.narrow(x, 1, -2, 2),
        torch.index_select(x, 1, torch.tensor(1)),
        torch.any(truth, dim=[]),
        truth == 2,
        F.rms_norm(1e-5 * x.double(), (3,)),
        torch.addmm(x * np.inf, x, torch.eye(3), beta=0, alpha=2),
        torch.round(x, decimals=0),
        x * x.sum().softmax(0) + x.sum().log_softmax(0),
        x + torch.arange(0.5, 3, 1.5, dtype=torch.int64)[-1],
        x * torch.bitwise_not(torch.arange(3)),
    ]


def test_values_of_rare_arguments_are_torchs(tmp_path: Path) -> None:
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    scaled = [
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 4), dim=axis)
        for axis in (None, 1)  # None is along all axes
    ]
    module = nn.ModuleDict({str(i): each for i, each in enumerate(scaled)})

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scaled = module

        def forward(self, x: Tensor) -> list[Tensor]:
            return [*translated(x), *(each(x) for each in self.scaled.values()), *(2 * [x + 1])]

    both = Both()
    found = computed(exported(both, [x], tmp_path / "m.pt2"), [x])
    for value, expected in zip(found, both(x), strict=True):
        np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-5, atol=1e-6)


FOREIGN: dict[str, Callable[[Tensor], Tensor]] = {
    "jumps": lambda x: F.softplus(x, 1, 1),
    "rounds": lambda x: torch.round(x, decimals=1),
    "lengths of two shapes": lambda x: F.cosine_similarity(x[:, :1], x, dim=1),
    "types": lambda x: (x > 0) == torch.tensor([2, 1, 0]),
    "types of reals": lambda x: x.half() == x,
    "one number": lambda x: x.sum().cumsum(0),
    "one image": lambda x: F.pixel_shuffle(x.reshape(1, 1, 6), 1),
    "nothing, at a place": lambda x: torch.slice_scatter(x, x[:, :0], 1, 2, 1),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_has_no_translation_is_a_node_without_a_rule(name: str, tmp_path: Path) -> None:
    _, model = translation(exported(Of(FOREIGN[name]), [torch.ones(2, 3)], tmp_path / "m.pt2"))
    assert [node.domain for node in model.graph.node if node.domain] == ["aten"]


def into_a_view(view: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def changed(x: Tensor) -> Tensor:
        own = 2 * x
        view(own).add_(1)
        return own * 3

    return changed


def several(x: Tensor) -> Tensor:
    first, second = x * 1, x * 2
    torch._foreach_mul_([first, second], 3.0)  # gives nothing, and changes both
    return first + second


CHANGED: dict[str, Callable[[Tensor], Tensor]] = {
    "einsum": into_a_view(lambda x: torch.einsum("ij->ji", x)),
    "adjoint": into_a_view(lambda x: x.adjoint()),
    "several": several,
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_is_changed_by_another_name_is_refused(name: str, tmp_path: Path) -> None:
    path = exported(Of(CHANGED[name]), [torch.ones(2, 3)], tmp_path / "m.pt2")
    with pytest.raises(UntranslatedError, match="in place"):
        translation(path)


class Twice(nn.Module):
    """A weight in the file by the name of an input, and of what an operator gives."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        setattr(self, name, nn.Parameter(2 * torch.eye(3)))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, getattr(self, self._name)) + x


@pytest.mark.parametrize("name", ["x", "linear"])
def test_no_tensor_is_taken_for_another_of_its_name(name: str, tmp_path: Path) -> None:
    path = exported(Twice(name), [torch.ones(3, 3)], tmp_path / "m.pt2")
    with pytest.raises(UntranslatedError, match=f"'{name}' is the name of a stored tensor"):
        translation(path)
