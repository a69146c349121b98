"""What the README and the page of each role tell a newcomer to type, typed in that order."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from sample_models.chains import chain
from tests.support.onnx_models import normal
from tests.support.shells import installed, shell

ROLES = ("researcher", "ci_engineer", "auditor", "trainer", "language_models")
PAGES = ("README.md", *(f"docs/{role}.md" for role in ROLES))
STEP = re.compile(r"<!-- run(?:: (\d+))? -->\n```(sh|python)\n(.*?)```", re.DOTALL)
WRITTEN = re.compile(r"(?<=-o )\S+")
LONGEST = 70
"""Lines of a page, which are a screen and a half."""


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A newcomer's folder, and the files of someone with a language model.

    The sample model is a smaller one here, of which a bound is found in no time.
    """
    models = tmp_path / "sample_models"
    models.mkdir()
    (models / "digits.npz").symlink_to(root / "sample_models" / "digits.npz")
    torch.manual_seed(0)
    conv1, fc1 = nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.Linear(32, 10)
    model = nn.Sequential(OrderedDict(conv1=conv1, flatten=nn.Flatten(), fc1=fc1))
    torch.save(model.state_dict(), models / "digits.pt")
    graph = chain(model, "digits", (1, 8, 8), ("first", "features", "logits"))
    onnx.save(graph, models / "digits.onnx")
    language_model(tmp_path)
    return tmp_path


def language_model(folder: Path) -> None:
    """Checkpoints under the names that Llama's layers have, one in eight bits, and the graph of a decoder."""
    from safetensors.torch import save_file

    layers = [f"model.layers.0.self_attn.{name}_proj" for name in "qkvo"]
    weights = {f"{layer}.weight": torch.from_numpy(normal(8, 8)) for layer in [*layers, "lm_head"]}
    weights["model.embed_tokens.weight"] = torch.from_numpy(normal(16, 8))
    for name, factor in (("model", 1.0), ("tuned", 1.05)):
        save_file({key: factor * weight for key, weight in weights.items()}, folder / f"{name}.safetensors")
    coarse = {key: (weight / 0.5).to(torch.float8_e4m3fn) for key, weight in weights.items()}
    scales = {f"{key}_scale": torch.tensor([0.5]) for key in weights}
    save_file(coarse | scales, folder / "quantised.safetensors")
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["embeddings"]),
        helper.make_node("LayerNormalization", ["embeddings", "scale"], ["normed"]),
        helper.make_node("MatMul", ["normed", "head"], ["logits"]),
    ]
    values = {"table": normal(16, 8), "scale": np.ones(8, "float32"), "head": normal(8, 16)}
    ends = (
        helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, [1, 4]),
        helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 4, 16]),
    )
    graph = helper.make_graph(
        nodes, "decoder", ends[:1], ends[1:], [numpy_helper.from_array(v, k) for k, v in values.items()]
    )
    onnx.save(helper.make_model(graph), folder / "decoder.onnx")


@pytest.mark.parametrize("name", PAGES)
def test_every_step_of_a_page_does_what_it_says(
    name: str, root: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    page = (root / name).read_text(encoding="utf-8")
    environment, steps = installed(checkout), STEP.findall(page)
    assert len(steps) == page.count("<!-- run") >= 1
    for code, language, text in steps:
        if language == "python":
            exec(compile(text, name, "exec"), {})
            continue
        process = shell(f"set -eo pipefail\n{text}", checkout, environment)
        assert process.returncode == int(code), f"{text}\n{process.stdout}{process.stderr}"
        assert "Traceback" not in process.stderr
        assert all(Path(file).stat().st_size for file in WRITTEN.findall(text))


def test_every_role_has_a_page_of_two_screens_at_most(root: Path) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    for role in ROLES:
        page = (root / "docs" / f"{role}.md").read_text(encoding="utf-8")
        assert f"](docs/{role}.md)" in readme
        assert page.count("\n") <= LONGEST
        shown = re.findall(r"```(?:sh|python|console)\n", page)
        assert len(shown) == page.count("<!-- run"), "what is shown is run"


def test_the_readme_and_the_page_on_local_certificates_have_the_same_figures(root: Path) -> None:
    """Those that `benchmarks/local.py` printed: clean, margin, CROWN-IBP, local in float32, PGD."""
    readme, page = ((root / name).read_text(encoding="utf-8") for name in ("README.md", "docs/local.md"))
    rows = re.findall(r"^\| (`\w+`, [\d/.]+) \| (.*) \|$", readme, re.MULTILINE)
    assert len(rows) == 3
    for network, figures in rows:
        (there,) = re.findall(rf"^\| {re.escape(network)} \| (.*) \|$", page, re.MULTILINE)
        clean, margin, crown, _, local, pgd, *_ = there.split(" | ")
        assert [f.replace(" %", "") for f in figures.split(" | ")] == [clean, margin, crown, local, pgd]
