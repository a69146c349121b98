"""How far two models are apart, layer by layer, also where their files name and order it otherwise."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from gguf import GGMLQuantizationType, quants
from safetensors.torch import save_file

from convsv_cli import audit
from convsv_cli.auditing.distances import with_distances
from convsv_cli.cli import cli
from convsv_cli.comparison import difference
from convsv_cli.comparison.pairs import translated
from convsv_cli.errors import UsageError
from convsv_cli.report import Change, Settings
from tests.support.gguf_files import Claim, claim, gguf_file
from tests.support.quantised_layouts import awq, gptq

HEADS, GROUPS, WIDTH, INNER = 4, 2, 64, 96
SHAPES = {
    "self_attn.q_proj": (WIDTH, WIDTH),
    "self_attn.k_proj": (WIDTH // 2, WIDTH),
    "self_attn.v_proj": (WIDTH // 2, WIDTH),
    "self_attn.o_proj": (WIDTH, WIDTH),
    "mlp.gate_proj": (INNER, WIDTH),
    "mlp.up_proj": (INNER, WIDTH),
    "mlp.down_proj": (WIDTH, INNER),
}
MINE = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
NAMES = dict(zip(SHAPES, MINE, strict=True))


def base(folder: Path) -> dict[str, np.ndarray]:
    """A model of the shape of Llama, saved, with one block."""
    drawn = np.random.default_rng(4)
    weights = {name: drawn.standard_normal(shape).astype("float32") for name, shape in SHAPES.items()}
    state = {f"model.layers.0.{name}.weight": torch.from_numpy(weight) for name, weight in weights.items()}
    save_file(state, folder / "base.safetensors")
    return weights


def converted(
    path: Path, weights: dict[str, np.ndarray], kind: str = "", architecture: str = "llama"
) -> Path:
    """The same for llama.cpp, which puts row i of a head of n beside row i + n / 2."""
    claims = []
    for name, weight in weights.items():
        stored, heads = weight, {"attn_q": HEADS, "attn_k": GROUPS}.get(NAMES[name])
        if heads is not None:
            turned = [np.stack(np.split(head, 2), 1).reshape(head.shape) for head in np.split(weight, heads)]
            stored = np.concatenate(turned)
        full = f"blk.0.{NAMES[name]}.weight"
        number = GGMLQuantizationType[kind or "F32"]
        data = quants.quantize(stored, number).tobytes() if kind else stored.tobytes()
        claims.append(Claim(name=full, shape=stored.shape, type=int(number), data=data))
    said = {"attention.head_count": HEADS, "attention.head_count_kv": GROUPS}
    pairs = {"general.architecture": architecture} | {
        f"{architecture}.{key}": value for key, value in said.items()
    }
    path.write_bytes(gguf_file(claims, pairs))
    return path


def compared(old: Path, new: Path) -> dict[str, Change]:
    settings = Settings()
    found = with_distances(difference(audit(old), audit(new)), old, new, settings)
    return {change.before: change for change in found.changes}


def holds(change: Change, apart: np.ndarray) -> bool:
    norm = np.linalg.norm(apart.astype(np.float64), 2)
    assert change.distance is not None, change.no_distance
    return bool(
        change.distance.lower <= norm * (1 + 1e-12)
        and norm * (1 - 1e-12) <= change.distance.upper <= 1.001 * norm
    )


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0"])
def test_a_model_and_what_llama_cpp_makes_of_it(kind: str, tmp_path: Path) -> None:
    weights = base(tmp_path)
    found = compared(tmp_path / "base.safetensors", converted(tmp_path / "q.gguf", weights, kind))
    assert len(found) == 1 + len(weights)
    for name, weight in weights.items():
        change = found[f"model.layers.0.{name}"]
        number = GGMLQuantizationType[kind]
        back = quants.dequantize(quants.quantize(weight, number), number)
        assert holds(change, weight - back)
        assert (change.matched, change.renamed, change.name) == ("name", False, f"blk.0.{NAMES[name]}")
        norm = np.linalg.norm(weight.astype(np.float64), 2)
        assert change.share is not None
        assert change.share == pytest.approx(change.distance.upper / norm, rel=1e-2)  # type: ignore[union-attr]


def test_the_order_of_rows_is_undone_or_said(tmp_path: Path) -> None:
    weights = base(tmp_path)
    old = tmp_path / "base.safetensors"
    found = compared(old, converted(tmp_path / "a.gguf", weights))
    assert {change.kind for change in found.values() if change.name} == {"same"}
    assert {change.distance.upper for change in found.values() if change.distance} == {0}
    found = compared(old, converted(tmp_path / "b.gguf", weights, architecture="unheard"))
    without = {name: change.no_distance for name, change in found.items() if change.no_distance}
    assert list(without) == ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"]
    assert all("may be in another order" in why for why in without.values())


def test_planted_differences(tmp_path: Path) -> None:
    kernel, matrix = torch.randn(4, 3, 3, 3), torch.randn(6, 5)
    bump = torch.zeros(4, 3, 3, 3)
    bump[1, 2, 0, 1] = 1e-3
    state = {
        "conv.weight": kernel,
        "fc.weight": matrix,
        "same.weight": torch.eye(3),
        "a.weight": torch.eye(2),
    }
    torch.save(state, tmp_path / "old.pt")
    torch.save(
        state | {"conv.weight": kernel + bump, "fc.weight": matrix * 2, "a.weight": torch.eye(3)},
        tmp_path / "new.pt",
    )
    found = compared(tmp_path / "old.pt", tmp_path / "new.pt")
    exact = ((kernel + bump).double() - kernel.double()).abs().max()
    for name, norm in (
        ("conv", float(exact)),
        ("fc", float(torch.linalg.matrix_norm(matrix.double(), 2))),
    ):
        distance = found[name].distance
        assert distance is not None
        assert distance.lower <= norm * (1 + 1e-12)
        assert norm * (1 - 1e-12) <= distance.upper <= norm * 1.001
    assert found["fc"].share == pytest.approx(1, rel=1e-3)
    assert (found["same"].distance.upper, found["same"].share) == (0, 0)  # type: ignore[union-attr]
    assert "other shapes" in found["a"].no_distance


def test_guesses_have_no_distance(tmp_path: Path) -> None:
    torch.save({"layers.a.weight": torch.randn(6, 5)}, tmp_path / "old.pt")
    torch.save({"other.b.weight": torch.randn(6, 5)}, tmp_path / "new.pt")
    assert "is a guess" in compared(tmp_path / "old.pt", tmp_path / "new.pt")["layers.a"].no_distance


def run(*arguments: Any) -> str:
    result = CliRunner().invoke(cli, ["diff", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_what_the_command_says(tmp_path: Path) -> None:
    for name, layout in (("old", awq()), ("new", gptq(4))):
        (tmp_path / name).mkdir()
        save_file(layout.named, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text(json.dumps({"quantization_config": layout.config}))
    old, new = tmp_path / "old", tmp_path / "new"
    norm = float(torch.linalg.matrix_norm(awq().real - gptq(4).real, 2))
    (_, row) = json.loads(run(old, new, "--format", "json"))["changes"]
    assert row["distance"]["lower"] <= norm <= row["distance"]["upper"]
    (_, line) = csv.DictReader(run(old, new, "--format", "csv").splitlines())
    assert float(line["distance_upper"]) == row["distance"]["upper"]
    for form in ("table", "markdown", "html"):
        assert "distance ≤" in run(old, new, "--format", form), form
        assert "distance ≤" not in run(old, new, "--format", form, "--no-distance"), form
    saved = run(old, new, "--format", "json", "--no-distance")
    assert json.loads(saved)["changes"][1]["distance"] is None
    (tmp_path / "old.json").write_text(
        CliRunner().invoke(cli, ["audit", str(old), "--format", "json"]).output
    )
    assert "distance ≤" not in run(tmp_path / "old.json", new)
    with pytest.raises(UsageError, match="needs two models"):
        run(tmp_path / "old.json", new, "--distance")


def test_plain_models_are_measured_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_file([claim("blk.0.ffn_up.weight", np.eye(4, dtype="float32"))]))
    torch.save({"model.layers.0.mlp.up_proj.weight": torch.eye(4) * 3}, tmp_path / "b.pt")
    assert "distance ≤" not in run(path, tmp_path / "b.pt")
    assert " 2.00" in run(path, tmp_path / "b.pt", "--distance")


def test_names_of_several_libraries() -> None:
    cases = {
        "model.layers.3.mlp.gate_up_proj": "blk.3.ffn_up",
        "model.layers.3.block_sparse_moe.gate": "blk.3.ffn_gate_inp",
        "transformer.h.3.mlp.c_fc": "blk.3.ffn_up",
        "h.3.attn.c_attn": "blk.3.attn_qkv",
        "lm_head": "output",
    }
    for theirs, mine in cases.items():
        assert theirs.endswith(translated([mine], [theirs])[mine])
    assert translated(["blk.3.unheard"], [])["blk.3.unheard"] == "blk.3.unheard"


def test_the_difference_of_types_of_few_digits_is_not_rounded(tmp_path: Path) -> None:
    """In bfloat16, 256 - 0.5 is 256; and 1 - 1.001 in float16 is another number than in float64."""
    drawn = torch.Generator().manual_seed(0)
    old = torch.full((6, 9), 256.0).bfloat16()
    new = torch.randn(6, 9, generator=drawn).bfloat16() / 2
    for later in (new, new.half()):
        for name, weight in (("old", old), ("new", later)):
            save_file({"fc.weight": weight}, tmp_path / f"{name}.safetensors")
        ran = CliRunner().invoke(
            cli,
            [
                "diff",
                *(str(tmp_path / f"{n}.safetensors") for n in ("old", "new")),
                "--distance",
                "--format",
                "json",
            ],
        )
        truth = float(np.linalg.norm(old.double().numpy() - later.double().numpy(), 2))
        change = next(each for each in json.loads(ran.output)["changes"] if each.get("distance"))
        assert change["distance"]["lower"] <= truth <= change["distance"]["upper"] * (1 + 1e-13)
        assert change["distance"]["upper"] <= truth * (1 + 1e-6)
