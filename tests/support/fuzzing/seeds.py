"""Valid files of each format, small."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import nn

from convsv_cli.cli import cli
from tests.support.adapter_files import drawn, peft_folder, single_file
from tests.support.constant_cases import CASES
from tests.support.distributed import chunked, zero
from tests.support.fuzzing import kept, ranks
from tests.support.gguf_files import Claim, claim, gguf_file, texts
from tests.support.node_cases import NODE_CASES
from tests.support.onnx_models import graph_model, normal
from tests.support.opset_cases import LAST, Case
from tests.support.quantised_layouts import LAYOUTS

Files = dict[str, bytes]
Maker = Callable[[Path], Iterator["Seed"]]

AUDIT = ("audit", "{}", "--quiet", "--work-limit", "0")


@dataclass(frozen=True, kw_only=True)
class Seed:
    """The files that a command reads, first the one that matters, for which "{}" stands in the command.

    Others go by their names in braces.
    """

    files: Files
    command: tuple[str, ...] = AUDIT

    @property
    def main(self) -> str:
        return next(iter(self.files))


def seeds(kind: str) -> tuple[Seed, ...]:
    """The valid files of a format."""
    torch.manual_seed(0)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(MAKERS[kind](Path(folder)))


def _net() -> nn.Sequential:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    )
    return net.eval()


def _checkpoint() -> dict[str, object]:
    return {"epoch": 3, "state_dict": _net().state_dict(), "args": {"lr": 0.1, "tags": ["a", "b"], "x": None}}


def _read(folder: Path, *names: str) -> Seed:
    return Seed(files={name: (folder / name).read_bytes() for name in names})


def _legacy(folder: Path) -> Iterator[Seed]:
    torch.save(_checkpoint(), folder / "a.pt", _use_new_zipfile_serialization=False)
    torch.save(_net(), folder / "b.pt", _use_new_zipfile_serialization=False)
    yield _read(folder, "a.pt")
    yield _read(folder, "b.pt")


def _zipped(folder: Path) -> Iterator[Seed]:
    torch.save(_checkpoint(), folder / "a.pth")
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 3))
    torch.save({"model": normed.state_dict()}, folder / "b.ckpt")
    yield _read(folder, "a.pth")
    yield _read(folder, "b.ckpt")


def _module(folder: Path) -> Iterator[Seed]:
    torch.save(_net(), folder / "a.pt")
    recurrent = nn.ModuleDict({"gates": nn.LSTM(3, 4), "up": nn.ConvTranspose2d(2, 3, 3, groups=1)})
    torch.save({"net": recurrent, "step": 1}, folder / "b.pt")
    yield _read(folder, "a.pt")
    yield _read(folder, "b.pt")


def _script(folder: Path) -> Iterator[Seed]:
    torch.jit.trace(_net(), torch.zeros(1, 3, 8, 8)).save(str(folder / "a.pt"))
    torch.jit.script(_net()).save(str(folder / "b.jit"))
    for name in ("a.pt", "b.jit"):  # at a size, its code is followed
        yield replace(_read(folder, name), command=(*AUDIT, "--input-size", "8", "--network-effort", "quick"))


def _program(folder: Path) -> Iterator[Seed]:
    program = torch.export.export(_net(), (torch.zeros(1, 3, 8, 8),))
    torch.export.save(program, folder / "a.pt2")
    yield _read(folder, "a.pt2")


def _safetensors(folder: Path) -> Iterator[Seed]:
    tensors = {name: value.clone() for name, value in _net().state_dict().items()}
    save_file(tensors, folder / "a.safetensors", {"format": "pt"})
    save_file({"a.weight": torch.randn(3, 3).bfloat16(), "b": torch.ones(2)}, folder / "b.safetensors")
    yield _read(folder, "a.safetensors")
    yield _read(folder, "b.safetensors")


def _sharded(folder: Path) -> Iterator[Seed]:
    parts = {
        "1.safetensors": {"a.weight": torch.randn(4, 3, 3, 3)},
        "2.safetensors": {"b.weight": torch.ones(2, 4)},
    }
    for name, tensors in parts.items():
        save_file(tensors, folder / name)
    index = {"metadata": {"total_size": 400}, "weight_map": {t: n for n, ts in parts.items() for t in ts}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    yield _read(folder, "model.safetensors.index.json", *parts)


def _gguf(_folder: Path) -> Iterator[Seed]:
    """Floats and blocks of several types, one of which the library reads; and a model in two parts."""
    kinds = {"Q4_0": (2, 18), "Q4_K": (12, 144), "Q6_K": (14, 210), "IQ2_XS": (17, 74), "MXFP4": (39, 17)}
    tensors = [claim("token_embd.weight", normal(8, 4)), claim("blk.0.attn_norm.weight", normal(4))]
    for name, (number, width) in kinds.items():
        shape = (2, 32 if width < 20 else 256)
        stored = Claim(name=f"blk.0.{name}.weight", shape=shape, type=number, data=bytes(2 * width))
        tensors.append(stored)
    tensors.append(claim("blk.0.ffn_up_exps.weight", normal(2, 3, 4)))
    pairs = {"general.alignment": 32, "tokenizer.ggml.tokens": texts("a", "bc"), "llama.block_count": 1}
    yield Seed(files={"a.gguf": gguf_file(tensors, pairs)})
    split = {"split.count": 2}
    parts = (gguf_file(tensors[:2], split), gguf_file(tensors[2:4], split))
    yield Seed(files={f"b-0000{i}-of-00002.gguf": part for i, part in enumerate(parts, 1)})


def _quantised(folder: Path) -> Iterator[Seed]:
    """Weights in several tensors, as quantisers store them, with what is said beside the file."""
    for layout in (one() for one in LAYOUTS.values()):
        save_file(layout.named, folder / "a.safetensors")
        (folder / "config.json").write_text(json.dumps({"quantization_config": layout.config or {}}))
        yield _read(folder, "a.safetensors", "config.json")


def _distributed(folder: Path) -> Iterator[Seed]:
    """Of torch.distributed.checkpoint, ZeRO of two stages, and tensor ranks without it."""
    chunked(folder, ranks.state())
    yield _read(folder, ".metadata", "__0_0.distcp", "__1_0.distcp")
    groups = [
        {"conv.weight": torch.randn(2, 3, 3, 3)},
        {"fc.weight": torch.randn(3, 5), "fc.bias": torch.ones(3)},
    ]
    for stage in (2, 3):
        home = (
            zero(folder / str(stage), groups, stage=stage, frozen={"a.weight": torch.ones(2, 3)})
            / "global_step7"
        )
        yield _read(home, *sorted(path.name for path in home.iterdir()))
    for rank in (0, 1):
        module = {"mlp.dense_h_to_4h.weight": torch.randn(4, 3), "router.weight": torch.ones(2, 3) * rank}
        torch.save({"module": module}, folder / f"mp_rank_0{rank}_model_states.pt")
    yield _read(folder, "mp_rank_00_model_states.pt", "mp_rank_01_model_states.pt")


def _adapters(folder: Path) -> Iterator[Seed]:
    """Folders as PEFT saves them, alone and with a base."""
    save_file(
        {"q.weight": torch.randn(8, 12), "c.weight": torch.randn(6, 4, 3, 3)}, folder / "base.safetensors"
    )
    base = {"base.safetensors": (folder / "base.safetensors").read_bytes()}
    lora = {"q.lora_A.weight": drawn(4, 12), "q.lora_B.weight": drawn(8, 4), "head.weight": drawn(3, 8)}
    conv = {"c.lora_A.weight": drawn(4, 4, 3, 3), "c.lora_B.weight": drawn(6, 4, 1, 1)}
    dora = {**lora, "q.lora_magnitude_vector": drawn(8)}
    loha = {"q.hada_w1_a": drawn(8, 2), "q.hada_w1_b": drawn(2, 12)}
    loha |= {"q.hada_w2_a": drawn(8, 2, seed=1), "q.hada_w2_b": drawn(2, 12, seed=1)}
    lokr = {"q.lokr_w1": drawn(2, 3), "q.lokr_w2_a": drawn(4, 2), "q.lokr_w2_b": drawn(2, 4)}
    for number, (tensors, config) in enumerate((
        ({**lora, **conv}, {"rank_pattern": {"q": 4}, "alpha_pattern": {"^c": 3}}),
        (dora, {"use_dora": True}),
        (loha, {"peft_type": "LOHA", "r": 2, "alpha": 3}),
        (lokr, {"peft_type": "LOKR", "r": 2, "alpha": 3}),
    )):  # fmt: skip
        home = peft_folder(folder / str(number), tensors, **config)
        seed = _read(home, "adapter_config.json", "adapter_model.safetensors")
        yield Seed(files={**seed.files, **base}, command=(*AUDIT, "--base", "{base.safetensors}"))
        yield seed


def _adapter_files(folder: Path) -> Iterator[Seed]:
    """Single files as Kohya, LyCORIS and Diffusers save them."""
    q, c = "lora_unet_q.", "lora_unet_c."
    alpha = {f"{q}alpha": np.array(3, np.float32)}
    lora = {f"{q}lora_down.weight": drawn(4, 12), f"{q}lora_up.weight": drawn(8, 4)}
    cored = {f"{c}lora_down.weight": drawn(2, 4, 1, 1), f"{c}lora_up.weight": drawn(6, 2, 1, 1)}
    cored |= {f"{c}lora_mid.weight": drawn(2, 2, 3, 3)}
    loha = {
        f"{c}hada_{name}": drawn(2, 6 if name[-1] == "a" else 4) for name in ("w1_a", "w1_b", "w2_a", "w2_b")
    }
    loha |= {f"{c}hada_t{which}": drawn(2, 2, 3, 3) for which in (1, 2)}
    lokr = {f"{c}lokr_w1": drawn(2, 2), f"{c}lokr_w2": drawn(3, 2, 3, 3), f"{c}dora_scale": drawn(6, 1, 1, 1)}
    diffusers = {"unet.q.lora.down.weight": drawn(4, 12), "unet.q.lora.up.weight": drawn(8, 4)}
    for number, tensors in enumerate(
        ({**lora, **alpha, **cored}, {**loha, **alpha, **lora}, {**lokr, **lora}, diffusers)
    ):
        single_file(folder / f"{number}.safetensors", tensors)
        yield _read(folder, f"{number}.safetensors")


def _onnx(folder: Path) -> Iterator[Seed]:
    for model in (_convolutions(), _expressions(), _calls()):
        yield Seed(files={"a.onnx": model.SerializeToString()})
    onnx.save(
        _convolutions(), folder / "b.onnx", save_as_external_data=True, location="b.data", size_threshold=0
    )
    yield _read(folder, "b.onnx", "b.data")


def _convolutions() -> ModelProto:
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1] * 4, strides=[2, 2]),
        node("Relu", ["c"], ["r"]),
        node("BatchNormalization", ["r", "s", "s", "s", "s"], ["n"]),
        node("MaxPool", ["n"], ["p"], kernel_shape=[2, 2]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "v"], ["y"], transB=1),
    ]
    weights = {"w": normal(4, 3, 3, 3), "s": np.ones(4, np.float32), "v": normal(5, 16)}
    return graph_model(nodes, {"x": ["n", 3, 8, 8]}, weights)


def _expressions() -> ModelProto:
    """Weights behind expressions, shapes that are computed, a body, and quantised weights."""
    node = helper.make_node
    body = helper.make_graph(
        [node("MatMul", ["h", "u"], ["o"])],
        "body",
        [],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)],
    )
    nodes = [
        node("ReduceL2", ["v"], ["norm"], keepdims=1),
        node("Div", ["v", "norm"], ["unit"]),
        node("MatMul", ["x", "unit"], ["g"]),
        node("Shape", ["g"], ["shape"]),
        node("Constant", [], ["one"], value=numpy_helper.from_array(np.array([0]))),
        node("Gather", ["shape", "one"], ["batch"]),
        node("Concat", ["batch", "rest"], ["wanted"], axis=0),
        node("Reshape", ["g", "wanted"], ["h"]),
        node("DequantizeLinear", ["q", "scale"], ["u"]),
        node("If", ["which"], ["y"], then_branch=body, else_branch=body),
    ]
    weights = {
        "v": normal(6, 4),
        "rest": np.array([2, 2]),
        "q": np.ones((2, 3), np.int8),
        "scale": np.float32(0.1),
    }
    model = graph_model(nodes, {"x": ["n", 6]}, weights)
    model.graph.input.append(helper.make_tensor_value_info("which", TensorProto.BOOL, []))
    return model


def _calls() -> ModelProto:
    node = helper.make_node
    imports = [helper.make_opsetid("", 20)]
    body = [node("MatMul", ["a", "w"], ["m"]), node("Softmax", ["m"], ["b"])]
    function = helper.make_function("local", "f", ["a", "w"], ["b"], body, imports)
    twice = [node("f", ["a", "w"], ["c"], domain="local"), node("f", ["c", "w"], ["b"], domain="local")]
    outer = helper.make_function(
        "local", "g", ["a", "w"], ["b"], twice, [*imports, helper.make_opsetid("local", 1)]
    )
    calls = [node("g", ["x", "w"], ["h"], domain="local"), node("f", ["h", "w"], ["y"], domain="local")]
    return graph_model(calls, {"x": ["n", 4]}, {"w": normal(4, 4)}, functions=[function, outer])


def _operators(_folder: Path) -> Iterator[Seed]:
    """Each operator that has a rule, and each that constants are computed by, beside a layer."""
    for case in NODE_CASES:
        yield _beside(case, moving=("x0",))
    for case in CASES:
        yield _beside(case, moving=())


def _beside(case: Case, moving: tuple[str, ...]) -> Seed:
    model = case.model(min(case.last, LAST), moving=moving)
    graph = model.graph
    graph.node.append(helper.make_node("MatMul", ["input", "w"], ["output"]))
    graph.input.append(helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 4]))
    graph.output.append(helper.make_tensor_value_info("output", TensorProto.FLOAT, None))
    graph.initializer.append(numpy_helper.from_array(normal(4, 3), "w"))
    return Seed(files={"a.onnx": model.SerializeToString()})


def _small(folder: Path) -> bytes:
    node = helper.make_node
    nodes = [
        node("Gemm", ["x", "v"], ["h"], transB=1),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "w"], ["y"], transB=1),
    ]
    path = folder / "small.onnx"
    onnx.save(graph_model(nodes, {"x": ["n", 4]}, {"v": normal(5, 4), "w": normal(3, 5)}), path)
    return path.read_bytes()


def _reports(folder: Path) -> Iterator[Seed]:
    _small(folder)
    budget = {"max_layer": 1.0, "max_lipschitz": 1e9}
    (folder / "convsv.toml").write_text("".join(f"{k.replace('_', '-')} = {v}\n" for k, v in budget.items()))
    (folder / "torn.onnx").write_bytes(b"torn")
    for command in (
        ("audit", "small.onnx", "--spectra", "*"),
        ("audit", "small.onnx", "torn.onnx"),
        ("check", "small.onnx", "--config", "convsv.toml"),
    ):
        _run(folder, *command, "-o", "report.json")
        files = {"report.json": (folder / "report.json").read_bytes()}
        yield Seed(files=files, command=("report", "{}", "-o", "page.html", "-o", "out.sarif"))
        yield Seed(files=files, command=("diff", "{}", "{}"))


def _run(folder: Path, *command: str) -> None:
    before = Path.cwd()
    os.chdir(folder)
    try:
        cli.main([*command, "--quiet"], prog_name="convsv", standalone_mode=False)
    finally:
        os.chdir(before)


def _budgets(folder: Path) -> Iterator[Seed]:
    model = _small(folder)
    command = ("check", "{small.onnx}", "--config", "{}", "--quiet", "--work-limit", "0")
    for name, text in BUDGETS.items():
        yield Seed(files={name: text.encode(), "small.onnx": model}, command=command)


BUDGETS = {
    "convsv.toml": """models = ["small.onnx"]
