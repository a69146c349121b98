"""ONNX graphs of sizes, windows and lengths that nobody has, and of very many nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from tests.support.onnx_models import graph_model, normal
from tests.support.small_files.graph_constants import BESIDE, NODE, beside_a_layer, integers, saved
from tests.support.small_files.small_file import SmallFile

IMAGE = {"x": [1, 3, 8, 8]}
WEIGHT = {f"{BESIDE}.weight": normal(4, 3, 3, 3)}


def conv(source: str = "x", result: str = "c") -> NodeProto:
    return NODE("Conv", [source, f"{BESIDE}.weight"], [result])


def after_a_layer(node: NodeProto, weights: Mapping[str, np.ndarray] = {}, shape=(1, 3, 8, 8)) -> ModelProto:
    """A node that makes y of c, which a layer makes of an image."""
    return graph_model([conv(), node], {"x": shape}, {**weights, **WEIGHT})


def resized(mode: str) -> ModelProto:
    weights = {"scales": np.array([1, 1, 1e9, 1e9], np.float32)}
    return after_a_layer(NODE("Resize", ["c", "", "scales"], ["y"], mode=mode), weights)


def resized_to(mode: str, **attributes: object) -> ModelProto:
    node = NODE("Resize", ["c", "", "", "sizes"], ["y"], mode=mode, **attributes)
    return after_a_layer(node, {"sizes": integers(1, 4, 50_000_000, 7)})


def shrunk() -> ModelProto:
    """An image of 30,000,000 rows, of which three are left: wide filters."""
    node = NODE("Resize", ["c", "", "", "sizes"], ["y"], mode="cubic", antialias=1)
    return after_a_layer(node, {"sizes": integers(1, 4, 3, 3)}, (1, 3, 30_000_000, 8))


def many_resized() -> ModelProto:
    """100 images of 20,000 rows, each made somewhat larger."""
    weights = {f"sizes{i}": integers(1, 4, 20_000 + i, 20_000 + i) for i in range(100)}
    nodes = [NODE("Resize", ["c", "", "", f"sizes{i}"], [f"y{i}"], mode="linear") for i in range(100)]
    model = graph_model(
        [conv(), *nodes], {"x": [1, 3, 8, 8]}, {**weights, **WEIGHT}, [f"y{i}" for i in range(100)]
    )
    return model


def padded(mode: str) -> ModelProto:
    pads = integers(0, 0, 5 * 10**8, 0, 0, 0, 5 * 10**8, 0)
    return after_a_layer(NODE("Pad", ["c", "pads"], ["y"], mode=mode), {"pads": pads})


def long_padded() -> ModelProto:
    """Edges of a claimed image of 10^9 rows."""
    node = NODE("Pad", ["c", "pads"], ["y"], mode="reflect")
    return after_a_layer(node, {"pads": integers(0, 0, 5, 0, 0, 0, 5, 0)}, (1, 3, 10**9, 8))


def pooled(op: str, **attributes: object) -> ModelProto:
    pads = [2 * 10**8, 0, 2 * 10**8, 0]
    return after_a_layer(NODE(op, ["c"], ["y"], **{"kernel_shape": [3, 3], "pads": pads, **attributes}))


def many_pooled() -> ModelProto:
    """300 pools over 2,000,000 rows."""
    nodes = [
        NODE("AveragePool", ["c"], [f"y{i}"], kernel_shape=[8, 1], pads=[0, 0, 1_000_000 + i, 0])
        for i in range(300)
    ]
    return graph_model([conv(), *nodes], {"x": [1, 3, 1_000_000, 8]}, WEIGHT, [f"y{i}" for i in range(300)])


def columns() -> ModelProto:
    nodes = [NODE("Reshape", ["c", "to"], ["r"])]
    pads = [2 * 10**8, 0, 2 * 10**8, 0]
    nodes.append(NODE("Col2Im", ["r", "image", "block"], ["y"], pads=pads))
    weights = {"to": integers(1, 4, 36), "image": integers(8, 8), "block": integers(2, 2)}
    return graph_model([conv(), *nodes], IMAGE, {**weights, **WEIGHT})


def large_columns() -> ModelProto:
    nodes = [NODE("Reshape", ["c", "to"], ["r"]), NODE("Col2Im", ["r", "image", "block"], ["y"])]
    weights = {"to": integers(1, 4, 36), "image": integers(2**23, 8), "block": integers(2, 2)}
    return graph_model([conv(), *nodes], IMAGE, {**weights, **WEIGHT})


def outer_product() -> ModelProto:
    """Two matrices [N, 1] and [1, N], one after the other."""
    weights = {"a": np.ones((60_000, 1), np.float32), "b": np.ones((1, 60_000), np.float32)}
    nodes = [NODE("MatMul", ["x", "a"], ["m"]), NODE("MatMul", ["m", "b"], ["y"])]
    return graph_model(nodes, {"x": [1, 60_000]}, weights)


def many_outer_products() -> ModelProto:
    """A chain of 40 bottlenecks of one unit between 2,900 others."""
    weights = {f"{i}.weight": np.ones((2900, 1) if i % 2 else (1, 2900), np.float32) for i in range(80)}
    nodes = [NODE("MatMul", [f"t{i}", f"{i}.weight"], [f"t{i + 1}"]) for i in range(80)]
    return graph_model(nodes, {"t0": [1, 1]}, weights, ["t80"])


def bordered() -> ModelProto:
    """A bias that becomes an image of 60,000 by 60,000."""
    weights = {
        **WEIGHT,
        "b": np.ones(4, np.float32),
        "one.weight": normal(3, 3, 1, 1),
        "bias": np.ones(3, np.float32),
    }
    nodes = [
        NODE("Conv", ["x", "one.weight", "bias"], ["m"]),
        NODE("Conv", ["m", f"{BESIDE}.weight", "b"], ["y"], pads=[1, 1, 1, 1]),
    ]
    return graph_model(nodes, {"x": [1, 3, 60_000, 60_000]}, weights)


def recurrent(op: str, gates: int) -> ModelProto:
    """400 of them, over 1,000 steps."""
    weights = {"w": normal(1, gates * 2, 4), "r": normal(1, gates * 2, 2)}
    nodes = [NODE(op, ["s", "w", "r"], [f"y{i}"], hidden_size=2) for i in range(400)]
    return graph_model(
        [conv(), *nodes],
        {"s": [1000, 1, 4], **IMAGE},
        {**weights, **WEIGHT},
        ["c", *(f"y{i}" for i in range(400))],
    )


def recurrent_chain() -> ModelProto:
    weights = {"w": normal(1, 8, 2), "r": normal(1, 8, 2), "to": integers(1000, 1, 2)}
    nodes = []
    for i in range(300):
        nodes.append(NODE("LSTM", [f"s{i}", "w", "r"], [f"h{i}"], hidden_size=2))
        nodes.append(NODE("Reshape", [f"h{i}", "to"], [f"s{i + 1}"]))
    return graph_model([conv(), *nodes], {"s0": [1000, 1, 2], **IMAGE}, {**weights, **WEIGHT}, ["c", "s300"])


def terms(op: str) -> ModelProto:
    """20,000 terms, each by a node of its own."""
    nodes = [NODE("Relu", ["c"], [f"t{i}"]) for i in range(12_000)]
    return graph_model([conv(), *nodes, NODE(op, [f"t{i}" for i in range(12_000)], ["y"])], IMAGE, WEIGHT)


def one_term() -> ModelProto:
    """One term, 200,000 times."""
    return after_a_layer(NODE("Sum", ["c"] * 200_000, ["y"]))


def sines() -> ModelProto:
    nodes = [NODE("Sin", [f"t{i}"], [f"t{i + 1}"]) for i in range(24_000)]
    return graph_model([conv("x", "t0"), *nodes], IMAGE, WEIGHT, ["t24000"])


def long_chain(op: str, count: int = 24_000) -> ModelProto:
    nodes = [NODE(op, [f"t{i}"], [f"t{i + 1}"]) for i in range(count)]
    return graph_model([conv("x", "t0"), *nodes], IMAGE, WEIGHT, [f"t{count}"])


def doubling() -> ModelProto:
    """Sums of a tensor with itself, 20,000 times: paths beyond any number."""
    nodes = [NODE("Add", [f"t{i}", f"t{i}"], [f"t{i + 1}"]) for i in range(20_000)]
    return graph_model([conv("x", "t0"), *nodes], IMAGE, WEIGHT, ["t20000"])


def skips() -> ModelProto:
    """Products with a gate, one after the other: regions of many nodes."""
    nodes = []
    for i in range(6000):
        nodes += [NODE("Sigmoid", [f"t{i}"], [f"g{i}"]), NODE("Mul", [f"t{i}", f"g{i}"], [f"t{i + 1}"])]
    return graph_model([conv("x", "t0"), *nodes], IMAGE, WEIGHT, ["t6000"])


def scalings() -> ModelProto:
    """Scalings before a layer that cannot take them all, one after the other."""
    nodes = [NODE("Mul", [f"t{i}", "s"], [f"t{i + 1}"]) for i in range(16_000)]
    weights = {"s": np.full((1, 4, 1, 1), 1.5, np.float32), **WEIGHT, "k.weight": normal(4, 4, 1, 1)}
    return graph_model([conv("x", "t0"), *nodes, NODE("Conv", ["t16000", "k.weight"], ["y"])], IMAGE, weights)


def different_sines() -> ModelProto:
    """Functions that all differ."""
    nodes, weights = [], dict(WEIGHT)
    for i in range(2500):
        weights[f"k{i}"] = np.float32(i + 0.5)
        nodes += [NODE("Mul", [f"t{i}", f"k{i}"], [f"m{i}"]), NODE("Sin", [f"m{i}"], [f"s{i}"])]
        nodes += [NODE("Mul", [f"s{i}", f"t{i}"], [f"t{i + 1}"])]
    return graph_model([conv("x", "t0"), *nodes], IMAGE, weights, ["t2500"])


def many_outputs() -> ModelProto:
    """A Split into 60,000 parts that are all joined again."""
    names = [f"p{i}" for i in range(40_000)]
    nodes = [
        NODE("Split", ["x"], names, axis=1, num_outputs=len(names)),
        NODE("Concat", names, ["m"], axis=1),
    ]
    return beside_a_layer(
        [*nodes[:0], NODE("Split", ["v"], names, axis=1, num_outputs=len(names)), nodes[1]], {}, ["m"]
    )


def nested_ifs(depth: int = 14) -> ModelProto:
    """Ifs in both branches of Ifs."""

    def body(level: int, name: str) -> helper.GraphProto:
        result = f"r{name}"
        if not level:
            node = NODE("Relu", ["c"], [result])
        else:
            branches = {f"{side}_branch": body(level - 1, f"{name}{side[0]}") for side in ("then", "else")}
            node = NODE("If", ["b"], [result], **branches)
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(result, 1, None)])

    node = NODE("If", ["b"], ["y"], then_branch=body(depth - 1, "t"), else_branch=body(depth - 1, "e"))
    model = graph_model([conv(), node], IMAGE, WEIGHT)
    model.graph.input.append(helper.make_tensor_value_info("b", TensorProto.BOOL, []))
    return model


def deep_ifs(depth: int = 25) -> ModelProto:
    """Ifs in Ifs, as deep as may be, with many names from outside."""
    inner = [NODE("Relu", ["c"], [f"i{i}"]) for i in range(3000)]
    graph = helper.make_graph(inner, "g", [], [helper.make_tensor_value_info("i0", 1, None)])
    for level in range(depth):
        node = NODE(
            "If",
            ["b"],
            [f"n{level}"],
            then_branch=graph,
            else_branch=helper.make_graph(
                [NODE("Relu", ["c"], [f"e{level}"])],
                "e",
                [],
                [helper.make_tensor_value_info(f"e{level}", 1, None)],
            ),
        )
        graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info(f"n{level}", 1, None)])
    node = NODE(
        "If",
        ["b"],
        ["y"],
        then_branch=graph,
        else_branch=helper.make_graph(
            [NODE("Relu", ["c"], ["o"])], "e", [], [helper.make_tensor_value_info("o", 1, None)]
        ),
    )
    model = graph_model([conv(), node], IMAGE, WEIGHT)
    model.graph.input.append(helper.make_tensor_value_info("b", TensorProto.BOOL, []))
    return model


def tokens() -> ModelProto:
    """Wide reshapes and transposes of claimed shapes."""
    weights = {**WEIGHT, "to": integers(1, 4, 6, 6, *([1] * 60))}
    return graph_model(
        [conv(), NODE("Reshape", ["c", "to"], ["m"]), NODE("Transpose", ["m"], ["y"])], IMAGE, weights
    )


def indices() -> ModelProto:
    """100,000 tuples of indices."""
    weights = {**WEIGHT, "i": np.zeros((30_000, 4), np.int64)}
    nodes = [NODE("GatherND", ["c", "i"], [f"y{k}"]) for k in range(200)]
    return graph_model([conv(), *nodes], IMAGE, weights, [f"y{k}" for k in range(200)])


def gathered_grid() -> ModelProto:
    """An index tensor that is claimed, of 8,000,000 entries and 60 axes."""
    weights = {**WEIGHT, "to": integers(*[2] * 22, *[1] * 10)}
    nodes = [
        NODE("ConstantOfShape", ["to"], ["i"], value=helper.make_tensor("v", TensorProto.INT64, [1], [0]))
    ]
    nodes += [NODE("GatherElements", ["c", "i"], ["y"], axis=0)]
    return graph_model([conv(), *nodes], IMAGE, weights)


def normalised() -> ModelProto:
    """A scale over 10^10 claimed entries."""
    node = NODE("LayerNormalization", ["c", "s"], ["y"], axis=1)
    return after_a_layer(node, {"s": np.ones(1, np.float32)}, (1, 3, 100_000, 100_000))


def pooled_mean() -> ModelProto:
    nodes = [conv(), NODE("Relu", ["c"], ["r"]), NODE("GlobalAveragePool", ["r"], ["y"])]
    return graph_model(nodes, {"x": [1, 3, 200_000, 200_000]}, WEIGHT)


def upsampled() -> ModelProto:
    weights = {"scales": np.array([1, 1, 20_000, 20_000], np.float32), **WEIGHT}
    nodes = [
        conv(),
        NODE("Relu", ["c"], ["r"]),
        NODE(
            "Resize",
            ["r", "", "scales"],
            ["y"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
    ]
    return graph_model(nodes, IMAGE, weights)


def averaged_wide() -> ModelProto:
    nodes = [conv(), NODE("Relu", ["c"], ["r"]), NODE("AveragePool", ["r"], ["y"], kernel_shape=[5000, 5000])]
    return graph_model(nodes, {"x": [1, 3, 6000, 6000]}, WEIGHT)


MAKERS: Mapping[str, Callable[[], ModelProto]] = {
    **{f"resize to 10^9, {mode}": partial(resized, mode) for mode in ("nearest", "linear", "cubic")},
    "resize to 5*10^7": partial(resized_to, "linear"),
    "resize by aspect": partial(resized_to, "nearest", keep_aspect_ratio_policy="not_larger"),
    "shrunk with wide filters": shrunk,
    "100 images resized": many_resized,
    **{f"pad by 5*10^8, {mode}": partial(padded, mode) for mode in ("edge", "reflect", "wrap", "constant")},
    "pad of a long image": long_padded,
    **{f"{op} with wide pads": partial(pooled, op) for op in ("MaxPool", "AveragePool", "LpPool")},
    "pool that counts pads": partial(pooled, "AveragePool", count_include_pad=1),
    "pool of dilated windows": partial(pooled, "MaxPool", dilations=[2**40, 2**40]),
    "pool of wide windows": partial(pooled, "AveragePool", kernel_shape=[2**31, 3]),
    "pool of long strides": partial(pooled, "MaxPool", strides=[2**62, 2**62]),
    "300 pools": many_pooled,
    "columns with wide pads": columns,
    "columns of a long image": large_columns,
    "outer product": outer_product,
    "chain of outer products": many_outer_products,
    "bias of a large image": bordered,
    "400 LSTMs": partial(recurrent, "LSTM", 4),
    "400 GRUs": partial(recurrent, "GRU", 3),
    "400 RNNs": partial(recurrent, "RNN", 1),
    "300 LSTMs in a chain": recurrent_chain,
    **{f"{op} of 12,000 terms": partial(terms, op) for op in ("Sum", "Concat", "Max", "Mean")},
    "one term 200,000 times": one_term,
    "24,000 sines": sines,
    "chain of Relus": partial(long_chain, "Relu"),
    "chain of identities": partial(long_chain, "Identity"),
    "chain of SoftSigns": partial(long_chain, "Softsign"),
    "chain of batches": partial(long_chain, "Flatten"),
    "20,000 sums of one tensor": doubling,
    "6,000 gates": skips,
    "16,000 scalings": scalings,
    "2,500 functions": different_sines,
    "40,000 parts": many_outputs,
    "ifs in ifs": nested_ifs,
    "deep ifs": deep_ifs,
    "64 axes": tokens,
    "200 times 30,000 indices": indices,
    "indices along 32 axes": gathered_grid,
    "scale of a large image": normalised,
    "mean of a large image": pooled_mean,
    "repeated 20,000 times": upsampled,
    "mean over wide windows": averaged_wide,
}
FILES = tuple(
    SmallFile(
        name=name,
        make=partial(lambda folder, make: saved(make(), folder), make=make),
        codes=(0, 3),
        says=BESIDE if "outer" not in name else "",
    )
    for name, make in MAKERS.items()
)
