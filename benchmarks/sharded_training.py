"""States that two processes of torch shard, against torch's own: python benchmarks/sharded_training.py.

FSDP 1 and 2, and DTensors split along rows, columns and input channels, by gloo on this machine; saved by
torch.distributed.checkpoint and in a file for each rank. Prints the largest difference of a weight or norm.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import multiprocessing, nn
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, StateDictType, fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

sys.path.insert(0, str(Path(__file__).parent.parent))

from convsv_cli import audit, load
from convsv_cli.model.layer import Layer

RANKS = 2
PORT = "29517"
TOLERANCE = 1e-6


def net() -> nn.Sequential:
    """The same in every process."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(45, 7), nn.Linear(7, 3))


def fsdp2(folder: Path, mesh: DeviceMesh) -> dict[str, torch.Tensor]:
    """One step of AdamW, so that there is the state of an optimiser beside the model."""
    model = net()
    fully_shard(model, mesh=mesh)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3, 5, 5)).sum().backward()
    optimiser.step()
    state, kept = get_state_dict(model, optimiser)
    dcp.save({"model": state, "optim": kept}, checkpoint_id=folder / "FSDP 2, checkpoint")
    _by_rank(folder / "FSDP 2, by rank", model.state_dict())
    return {name: value.full_tensor() for name, value in state.items() if isinstance(value, DTensor)}


def fsdp1(folder: Path, _mesh: DeviceMesh) -> dict[str, torch.Tensor]:
    """Parameters as `ShardedTensor`s."""
    model = FullyShardedDataParallel(net(), device_id=torch.device("cpu"), use_orig_params=True)
    with FullyShardedDataParallel.state_dict_type(model, StateDictType.SHARDED_STATE_DICT):
        state = model.state_dict()
    dcp.save({"model": state}, checkpoint_id=folder / "FSDP 1, checkpoint")
    _by_rank(folder / "FSDP 1, by rank", state)
    return dict(net().state_dict())


def split(folder: Path, mesh: DeviceMesh) -> dict[str, torch.Tensor]:
    """Parameters as tensor parallelism splits them, and one that is on all."""
    state = net().state_dict()
    axes = {"0.weight": Shard(1), "3.weight": Shard(1), "4.weight": Shard(0), "4.bias": Replicate()}
    parts = {name: distribute_tensor(state[name], mesh, [placed]) for name, placed in axes.items()}
    dcp.save(parts, checkpoint_id=folder / "DTensor, checkpoint")
    _by_rank(folder / "DTensor, by rank", parts)
    return {name: state[name] for name in axes}


WAYS: tuple[Callable[[Path, DeviceMesh], dict[str, torch.Tensor]], ...] = (fsdp2, fsdp1, split)


def _by_rank(folder: Path, state: object) -> None:
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / f"pytorch_model_0_rank{dist.get_rank()}.bin")


def work(rank: int, folder: Path) -> None:
    """What one process does."""
    warnings.simplefilter("ignore")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=PORT)
    dist.init_process_group("gloo", rank=rank, world_size=RANKS)
    mesh = init_device_mesh("cpu", (RANKS,))
    for way in WAYS:
        whole = way(folder, mesh)
        if rank == 0:
            torch.save(whole, folder / f"{way.__name__}.pt")
    dist.destroy_process_group()


def compared(path: Path, expected: dict[str, torch.Tensor]) -> float:
    """The largest difference of a weight, or of a norm, from torch's own."""
    wanted = {name: value.double() for name, value in expected.items() if value.ndim > 1}
    found = {row.weight: row.read().double() for row in load(path).layers if isinstance(row, Layer)}
    if found.keys() != wanted.keys():
        raise SystemExit(f"{path}: {sorted(found)} instead of {sorted(wanted)}")
    apart = max((found[name] - value).abs().max().item() for name, value in wanted.items())
    for layer in audit(path, tolerance=TOLERANCE / 10).layers:
        if len(layer.kernel_shape) == 2:
            norm = torch.linalg.matrix_norm(wanted[layer.weight], 2).item()
            apart = max(apart, abs(layer.measurement("certified").value - norm) / norm)
    return apart


def main() -> int:
    """1 where a weight or a norm is not torch's."""
    worst = 0.0
    with TemporaryDirectory() as name:
        folder = Path(name)
        multiprocessing.spawn(work, args=(folder,), nprocs=RANKS)
        names = {"FSDP 2": "fsdp2", "FSDP 1": "fsdp1", "DTensor": "split"}
        for path in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
            whole = torch.load(folder / f"{names[path.name.partition(',')[0]]}.pt")
            apart = compared(path, whole)
            worst = max(worst, apart)
            print(f"{path.name:<22} {apart:.1e}", flush=True)
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
