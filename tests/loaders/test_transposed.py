"""Matrices that are stored as [in, out], as GPT-2's are."""

from __future__ import annotations

from pathlib import Path

import torch

from convsv_cli import load
from convsv_cli.model.layer import Layer

WIDTH = 6
State = dict[str, torch.Tensor]


def block(prefix: str, *, turned: bool) -> State:
    """The layers of a block of GPT-2, each with [in, out] if turned, else with [out, in] as in torch."""
    sizes = {"attn.c_attn": 3 * WIDTH, "attn.c_proj": WIDTH, "mlp.c_fc": 4 * WIDTH}
    state: State = {}
    for name, out in sizes.items():
        weight = torch.arange(float(out * WIDTH)).reshape(out, WIDTH)
        state[f"{prefix}{name}.weight"] = weight.T.contiguous() if turned else weight
        state[f"{prefix}{name}.bias"] = torch.zeros(out)
    return state


def rows(state: State, folder: Path) -> dict[str, Layer]:
    path = folder / f"{len(list(folder.iterdir()))}.pt"  # values are read when they are asked for
    torch.save(state, path)
    found = load(path).layers
    assert all(isinstance(row, Layer) for row in found)
    return {row.name: row for row in found if isinstance(row, Layer)}


def test_rows_and_weights_are_those_of_linear_layers(tmp_path: Path) -> None:
    torch_like = rows(block("h.0.", turned=False), tmp_path)
    found = rows(block("h.0.", turned=True), tmp_path)
    assert [row.kernel_shape for row in found.values()] == [(18, 6), (6, 6), (24, 6)]
    for name, row in found.items():
        assert torch.equal(row.read(), torch_like[name].read())
        assert "as Hugging Face's Conv1D is" in str(row.assumed) or "Conv1D in the file" in str(row.assumed)
    assert not any("Conv1D" in str(row.assumed) for row in torch_like.values())


def test_a_square_matrix_is_only_turned_where_all_others_are(tmp_path: Path) -> None:
    mixed = block("a.", turned=True) | block("b.", turned=False)
    found = rows(mixed, tmp_path)
    assert [name for name, row in found.items() if "Conv1D" in str(row.assumed)] == [
        "a.attn.c_attn",
        "a.mlp.c_fc",
    ]
    alone = {name: tensor for name, tensor in mixed.items() if "c_proj" in name}
    assert not any("Conv1D" in str(row.assumed) for row in rows(alone, tmp_path).values())
    other = {"x.weight": torch.ones(3, 5), "x.bias": torch.ones(5)}
    assert rows(other, tmp_path)["x"].kernel_shape == (3, 5)
