"""The products of attention's matrices, by small factors, against dense products head by head."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from convsv_cli import audit
from convsv_cli.cli import cli
from convsv_cli.errors import UsageError
from convsv_cli.renderers.columns import product_columns
from convsv_cli.spectral.products import product_norm

HIDDEN, HEADS, KEYS, WIDTH = 24, 4, 2, 6


def matrices(seed: int = 0, keys: int = KEYS) -> dict[str, torch.Tensor]:
    """Q, K, V [out, in] and O of a small model, bfloat16."""
    random = torch.Generator().manual_seed(seed)
    sizes = {"q": HEADS * WIDTH, "k": keys * WIDTH, "v": keys * WIDTH}
    made = {name: torch.randn(rows, HIDDEN, generator=random).bfloat16() for name, rows in sizes.items()}
    return made | {"o": torch.randn(HIDDEN, HEADS * WIDTH, generator=random).bfloat16()}


def dense(parts: dict[str, torch.Tensor], keys: int = KEYS) -> dict[tuple[str, int], float]:
    """The norms of both [hidden, hidden] products of each head, by NumPy."""
    q, k, v, o = (parts[name].double().numpy() for name in "qkvo")
    found = {}
    for head in range(HEADS):
        own = slice(head * WIDTH, (head + 1) * WIDTH)
        shared = slice(head // (HEADS // keys) * WIDTH, (head // (HEADS // keys) + 1) * WIDTH)
        found["qk", head] = float(np.linalg.norm(q[own].T @ k[shared], 2))
        found["vo", head] = float(np.linalg.norm(o[:, own] @ v[shared], 2))
    return found


def llama() -> tuple[dict[str, torch.Tensor], dict[tuple[str, int], float], str]:
    """Separate matrices; two queries share each key."""
    parts = matrices()
    return {f"model.layers.0.self_attn.{n}_proj.weight": w for n, w in parts.items()}, dense(parts), "auto"


def bert() -> tuple[dict[str, torch.Tensor], dict[tuple[str, int], float], str]:
    """Names in two modules."""
    parts = matrices(1, HEADS)
    names = {"q": "self.query", "k": "self.key", "v": "self.value", "o": "output.dense"}
    stored = {f"encoder.layer.0.attention.{names[n]}.weight": w for n, w in parts.items()}
    return stored, dense(parts, HEADS), str(HEADS)


def gpt2() -> tuple[dict[str, torch.Tensor], dict[tuple[str, int], float], str]:
    """One matrix of all three, stored [in, out]."""
    parts = matrices(2, HEADS)
    fused = torch.cat([parts[n] for n in "qkv"]).mT.contiguous()
    stored = {"h.0.attn.c_attn.weight": fused, "h.0.attn.c_proj.weight": parts["o"].mT.contiguous()}
    return stored, dense(parts, HEADS), str(HEADS)


def phi() -> tuple[dict[str, torch.Tensor], dict[tuple[str, int], float], str]:
    """One matrix of all three, stored [out, in], with fewer keys."""
    parts = matrices(3)
    stored = {"l.0.qkv_proj.weight": torch.cat([parts[n] for n in "qkv"]), "l.0.o_proj.weight": parts["o"]}
    return stored, dense(parts), f"{HEADS}:{KEYS}"


@pytest.mark.parametrize("model", [llama, bert, gpt2, phi])
def test_both_products_of_each_head_are_those_of_dense_matrices(model, tmp_path: Path) -> None:
    stored, truth, heads = model()
    save_file(stored, tmp_path / "model.safetensors")
    config = {"num_attention_heads": HEADS, "num_key_value_heads": KEYS}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    report = audit(tmp_path / "model.safetensors", attention=heads)
    found = {(each.kind, each.head): each.norm for each in report.products}
    assert found.keys() == truth.keys()
    for key, norm in truth.items():
        assert found[key].lower * (1 - 1e-13) <= norm <= found[key].upper * (1 + 1e-13)
        assert found[key].upper <= found[key].lower * (1 + 1e-9)


def test_only_the_chosen_modules_have_products_and_none_has_no_heads(tmp_path: Path) -> None:
    stored, _, _ = llama()
    more = {name.replace("layers.0", "layers.1"): weight.clone() for name, weight in stored.items()}
    save_file(stored | more, tmp_path / "model.safetensors")
    heads = f"{HEADS}:{KEYS}"
    report = audit(tmp_path / "model.safetensors", attention=heads, layers=["*.1.self_attn.k_proj"])
    assert {product.attention for product in report.products} == {"model.layers.1.self_attn"}
    report = audit(tmp_path / "model.safetensors", attention="5:1")
    assert product_columns(report.products)["heads"] == ["", ""]


def test_every_format_has_them(tmp_path: Path) -> None:
    stored, truth, heads = phi()
    stored = {f"<b>*x*|{name}": weight for name, weight in stored.items()}
    save_file(stored, tmp_path / "model.safetensors")
    outputs = [tmp_path / f"a.{suffix}" for suffix in ("json", "csv", "md", "html", "txt")]
    options = [option for path in outputs for option in ("-o", str(path))]
    ran = CliRunner().invoke(
        cli, ["audit", str(tmp_path / "model.safetensors"), "--attention", heads, "--quiet", *options]
    )
    assert not ran.exit_code, ran.output
    texts = {path.suffix: path.read_text(encoding="utf-8") for path in outputs}
    rows = [row for row in csv.DictReader(io.StringIO(texts[".csv"])) if row["kind"] == "product"]
    assert len(rows) == len(json.loads(texts[".json"])["audits"][0]["products"]) == len(truth)
    largest = max((norm, head) for (kind, head), norm in truth.items() if kind == "qk")
    for suffix in (".md", ".html", ".txt"):
        assert f"{largest[0]:.2f}"[:4] in texts[suffix]
        assert "Q·Kᵀ ≤" in texts[suffix]
        assert "how much a head amplifies a token that it passes on" in " ".join(texts[suffix].split())
    assert "<b>" not in texts[".html"] + texts[".md"]
    saved = CliRunner().invoke(cli, ["report", str(outputs[0]), "--format", "csv"])
    assert saved.output == texts[".csv"]


def test_what_does_not_fit_has_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(phi()[0], path)
    for asked, why in {
        "auto": "config.json",
        "3:2": "do not share",
        "x": "no number",
        "4:0": "share",
    }.items():
        with pytest.raises(UsageError, match=why):
            audit(path, attention=asked)
    for config in ("[" * 10**5, '{"num_attention_heads": "4"}', '{"num_attention_heads": true}', "[]"):
        (tmp_path / "config.json").write_text(config, encoding="utf-8")
        with pytest.raises(UsageError, match=r"config\.json"):
            audit(path, attention="auto")
    (product,) = audit(path, attention="5:1").products
    assert product.reason.startswith("matrices of 48x24, 24x24 are not those of 5 heads")
    parts, whole = matrices(3), phi()[0]
    save_file({name.replace("o_proj", "out_proj"): weight for name, weight in whole.items()}, path)
    (product,) = audit(path, attention="4:2").products
    assert "in another order" in product.reason
    fused, output = whole
    for rank in (0, 1):
        own = {
            fused: torch.cat([parts[n].chunk(2)[rank] for n in "qkv"]),
            output: parts["o"].chunk(2, 1)[rank],
        }
        (home := tmp_path / f"mp_rank_{rank:02}").mkdir()
        torch.save({"model": {name: weight.clone() for name, weight in own.items()}}, home / "model_rng.pt")
    (product,) = audit(home / "model_rng.pt", attention="4:2").products
    assert "order of ranks" in product.reason
    save_file({"fc.weight": torch.ones(4, 4)}, path)
    with pytest.raises(UsageError, match="no layers are named"):
        audit(path, attention="2")


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_products_of_planted_factors(scale: float) -> None:
    """Orthogonal, nearly cancelling, of rank one, and with more rows than columns."""
    random = np.random.default_rng(5)
    wide, tall = random.standard_normal((5, 40)), random.standard_normal((30, 8))
    basis, _ = np.linalg.qr(random.standard_normal((40, 10)))
    pairs = [
        (wide, random.standard_normal((5, 60))),
        (wide, np.linalg.qr(wide.T)[0].T),
        (np.diag([1.0, 1e-8]) @ basis[:, :2].T, np.diag([1e-8, 1.0]) @ basis[:, 2:4].T),
        (np.outer(np.ones(4), wide[0]), np.outer([1, -1, 1, -1 + 1e-6], wide[1])),
        (tall, random.standard_normal((30, 12))),
        (np.zeros((3, 4)), np.ones((3, 4))),
    ]
    for left, right in pairs:
        found = product_norm(torch.from_numpy(left * scale), torch.from_numpy(right * scale))
        truth = float(np.linalg.norm(left.T @ right, 2)) * scale**2
        size = float(np.linalg.norm(left) * np.linalg.norm(right)) * scale**2
        assert found.lower <= truth + 1e-14 * size
        assert truth <= found.upper + 1e-14 * size
        assert found.upper - found.lower <= 1e-6 * size
