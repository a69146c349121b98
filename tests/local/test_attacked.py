"""No attack gets into a certified radius; and attacks come close enough to show what is too large."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from convsv_cli.local import QUICK, Problem, radii
from tests.support.attacks import nearest_found
from tests.support.local_nets import attacked, random_net
from tests.support.sampling import one_in

NETS = (23, 6, 2, 1, 9, 3)
"""Seeds of networks whose radii attacks get near to."""
SAMPLES = 160


@pytest.mark.parametrize("seed", one_in(4, NETS))
def test_no_attack_gets_into_a_radius(seed: int, tmp_path: Path) -> None:
    net = attacked(random_net(seed), tmp_path)
    generator = torch.Generator().manual_seed(seed)
    shape = net.program.shapes[net.program.source]
    x = torch.randn(SAMPLES, *shape, generator=generator, dtype=torch.float64)
    classes = net.logits(x).argmax(1)
    proven = radii(Problem(program=net.program, x=x, classes=classes), QUICK)
    found = nearest_found(net.logits, x, proven)
    assert (proven > 0).all()
    assert (found >= proven).all()
    assert (found < 2 * proven).any()
