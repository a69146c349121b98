"""Weights under torch's orthogonal parametrization, and under others, whose raw tensor is stored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import orthogonal

from convsv_cli import load
from convsv_cli.model.layer import Layer, UnsupportedLayer

MAPS = ("matrix_exp", "cayley", "householder")
DEFAULT = {5: "matrix_exp", 7: "householder", 4: "householder"}


def trained(module: nn.Module) -> torch.Tensor:
    """Its weight, after steps that lead away from where all maps are the same."""
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.3)
    for _ in range(3):
        optimiser.zero_grad()
        (module.weight * torch.randn(module.weight.shape, generator=generator)).sum().backward()
        optimiser.step()
    return module.weight.detach().double()


def row(module: nn.Module, folder: Path) -> Layer | UnsupportedLayer:
    torch.save(module.state_dict(), folder / "model.pt")
    (found,) = load(folder / "model.pt").layers
    return found


@pytest.mark.parametrize("orthogonal_map", MAPS)
@pytest.mark.parametrize("sizes", [(5, 5), (7, 4), (4, 7)])
def test_matrices_with_a_base_have_the_singular_values_of_the_weight(
    orthogonal_map: str, sizes: tuple[int, int], tmp_path: Path
) -> None:
    """Whichever map it was; the weight itself is that of torch's default."""
    module = orthogonal(nn.Linear(*sizes), orthogonal_map=orthogonal_map)
    weight, found = trained(module), row(module, tmp_path)
    assert isinstance(found, Layer)
    assert DEFAULT[sizes[0]] in found.assumed[0]
    read = found.read()
    torch.testing.assert_close(torch.linalg.svdvals(read), torch.linalg.svdvals(weight), rtol=1e-6, atol=1e-6)
    is_default = orthogonal_map == DEFAULT[sizes[0]]
    assert torch.allclose(read, weight, rtol=0, atol=2e-6) == is_default


@pytest.mark.parametrize("sizes", [(5, 5), (7, 4), (4, 7)])
def test_reflections_are_known_by_their_signs(sizes: tuple[int, int], tmp_path: Path) -> None:
    module = orthogonal(nn.Linear(*sizes), orthogonal_map="householder", use_trivialization=False)
    weight, found = trained(module), row(module, tmp_path)
    assert isinstance(found, Layer)
    torch.testing.assert_close(found.read(), weight, rtol=0, atol=2e-6)


class Symmetric(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.triu() + x.triu(1).mT


def test_other_parametrizations_are_a_reason_beside_the_raw_norm(tmp_path: Path) -> None:
    custom = nn.Linear(4, 4)
    parametrize.register_parametrization(custom, "weight", Symmetric())
    identity = nn.Linear(4, 4)
    identity.weight.data = torch.eye(4)
    parametrize.register_parametrization(identity, "weight", Symmetric())
    plain = orthogonal(nn.Linear(5, 5), orthogonal_map="cayley", use_trivialization=False)
    for module, words in (
        (custom, "does not know"),
        (identity, "does not know"),
        (plain, "does not know"),
        (orthogonal(nn.Conv2d(3, 4, 3)), "which the file does not name"),
    ):
        found = row(module, tmp_path)
        raw = torch.linalg.matrix_norm(module.parametrizations.weight.original.flatten(1), 2).item()
        assert isinstance(found, UnsupportedLayer)
        assert words in found.reason
        said = float(found.reason.partition("a norm of about ")[2].split()[0])
        assert said == pytest.approx(raw, rel=0.02)


def test_parts_that_do_not_fit(tmp_path: Path) -> None:
    state = {
        "parametrizations.weight.original": torch.ones(4, 3),
        "parametrizations.weight.0.base": torch.eye(3),
    }
    torch.save(state, tmp_path / "model.pt")
    (found,) = load(tmp_path / "model.pt").layers
    assert isinstance(found, UnsupportedLayer)
    assert "does not fit" in found.reason
