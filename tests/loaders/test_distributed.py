"""What trainings on many devices leave: folders of torch.distributed.checkpoint."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, Metadata

from convsv_cli import audit, load
from convsv_cli.errors import ConvsvError, UnreadableModelError, UnsafeModelError
from convsv_cli.loaders import parts_of
from convsv_cli.model.layer import Layer
from tests.support.distributed import Boxed, chunked, halves

NET = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Linear(6, 4), nn.Linear(4, 3))
BLOCKS = Boxed(
    torch.arange(30.0).reshape(5, 6), [((0, 0), (2, 6)), ((2, 0), (3, 1)), ((2, 1), (3, 5)), ((5, 0), (0, 6))]
)


def rows(path: Path) -> dict[str, torch.Tensor]:
    return {row.weight: row.read() for row in load(path).layers if isinstance(row, Layer)}


def test_a_state_that_torch_saves(tmp_path: Path) -> None:
    """Model and optimiser, nested, with numbers beside: the rows are those of the state dict."""
    optimiser = torch.optim.Adam(NET.parameters())
    (NET[0](torch.ones(1, 3, 4, 4)).sum() + NET[2](NET[1](torch.ones(6))).sum()).backward()
    optimiser.step()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = {"model": NET.state_dict(), "optim": optimiser.state_dict(), "epoch": 3}
        dcp.save(state, checkpoint_id=tmp_path / "pytorch_model_fsdp_0")
    network = load(tmp_path)
    expected = {name: value for name, value in NET.state_dict().items() if value.ndim > 1}
    found = rows(tmp_path)
    assert list(found) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    assert network.files == (".metadata", "__0_0.distcp")
    assert network.left_out == ()
    assert [note.partition(",")[0] for note in network.notes] == [
        "also holds 'optim': not audited (6 tensors: state of an optimiser)",
        "also holds 13 values that no tensors are",
    ]


def test_tensors_in_chunks(tmp_path: Path) -> None:
    """Along any axis, irregular ones, and an empty one; torch reads the same."""
    state = {
        "a.weight": halves(torch.randn(5, 3, 2, 3), 1),
        "b.weight": BLOCKS,
        "c.weight": halves(torch.randn(3, 4).half()),
    }
    folder = chunked(tmp_path / "run", state)
    wanted = {name: torch.zeros_like(boxed.tensor) for name, boxed in state.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(wanted, checkpoint_id=folder)
    found = rows(folder)
    assert list(found) == list(state)
    for name, value in wanted.items():
        assert torch.equal(value, state[name].tensor)
        assert torch.equal(found[name], value)
    assert parts_of(folder / ".metadata") == (folder / "__0_0.distcp", folder / "__1_0.distcp")


Change = Callable[[Metadata], None]


def boxes(*given: tuple[tuple[int, ...], tuple[int, ...]]) -> Change:
    """Other chunks than those that are stored."""

    def change(metadata: Metadata) -> None:
        chunks = [ChunkStorageMetadata(offsets=torch.Size(at), sizes=torch.Size(size)) for at, size in given]
        metadata.state_dict_metadata["b.weight"].chunks[:] = chunks
        places: Any = metadata.storage_data
        spare = next(iter(places.values()))
        for index in list(places):
            places.setdefault(type(index)(index.fqn, (0, 0)), spare)

    return change


def place(**given: Any) -> Change:
    """The second chunk elsewhere."""
    return lambda metadata: list(metadata.storage_data.values())[1].__dict__.update(given)


def said(**given: Any) -> Change:
    """Something else of the tensor."""
    return lambda metadata: vars(metadata.state_dict_metadata["b.weight"]).update(given)


def lost(metadata: Metadata) -> None:
    del metadata.storage_data[list(metadata.storage_data)[1]]


ROWS: list[tuple[Change, str]] = [
    (lost, "leave 3 of its 30 entries out"),
    (boxes(((0, 0), (2, 6))), "leave 18 of its 30 entries out"),
    (boxes(((0, 0), (2, 6)), ((2, 0), (3, 1)), ((2, 0), (3, 5))), "overlap"),
    (boxes(((0, 0), (2, 6)), ((0, 0), (5, 6))), "overlap"),
    (boxes(((0, 0), (6, 6))), "outside of it"),
    (boxes(((0,), (30,))), "leave 30 of its 30"),
    (place(transform_descriptors=["zstd"]), "encoded (zstd)"),
]


@pytest.mark.parametrize(("change", "fragment"), ROWS, ids=[fragment for _, fragment in ROWS])
def test_chunks_that_are_no_tensor_are_a_reason(change: Change, fragment: str, tmp_path: Path) -> None:
    (row,) = load(chunked(tmp_path, {"b.weight": BLOCKS}, change)).layers
    assert fragment in getattr(row, "reason", "")


HUGE = 1 << 60
ERRORS: list[tuple[Change, str, type[ConvsvError]]] = [
    (place(offset=10**6), "beyond the end", UnsafeModelError),
    (place(offset=-1), "beyond the end", UnsafeModelError),
    (place(length=1 << 62), "beyond the end", UnsafeModelError),
    (place(length=11), "more values than 11 bytes hold", UnsafeModelError),
    (place(relative_path="../secret"), "outside the model's folder", UnsafeModelError),
    (place(relative_path="/etc/passwd"), "outside the model's folder", UnsafeModelError),
    (place(relative_path="link"), "outside the model's folder", UnsafeModelError),
    (place(relative_path="pipe"), "not a regular file", UnsafeModelError),
    (place(relative_path="absent"), "is missing", UnreadableModelError),
    (place(offset="0"), "without a place", UnreadableModelError),
    (boxes(((0, 0), (HUGE, 6))), "claims more values", UnsafeModelError),
    (said(size=(HUGE, HUGE)), "impossible", UnsafeModelError),
    (said(size=(-1, 3)), "impossible", UnsafeModelError),
    (said(size="x"), "a shape that is none", UnreadableModelError),
    (said(chunks=3), "no list", UnreadableModelError),
    (lambda m: vars(m).update(storage_data=None), "where its tensors are", UnreadableModelError),
    (lambda m: vars(m).update(state_dict_metadata=[]), "list no tensors", UnreadableModelError),
    (lambda m: m.state_dict_metadata.clear(), "no weights found", UnreadableModelError),
]  # fmt: skip


@pytest.mark.parametrize(("change", "fragment", "kind"), ERRORS, ids=[f"{i}" for i in range(len(ERRORS))])
def test_claims_beyond_the_files_are_refused(
    change: Change, fragment: str, kind: type[ConvsvError], tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    with pytest.raises(kind, match=fragment) as raised:
        load(chunked(folder, {"b.weight": BLOCKS}, change))
    assert "\n" not in str(raised.value)


def test_a_chunk_that_is_something_else(tmp_path: Path) -> None:
    """What the metadata say is checked when a chunk is read."""

    def swap(metadata: Metadata) -> None:
        first, second, *_ = metadata.storage_data.values()
        vars(first).update(vars(second))

    with pytest.raises(UnreadableModelError, match="is not what the metadata say"):
        audit(chunked(tmp_path, {"b.weight": BLOCKS}, swap))


def test_metadata_that_would_run_code(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.system, ("touch executed",)

    folder = chunked(tmp_path, {"b.weight": BLOCKS}, lambda m: vars(m).update(planner_data=Bomb()))
    with pytest.raises(UnsafeModelError, match="nothing of it was run"):
        load(folder)
    (folder / ".metadata").write_bytes(pickle.dumps({"torch.distributed.checkpoint.metadata": 1}))
    with pytest.raises(UnreadableModelError):
        load(folder)


def test_a_folder_elsewhere_is_no_part_of_a_run(tmp_path: Path) -> None:
    chunked(tmp_path / "other", {"b.weight": BLOCKS})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "pytorch_model_fsdp_0").symlink_to(tmp_path / "other")
    with pytest.raises(UnsafeModelError, match="elsewhere"):
        load(tmp_path / "run")