max-lipschitz = 1e6   # of the network
max-layer = 70.1
[[layer]]
match = "v*"
max = 6.5
[[ignore]]
match = "w"
reason = "calibrated after training"
expires = 2037-01-31
""",
    "pyproject.toml": """[tool.convsv]
max-layer = 70
input-size = "224"
input-shape = { x = [1, 4] }
input-range = [0, 1]
tolerance = 1e-3
network-effort = "quick"
as-table = ["w?"]
exact = false
""",
}


def _samples(folder: Path) -> Iterator[Seed]:
    model = _small(folder)
    np.savez(folder / "d.npz", x=normal(3, 4), y=np.array([0, 1, 2]))
    np.savez_compressed(folder / "e.npz", x=normal(3, 4), y=np.array([0, 1, 2]))
    certify = (
        "certify",
        "{small.onnx}",
        "--data",
        "{}",
        "--effort",
        "none",
        "--network-effort",
        "quick",
        "--quiet",
    )
    empirical = (*AUDIT[:1], "{small.onnx}", *AUDIT[2:], "--network-effort", "quick", "--empirical", "{}")
    for name in "de":
        files = {"data.npz": (folder / f"{name}.npz").read_bytes(), "small.onnx": model}
        yield Seed(files=files, command=certify)
        yield Seed(files=files, command=empirical)


def _kept(make: Callable[[Path, kept.Run], Iterator[tuple[Files, kept.Command]]]) -> Maker:
    """Of what is kept, in a folder of its own."""
    return lambda folder: (Seed(files=files, command=command) for files, command in make(folder, _run))


MAKERS: dict[str, Maker] = {
    "onnx": _onnx,
    "legacy checkpoint": _legacy,
    "zip checkpoint": _zipped,
    "pickled module": _module,
    "TorchScript": _script,
    "pt2": _program,
    "safetensors": _safetensors,
    "gguf": _gguf,
    "quantised": _quantised,
    "sharded index": _sharded,
    "distributed": _distributed,
    "adapter": _adapters,
    "adapter file": _adapter_files,
    "ONNX operators": _operators,
    "report": _reports,
    "budget": _budgets,
    "samples": _samples,
    "sweep results": _kept(kept.results),
    "cache": _kept(kept.entries),
}
