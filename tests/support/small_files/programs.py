"""Programs of torch.export: their constants, and the numbers in their JSON."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.small_files.small_file import SmallFile

FLOAT32, STRIDED = 7, 7
Json = dict[str, Any]


def tensor(name: str) -> Json:
    return {"as_tensor": {"name": name}}


def node(target: str, output: str, **arguments: Json) -> Json:
    """One call of an operator with one result."""
    inputs = [{"name": name, "arg": value} for name, value in arguments.items()]
    return {
        "target": f"torch.ops.aten.{target}",
        "inputs": inputs,
        "outputs": [tensor(output)],
        "name": output,
    }


def sized(shape: Sequence[int], strides: Sequence[int] | None = None) -> Json:
    if strides is None:
        strides = [int(np.prod(shape[axis + 1 :], dtype=object)) for axis in range(len(shape))]
    numbers = {"sizes": [{"as_int": n} for n in shape], "strides": [{"as_int": n} for n in strides]}
    return {**numbers, "storage_offset": {"as_int": 0}, "dtype": FLOAT32, "layout": STRIDED}


def program(
    folder: Path,
    nodes: Sequence[Json],
    weights: Mapping[str, np.ndarray],
    metas: Mapping[str, Json] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Path:
    """An archive with an input v of [1, 4], a linear layer of it that is called fc, and further nodes.

    With shapes of what these give, the last of them is an output, so that there is a graph.
    """
    weights = {**weights, "fc.weight": np.ones((4, 4), np.float32)}
    stored = [(f"p_{i}", name) for i, name in enumerate(weights)]
    fc = node("linear.default", "fc", input=tensor("v"), weight=tensor(stored[-1][0]))
    inputs = [{"parameter": {"arg": {"name": short}, "parameter_name": name}} for short, name in stored] + [
        {"user_input": {"arg": tensor("v")}}
    ]
    values = {"v": sized([1, 4]), "fc": sized([1, 4])}
    values |= {name: sized(shape) for name, shape in (shapes or {}).items()}
    graph = {"nodes": [fc, *nodes], "tensor_values": values}
    if shapes:
        graph["outputs"] = nodes[-1]["outputs"]
    model = {"graph_module": {"graph": graph, "signature": {"input_specs": inputs}}}
    config = {
        name: {
            "use_pickle": False,
            "path_name": f"weight_{i}",
            "tensor_meta": (metas or {}).get(name) or sized(values.shape),
        }
        for i, (name, values) in enumerate(weights.items())
    }
    with zipfile.ZipFile(folder / "model.pt2", "w") as archive:
        archive.writestr("m/models/model.json", json.dumps(model))
        archive.writestr("m/data/weights/model_weights_config.json", json.dumps({"config": config}))
        for i, each in enumerate(weights.values()):
            archive.writestr(f"m/data/weights/weight_{i}", each.tobytes())
    return folder / "model.pt2"


def normalised(folder: Path) -> Path:
    """Of a direction [60,000, 1] and lengths [1, 60,000], which make a matrix of 3.6 * 10^9."""
    weights = {"d.g": np.ones((1, 60_000), np.float32), "d.v": np.ones((60_000, 1), np.float32)}
    nodes = [
        node("_weight_norm.default", "w", v=tensor("p_1"), g=tensor("p_0"), dim={"as_int": 1}),
        node("linear.default", "y", input=tensor("v"), weight=tensor("w")),
    ]
    return program(folder, nodes, weights)


def multiplied(folder: Path) -> Path:
    """A column times a row."""
    weights = {"d.g": np.ones((1, 60_000), np.float32), "d.v": np.ones((60_000, 1), np.float32)}
    nodes = [
        node("mul.Tensor", "w", self=tensor("p_1"), other=tensor("p_0")),
        node("linear.default", "y", input=tensor("v"), weight=tensor("w")),
    ]
    return program(folder, nodes, weights)


def scaled(folder: Path, *, alpha: Any) -> Path:
    weights = {"m": np.ones((4, 4), np.float32), "b": np.ones(4, np.float32)}
    arguments = {"self": tensor("p_1"), "mat1": tensor("v"), "mat2": tensor("p_0"), "alpha": alpha}
    return program(folder, [node("addmm.default", "y", **arguments)], weights)


def strided(folder: Path) -> Path:
    """A stride of 2^70 along an axis of length 1."""
    weights = {"m": np.ones((1, 4), np.float32)}
    nodes = [node("linear.default", "y", input=tensor("v"), weight=tensor("p_0"))]
    return program(folder, nodes, weights, {"m": sized([1, 4], [2**70, 1])})


def chain(folder: Path, *, everywhere: bool) -> Path:
    """990 casts, and linear layers by the last of them, or by each."""
    weights = {"m": np.ones((4, 4), np.float32)}
    nodes = [
        node("to.dtype", f"c{i}", self=tensor(f"c{i - 1}" if i else "p_0"), dtype={"as_scalar_type": FLOAT32})
        for i in range(990)
    ]
    nodes += [
        node("linear.default", f"y{i}", input=tensor("v"), weight=tensor(f"c{i if everywhere else 989}"))
        for i in range(990 if everywhere else 2500)
    ]
    return program(folder, nodes, weights)


def operands(folder: Path) -> Path:
    """A cast with further operands, which is a part of all weights."""
    weights = {"m": np.ones((4, 4), np.float32)}
    further = {"as_tensors": [{"name": "p_0"}] * 20_000}
    nodes = [node("_to_copy.default", "c", self=tensor("p_0"), further=further)]
    for i in range(1_500):
        nodes.append(node("_to_copy.default", f"c{i}", self=tensor("c")))
        nodes.append(node("linear.default", f"y{i}", input=tensor("v"), weight=tensor(f"c{i}")))
    return program(folder, nodes, weights)


def convolved(folder: Path, **arguments: Any) -> Path:
    weights = {"k": np.ones((4, 4, 3, 3), np.float32)}
    given = {"input": tensor("v"), "weight": tensor("p_0"), **arguments}
    return program(folder, [node("conv2d.default", "y", **given)], weights)


def graph(folder: Path, target: str, shape: Sequence[int], **arguments: Any) -> Path:
    """One operator after the layer."""
    return program(folder, [node(target, "y", **arguments)], {}, shapes={"y": shape})


def attended(folder: Path) -> Path:
    """Causal attention of 131,072 tokens, whose mask has as many rows and columns."""
    tokens = {name: tensor("e") for name in ("query", "key", "value")}
    nodes = [
        node("expand.default", "e", self=tensor("fc"), size={"as_ints": [2**17, 4]}),
        node("scaled_dot_product_attention.default", "y", **tokens, is_causal={"as_bool": True}),
    ]
    return program(folder, nodes, {}, shapes={"e": [2**17, 4], "y": [2**17, 4]})


def branched(folder: Path, depth: int = 8) -> Path:
    """A choice among two graphs that hold a choice each, and so on."""
    inner = {
        "inputs": [tensor("a")],
        "outputs": [tensor("b")],
        "nodes": [node("relu.default", "b", self=tensor("a"))],
        "tensor_values": {"a": sized([1, 4]), "b": sized([1, 4])},
    }
    for level in range(depth):
        held = {"as_graph": {"name": "g", "graph": inner}}
        given = (tensor("a"), held, held, {"as_tensors": [{"name": "a"}]})
        cond = {
            "target": "torch.ops.higher_order.cond",
            "inputs": [{"name": "", "arg": each} for each in given],
            "outputs": [{"as_tensors": [{"name": "b"}]}],
            "name": f"cond_{level}",
        }
        inner = {**inner, "nodes": [cond]}
    (last,) = inner["nodes"]
    names = [tensor("fc"), *(each["arg"] for each in last["inputs"][1:3]), {"as_tensors": [{"name": "fc"}]}]
    last = {**last, "inputs": [{"name": "", "arg": each} for each in names], "outputs": [tensor("y")]}
    return program(folder, [last], {}, shapes={"y": [1, 4]})


def in_place(folder: Path) -> Path:
    """2,500 changes of one tensor in place, each by the name of the first."""
    nodes = [node("relu_.default", f"y{i}", self=tensor("fc")) for i in range(2_500)]
    return program(folder, nodes, {}, shapes={f"y{i}": [1, 4] for i in range(2_500)})


MAKERS: Mapping[str, Callable[[Path], Path]] = {
    "weight norm of a column and a row": normalised,
    "product of a column and a row": multiplied,
    "alpha of 10^400": partial(scaled, alpha={"as_int": 10**400}),
    "alpha that is a string": partial(scaled, alpha={"as_string": "x"}),
    "alpha that is no number": partial(scaled, alpha={"as_float": float("nan")}),
    "strides of 2^70": strided,
    "chain of 990 casts for 2,500 nodes": partial(chain, everywhere=False),
    "chain of 990 casts, each with a layer": partial(chain, everywhere=True),
    "many operands of a cast for 1,500 nodes": operands,
    "convolution in 2^62 groups": partial(convolved, groups={"as_int": 2**62}),
    "convolution with a string as stride": partial(convolved, stride={"as_string": "same"}),
    "convolution dilated by 2^70": partial(convolved, dilation={"as_ints": [2**70, 1]}),
    "identity of 2^20 rows": partial(graph, target="eye.default", shape=[2**20, 2**20]),
    "2^40 equal numbers": partial(
        graph, target="full.default", shape=[2**40, 8], fill_value={"as_float": 1.0}
    ),
    "windows of 2^30 entries": partial(
        graph,
        target="unfold.default",
        shape=[1, 1, 2**30],
        self=tensor("fc"),
        dimension={"as_int": 1},
        size={"as_int": 2**30},
        step={"as_int": 1},
    ),
    "causal mask of 2^34 entries": attended,
    "choices in choices": branched,
    "2,500 changes in place": in_place,
}
GRAPHS = (
    "identity of 2^20 rows", "2^40 equal numbers", "windows of 2^30 entries", "causal mask of 2^34 entries",
    "choices in choices", "2,500 changes in place",
)  # fmt: skip
CODES = {
    **dict.fromkeys(GRAPHS, (0,)),
    "strides of 2^70": (4,),
    "chain of 990 casts for 2,500 nodes": (0,),
    "chain of 990 casts, each with a layer": (0, 3),
}
FILES = tuple(
    SmallFile(
        name=name,
        make=make,
        codes=CODES.get(name, (3,)),
        says="m" if name in CODES and name not in GRAPHS else "fc",
    )
    for name, make in MAKERS.items()
)
