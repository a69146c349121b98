"""The penalty where training is more than a loop: values and gradients are those of the plain one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.utils.checkpoint import checkpoint_sequential

from convsv_cli import LipschitzPenalty, NetworkBoundLoss
from convsv_cli.errors import UsageError

X = torch.linspace(-1, 1, 4 * 75, dtype=torch.float64).view(4, 3, 5, 5)
STEPS = 2


def net() -> nn.Sequential:
    """The same in every process."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(45, 7), nn.Linear(7, 3)
    return nn.Sequential(*layers).double()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Of the whole weights, by the names that they have without wrappers."""
    whole = {name: weight.grad for name, weight in model.named_parameters()}
    return {
        name.removeprefix("module."): grad.full_tensor() if hasattr(grad, "full_tensor") else grad
        for name, grad in whole.items()
    }


def stepped(model: nn.Module, x: Tensor) -> tuple[list[float], dict[str, Tensor]]:
    """The values of some steps, and the gradients of the last one."""
    penalty, values = LipschitzPenalty(model), []
    for number in range(STEPS):
        model.zero_grad()
        if number == 0:
            added, output = penalty(), model(x)
        else:
            output, added = model(x), penalty()
        values.append(added.item())
        (output.square().mean() + added).backward()
    return values, gradients(model)


def sharded(model: nn.Module) -> nn.Module:
    """Layer by layer, as transformers are."""
    fully_shard(model[0])
    fully_shard(model[3])
    return fully_shard(model)


def in_processes(rank: int, ranks: int, store: Path) -> None:
    """What one of several processes does, each of which sees its own part of the batch."""
    warnings.simplefilter("ignore")
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    try:
        values, expected = stepped(net(), X)
        for wrapped in (nn.parallel.DistributedDataParallel, sharded):
            found, own = stepped(wrapped(net()), X.chunk(ranks)[rank])
            assert found == values
            torch.testing.assert_close(own, expected, rtol=1e-10, atol=1e-12)
        with pytest.raises(UsageError, match="are spread over processes \\(shard them with fully_shard\\)"):
            LipschitzPenalty(FullyShardedDataParallel(net(), device_id=torch.device("cpu")))
        with pytest.raises(UsageError, match="are spread over processes"):
            NetworkBoundLoss(sharded(net()), X[:1])
    finally:
        distributed.destroy_process_group()


def test_in_a_process(tmp_path: Path) -> None:
    in_processes(0, 1, tmp_path / "store")


@pytest.mark.exhaustive
def test_in_two_processes(tmp_path: Path) -> None:
    multiprocessing.spawn(in_processes, args=(2, tmp_path / "store"), nprocs=2)


def scaled(model: nn.Module, penalty: Callable[[], Tensor]) -> dict[str, Tensor]:
    """A step in which losses are scaled and outputs are in bfloat16, computed again for the way back."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.0)
    with torch.autocast("cpu", torch.bfloat16):
        output = checkpoint_sequential(model, 2, X.float(), use_reentrant=False)
        loss = output.float().square().mean() + penalty()
    scaler.scale(loss).backward()
    scaler.unscale_(optimiser)
    return gradients(model)


def test_with_scaled_losses_and_layers_that_are_computed_again() -> None:
    """What the penalty adds to the gradients of a step in mixed precision is its own gradient."""
    plain, model, alone = (net().float() for _ in range(3))
    LipschitzPenalty(plain)().backward()
    together, without = scaled(model, LipschitzPenalty(model)), scaled(alone, lambda: torch.zeros(()))
    for name, expected in gradients(plain).items():
        added = together[name] - without[name]
        torch.testing.assert_close(
            added, torch.zeros_like(added) if expected is None else expected, rtol=1e-4, atol=1e-5
        )
