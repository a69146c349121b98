"""What is stored like a weight and is no layer: embedding tables and the like, in every format of file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from convsv_cli import audit, load
from convsv_cli.model.layer import Layer, UnsupportedLayer

WIDTH = 6
TABLES = (
    "transformer.wte.weight", "transformer.wpe.weight", "tok_embeddings.weight", "model.embed_tokens.weight",
    "bert.embeddings.word_embeddings.weight", "bert.embeddings.position_embeddings.weight",
    "bert.embeddings.token_type_embeddings.weight", "text_model.embeddings.token_embedding.weight",
    "block.0.SelfAttention.relative_attention_bias.weight", "vision_model.embeddings.class_embedding.weight",
    "label_emb.weight", "y_embedder.embedding_table.weight", "encoder.embed_positions.weight", "emb.weight",
    "gpt_neox.embed_in.weight", "query_embed.weight", "embedding.weight", "embeddings.weight",
    "wordEmbeddings.weight", "quantize.embedding.weight", "codebook.weight", "atom_embedding_list.2.weight",
    "transformer.position_embedding.weight", "pos_embed.weight", "char_emb.weight", "embed_tokens.weight",
)  # fmt: skip
LINEAR = (
    "x_embedder.weight", "patch_embed.proj.weight", "to_patch_embedding.1.weight", "bond_embedding.weight",
    "time_embedding.linear_1.weight", "time_embed.0.weight", "context_embedder.weight", "embed_out.weight",
    "patch_embed.weight", "input_embedding.weight", "t_embedder.mlp.0.weight", "lm_head.weight",
    "encoder_embed_proj.weight", "label_emb.0.0.weight", "embeddings.patch_embeddings.projection.weight",
    "embedding_hidden_mapping_in.weight", "unembed.weight", "embed.linear.weight", "token_mixer.weight",
    "tokens_to_patches.weight", "feature_embedding.weight",
)  # fmt: skip
PARAMETERS = {
    "pos_embed": (1, 5, WIDTH), "positional_embedding": (5, WIDTH), "relative_position_bias_table": (9, 2),
    "encoder.pos_embedding": (1, 5, WIDTH), "decoder_pos_embed": (1, 5, WIDTH),
    "pos_encoder.pe": (5, 1, WIDTH),
    "quantizer.vq.layers.0._codebook.embed": (4, WIDTH), "quantize.embed_avg": (WIDTH, 4),
    "h.0.attn.bias": (1, 1, 5, 5), "layers.0.attn.attn_mask": (2, 5, 5), "blocks.0.tril": (5, 5),
}  # fmt: skip


def rows_of(state: dict[str, torch.Tensor], folder: Path) -> dict[str, Layer | UnsupportedLayer]:
    torch.save(state, folder / "model.pt")
    save_file({name: tensor.clone() for name, tensor in state.items()}, folder / "model.safetensors")
    pickled, safe = (
        {row.weight: row for row in load(folder / f"model.{ending}").layers}
        for ending in ("pt", "safetensors")
    )
    assert {name: type(row) for name, row in pickled.items()} == {n: type(row) for n, row in safe.items()}
    return pickled


def is_table(row: Layer | UnsupportedLayer) -> bool:
    return isinstance(row, UnsupportedLayer) and not row.applicable


def test_names_of_tables_and_of_matrices(tmp_path: Path) -> None:
    rows = rows_of({name: torch.randn(9, WIDTH) for name in (*TABLES, *LINEAR)}, tmp_path)
    assert {name for name, row in rows.items() if is_table(row)} == set(TABLES)
    assert {name for name, row in rows.items() if isinstance(row, Layer)} == set(LINEAR)
    assert all(any("embedding" in line for line in rows[name].assumed) for name in LINEAR), "and it is said"


@pytest.mark.parametrize("size", [9, WIDTH], ids=["rows", "columns"])
def test_what_has_a_bias_is_a_matrix_whatever_its_name(size: int, tmp_path: Path) -> None:
    names = [*TABLES, *LINEAR]
    biases = {name.replace(".weight", ".bias"): torch.randn(size) for name in names}
    rows = rows_of({**{name: torch.randn(9, WIDTH) for name in names}, **biases}, tmp_path)
    assert rows.keys() == set(names)
    assert all(isinstance(row, Layer) and "judging by its bias" in row.assumed[0] for row in rows.values())


def test_a_bias_of_another_length_tells_nothing(tmp_path: Path) -> None:
    rows = rows_of({"wte.weight": torch.randn(9, WIDTH), "wte.bias": torch.randn(7)}, tmp_path)
    assert is_table(rows["wte.weight"])


def test_parameters_that_are_added_or_looked_up(tmp_path: Path) -> None:
    state = {name: torch.randn(shape) for name, shape in PARAMETERS.items()}
    state["relative_position_index"] = torch.zeros(4, 4, dtype=torch.int64)
    rows = rows_of(state, tmp_path)
    assert {name for name, row in rows.items() if is_table(row)} == set(state)


def test_what_may_be_multiplied_by_is_not_passed_over(tmp_path: Path) -> None:
    shapes = {"text_projection": (4, 4), "rel_pos_h": (9, 4), "mask": (4, 4), "latents": (5, 4)}
    state = {name: torch.randn(shape) for name, shape in shapes.items()}
    state |= {
        "made.mask": torch.ones(4, 4, dtype=torch.int64),
        "q.qweight": torch.ones(4, 4, dtype=torch.int32),
    }
    rows = rows_of(state, tmp_path)
    assert rows.keys() == state.keys()
    assert all(isinstance(row, UnsupportedLayer) and row.applicable for row in rows.values())


def test_a_table_that_is_the_last_matrix_too_is_audited(tmp_path: Path) -> None:
    weight = torch.randn(9, WIDTH)
    state = {"wte.weight": weight, "encoder.embed_tokens.weight": weight, "lm_head.weight": weight}
    torch.save(state, tmp_path / "tied.pt")
    (row,) = audit(tmp_path / "tied.pt").layers
    assert (row.status, row.aliases) == ("audited", ("encoder.embed_tokens.weight", "lm_head.weight"))
    certified = row.measurement("certified").enclosure
    assert certified.lower <= torch.linalg.matrix_norm(weight.double(), 2) <= certified.upper
    del state["lm_head.weight"]
    torch.save(state, tmp_path / "tied.pt")
    (row,) = audit(tmp_path / "tied.pt").layers
    assert (row.status, row.aliases) == ("not_applicable", ("encoder.embed_tokens.weight",))


class Tied(nn.Module):
    """Its last layer multiplies by the table of its first."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.lm_head = nn.Embedding(9, WIDTH), nn.Linear(WIDTH, 9, bias=False)
        self.x_embedder, self.bond_embedding = nn.Linear(9, WIDTH), nn.Linear(WIDTH, WIDTH, bias=False)
        self.rel = nn.Embedding(4, 2)
        self.lm_head.weight = self.wte.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.lm_head(self.wte(x)) + self.rel(x % 4).sum()
        return self.bond_embedding(self.x_embedder(y))


