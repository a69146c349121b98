"""Adam, beside torch's."""

from __future__ import annotations

import pytest
import torch

from convsv_cli.numerics.adam import Adam


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.95)])
def test_its_steps_are_those_of_torch(betas: tuple[float, float]) -> None:
    start = torch.randn(3, 2, dtype=torch.float64)
    own, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    adam, optimiser = Adam([own], betas), torch.optim.Adam([theirs], betas=betas)
    for step in range(5):
        rate = 0.1 / (step + 1)
        for point in (own, theirs):
            (point.square().sum() + point[0, 0].exp()).backward()
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()
        optimiser.zero_grad()
        adam.step(rate)
        assert own.grad is None
        torch.testing.assert_close(own, theirs)


def test_each_parameter_has_its_rate_and_those_without_a_gradient_stay() -> None:
    fast, slow, still = (torch.ones(1, requires_grad=True) for _ in range(3))
    (fast + slow).sum().backward()
    Adam([fast, slow, still]).step([0.5, 0.25, 1.0])
    assert [float(x.detach()) for x in (fast, slow, still)] == pytest.approx([0.5, 0.75, 1.0], abs=1e-6)
