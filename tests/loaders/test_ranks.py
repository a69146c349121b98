"""Models that ranks have shares of: DeepSpeed's, Megatron's and FSDP's files beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from convsv_cli import audit, load
from convsv_cli.errors import ConvsvError, UnreadableModelError, UnsafeModelError
from convsv_cli.loaders import parts_of
from convsv_cli.loaders.checkpoint.values import Global, Record, Tensor
from convsv_cli.loaders.distributed.sharded_tensors import _shards
from convsv_cli.model.layer import Layer
from convsv_cli.sweeping.discovery import discover
from tests.support.distributed import Edit, megatron, zero

DRAW = torch.Generator().manual_seed(0)
GROUPS = [
    {"conv.weight": torch.randn(4, 3, 3, 3, generator=DRAW), "conv.bias": torch.randn(4, generator=DRAW)},
    {"fc.weight": torch.randn(5, 7, generator=DRAW), "fc.bias": torch.randn(5, generator=DRAW)},
]
FROZEN = {"stem.weight": torch.randn(3, 5, generator=DRAW)}
BUFFERS = {"norm.mean": torch.randn(4, generator=DRAW)}
WEIGHTS = {name: value for group in (FROZEN, *GROUPS) for name, value in group.items() if value.ndim > 1}


def rows(path: Path) -> dict[str, torch.Tensor]:
    return {row.weight: row.read() for row in load(path).layers if isinstance(row, Layer)}


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("ranks", [1, 3])
def test_partitions_of_zero_are_the_float32_weights(stage: int, ranks: int, tmp_path: Path) -> None:
    folder = zero(tmp_path, GROUPS, stage=stage, ranks=ranks, frozen=FROZEN, buffers=BUFFERS)
    found = rows(folder)
    assert found.keys() == WEIGHTS.keys()
    for name, value in found.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, WEIGHTS[name])
    conv = next(row for row in load(folder).layers if row.weight == "conv.weight")
    assert conv.aliases == ("tied.weight",)
    home = folder / "global_step7"
    assert rows(home).keys() == rows(next(home.glob("*model_states.pt"))).keys() == WEIGHTS.keys()
    files = ranks + (ranks if stage == 3 else 1)
    assert len(audit(folder).model.files) == files == 1 + len(parts_of(next(home.glob("*model_states.pt"))))


def kept(change: dict[str, Any]) -> Edit:
    """The optimiser's files say something else."""
    return lambda name, value: value["optimizer_state_dict"].update(change) if "optim" in name else None


def shapes(name: str, shape: tuple[int, ...]) -> Edit:
    return lambda file, value: value["param_shapes"][1].update({name: shape}) if "model" in file else None


WRONG: list[tuple[int, Edit, str, type[ConvsvError]]] = [
    (2, kept({"partition_count": 3}), "of 3 ranks by ZeRO 2, and files of 2", UnreadableModelError),
    (2, kept({"zero_stage": [[]]}), "by ZeRO [?]", UnreadableModelError),
    (
        2,
        kept({"single_partition_of_fp32_groups": [torch.ones(8)]}),
        "not those of its optimiser",
        UnreadableModelError,
    ),
    (2, kept({"single_partition_of_fp32_groups": 3}), "no partitions", UnreadableModelError),
    (2, shapes("fc.weight", (50, 7)), "too short", UnreadableModelError),
    (2, shapes("fc.weight", (1, 7)), "has 12 entries, and its optimiser 40", UnreadableModelError),
    (3, shapes("fc.weight", (50, 7)), "too short", UnreadableModelError),
    (3, shapes("fc.weight", (1, 7)), "entries a rank", UnreadableModelError),
    (3, kept({"fp32_flat_groups": [torch.ones(80)]}), "entries a rank", UnreadableModelError),
    (3, shapes("fc.weight", (1 << 60, 7)), "impossible", UnsafeModelError),
    (3, shapes("fc.weight", (-5, 7)), "impossible", UnsafeModelError),
]


@pytest.mark.parametrize(
    ("stage", "edit", "fragment", "kind"), WRONG, ids=[str(i) for i in range(len(WRONG))]
)
def test_partitions_that_do_not_fit_are_refused(
    stage: int, edit: Edit, fragment: str, kind: type[ConvsvError], tmp_path: Path
) -> None:
    with pytest.raises(kind, match=fragment) as raised:
        load(zero(tmp_path, GROUPS, stage=stage, edit=edit))
    assert "\n" not in str(raised.value)