EXPECTED = {"wte.weight": "not_applicable", "rel.weight": "not_applicable"}


@pytest.mark.parametrize("kind", ["pickled", "scripted", "traced"])
def test_modules_know_the_class(kind: str, tmp_path: Path) -> None:
    module, path = Tied(), tmp_path / "model.pt"
    if kind == "pickled":
        torch.save(module, path)
    elif kind == "scripted":
        torch.jit.script(module).save(path)
    else:
        torch.jit.trace(module, torch.zeros(3, dtype=torch.int64)).save(path)
    statuses = {row.weight: row.status for row in audit(path).layers}
    audited = ["lm_head.weight", "x_embedder.weight", "bond_embedding.weight"]
    audited += ["wte.weight"] if kind == "traced" else []  # whose code hands it to lm_head
    assert statuses == EXPECTED | dict.fromkeys(audited, "audited")


class Functional(nn.Module):
    """It multiplies by the tables of other modules without a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.only = nn.Embedding(9, WIDTH), nn.Embedding(9, WIDTH)
        self.inner = nn.Sequential(nn.Embedding(9, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.wte(x) + self.inner(x) + self.only(x)
        return nn.functional.linear(y, self.wte.weight) + y @ self.inner[0].weight.t()


@pytest.mark.parametrize("kind", ["scripted", "traced"])
def test_a_table_that_other_code_takes_is_audited(kind: str, tmp_path: Path) -> None:
    module, path = Functional(), tmp_path / "model.pt"
    if kind == "scripted":
        torch.jit.script(module).save(path)
    else:
        torch.jit.trace(module, torch.zeros(3, dtype=torch.int64)).save(path)
    rows = {row.weight: row for row in audit(path).layers}
    assert {name: row.status for name, row in rows.items()} == {
        "wte.weight": "audited",
        "only.weight": "not_applicable",
        "inner.0.weight": "audited",
    }
    assert "other code takes it" in rows["wte.weight"].assumed[0]


def test_programs_say_what_is_looked_up(tmp_path: Path) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.both, self.fc = nn.Embedding(9, 4), nn.Embedding(9, 4), nn.Linear(4, 4)

        def forward(self, index: torch.Tensor) -> torch.Tensor:
            x = self.fc(self.table(index)) + self.both(index)
            return x + torch.cumsum(self.both.weight, 0)[:3]

    program = torch.export.export(Reader(), (torch.zeros(3, dtype=torch.int64),))
    torch.export.save(program, tmp_path / "model.pt2")
    statuses = {row.weight: (row.status, row.reason) for row in audit(tmp_path / "model.pt2").layers}
    assert statuses["fc.weight"][0] == "audited"
    assert statuses["table.weight"][0] == "not_applicable"
    assert statuses["both.weight"][0] == "unsupported"
    assert "cumsum" in statuses["both.weight"][1]
