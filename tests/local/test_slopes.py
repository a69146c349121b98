"""Slopes by the sign of what they are multiplied by."""

import pytest
import torch

from convsv_cli.local import region
from convsv_cli.local.choices import sloped


def drawn(*shape: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(shape, dtype=torch.float64).requires_grad_() for _ in range(3))


@pytest.mark.parametrize("size", [1, 7, 2**16])
def test_they_are_chosen_by_sign(size, monkeypatch):
    monkeypatch.setattr(region, "CHUNK", size)
    v, lower, upper = drawn(3, 4, 5)
    assert torch.equal(sloped(v, lower, upper), torch.where(v > 0, v * lower, v * upper))


def test_gradients_are_those_of_finite_differences():
    assert torch.autograd.gradcheck(sloped, drawn(3, 4, 5))


def test_at_0_nothing_goes_on():
    v, lower, upper = (torch.full((1, 1), x, requires_grad=True) for x in (0.0, 2.0, 3.0))
    found = sloped(v, lower, upper)
    found.backward()
    assert (found.item(), float(v.grad), float(lower.grad), float(upper.grad)) == (0.0, 3.0, 0.0, 0.0)