def test_files_that_are_missing_or_elsewhere(tmp_path: Path) -> None:
    folder = zero(tmp_path / "a", GROUPS, stage=3, ranks=3)
    (folder / "global_step7" / "zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(UnreadableModelError, match="files of 2 are there"):
        load(folder)
    (folder / "latest").write_text("../a")
    with pytest.raises(UnsafeModelError, match="elsewhere"):
        load(folder)
    whole = megatron(tmp_path / "b", STATE, AXES, ranks=3)
    second = whole / "iter_0000010" / "mp_rank_01"
    second.rename(tmp_path / "c")
    with pytest.raises(UnreadableModelError, match="rank 1 is missing"):
        load(whole)
    second.symlink_to(tmp_path / "c")
    with pytest.raises(UnsafeModelError, match="outside the model's folder"):
        load(whole)


LAYER = "decoder.layers.0."
AXES = {
    "embedding.word_embeddings.weight": 0,
    f"{LAYER}self_attention.linear_qkv.weight": 0,
    f"{LAYER}self_attention.linear_qkv.bias": 0,
    f"{LAYER}self_attention.linear_proj.weight": 1,
    f"{LAYER}mlp.linear_fc1.weight": 0,
    f"{LAYER}mlp.linear_fc2.weight": 1,
    f"{LAYER}attention.dense.weight": 1,
    f"{LAYER}mlp.dense_4h_to_h.weight": 1,
}
SAME = {f"{LAYER}router.weight": (5, 6), f"{LAYER}norm.weight": (6,)}
STATE = {
    name: torch.randn((6,) if name.endswith("bias") else SAME.get(name, (12, 6)), generator=DRAW)
    for name in (*AXES, *SAME)
}


def test_shares_of_megatron_are_joined_by_their_names(tmp_path: Path) -> None:
    folder = megatron(tmp_path, STATE, AXES, ranks=3)
    found, network = rows(folder), load(folder)
    assert [row.weight for row in network.layers] == [name for name, value in STATE.items() if value.ndim > 1]
    assert all(torch.equal(value, STATE[name]) for name, value in found.items())
    assert not network.left_out
    report = audit(folder)
    assert report.model.path.endswith("mp_rank_00/model_optim_rng.pt")
    assert len(report.model.files) == 3
    (qkv,) = (layer for layer in report.layers if "qkv" in layer.name)
    norm = torch.linalg.matrix_norm(STATE[qkv.weight].double(), 2).item()
    assert qkv.measurement("certified").value == pytest.approx(norm, rel=1e-3)


def test_what_no_name_tells_is_a_row_of_each_rank(tmp_path: Path) -> None:
    network = load(megatron(tmp_path, STATE, {**AXES, f"{LAYER}router.weight": 1}))
    named = [row.weight for row in network.layers if "router" in row.weight]
    assert named == [f"rank{rank}.{LAYER}router.weight" for rank in (0, 1)]
    (said,) = network.left_out
    assert f"'{LAYER}router.weight': split between ranks" in said


def test_copies_are_not_joined_as_shares(tmp_path: Path) -> None:
    keys = f"{LAYER}self_attn.k_proj.weight"
    halves = torch.randn(2, 4, 6, generator=DRAW)
    others = {name: STATE[name] for name in (f"{LAYER}mlp.linear_fc1.weight", f"{LAYER}router.weight")}
    state = {keys: torch.cat([halves[0], halves[0], halves[1], halves[1]]), **others}
    report = audit(megatron(tmp_path, state, {**AXES, keys: 0}, ranks=4))
    layers = {layer.weight: layer for layer in report.layers}
    assert layers.keys() == state.keys()
    assert layers[keys].reason.startswith("ranks have the same values")
    assert {layer.reason for layer in layers.values() if layer.weight != keys} == {""}


def test_stages_of_a_pipeline_are_apart(tmp_path: Path) -> None:
    found = rows(megatron(tmp_path, STATE, AXES, stages=2))
    assert torch.equal(found[f"pipeline_001.{LAYER}router.weight"], STATE[f"{LAYER}router.weight"] + 1)
    assert len(found) == 2 * (len(AXES) - 2) + 2


def test_a_sweep_meets_each_model_once(tmp_path: Path) -> None:
    zero(tmp_path / "a", GROUPS, stage=3)
    megatron(tmp_path / "b", STATE, AXES, ranks=2, stages=2)
    for rank in (0, 1):
        torch.save({"_flat_param": torch.ones(9)}, tmp_path / f"pytorch_model_0_rank{rank}.bin")
    found = [Path(each.path).relative_to(tmp_path).as_posix() for each in discover([str(tmp_path)])]
    assert found == [
        "pytorch_model_0_rank0.bin",
        "a/global_step7/zero_pp_rank_0_mp_rank_00_model_states.pt",
        "b/iter_0000010/mp_rank_00_000/model_optim_rng.pt",
    ]
    with pytest.raises(UnreadableModelError, match="holds flattened parameters, without their shapes"):
        load(tmp_path / found[0])


@pytest.mark.parametrize(("kind", "read"), [("Replicate", True), ("Shard", True), ("Partial", False)])
def test_parts_of_a_sum_are_no_copies(kind: str, read: bool) -> None:
    local = Tensor(shape=(2, 3), dtype="float32")
    state = {"dim": 1} if kind == "Shard" else {}
    placement = Record(Global("torch.distributed.tensor.placement_types", kind), state=state)
    spec = Record(Global("torch.distributed.tensor", "DTensorSpec"), state={"placements": (placement,)})
    value = Record(
        Global("torch._utils", "_rebuild"),
        (Global("torch.distributed.tensor", "DTensor"),),
        {"_local_tensor": local, "_spec": spec},
    )
    assert [place for place, _ in _shards(value)] == ([state.get("dim")] if read else [])
