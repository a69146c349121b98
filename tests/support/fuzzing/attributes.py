"""Other attributes, shapes and types at the nodes of an ONNX model, which stays one that onnx parses."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.support.fuzzing.mutations import NUMBERS

INTEGERS = (*NUMBERS, *range(-3, 10), -(2**31), -(2**63), 1000, 10**6, 10**9)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    b"",
    b"SAME_UPPER",
    b"VALID",
    b"linear",
    b"reflect",
    b"\xff\xfe",
    b"a" * 3000,
    b"ij,jk->ik",
    b"i" * 3000,
)
COUNTS = (0, 1, 2, 3, 4, 5, 8, 64, 100_000)
SIZES = (0, 1, 2, 3, 7, 64, 2**16, 2**31, 2**40, -1)


def attribute(data: bytes, random: Random) -> bytes:
    """An attribute of a node that has another type, number or count, or is one that it might have."""
    model = _parsed(data)
    node = random.choice(model.graph.node)
    names = [each.name for each in node.attribute] + _possible(node)
    if not names:
        return data
    name = random.choice(names)
    kept = [each for each in node.attribute if each.name != name]
    old = next((each for each in node.attribute if each.name == name), None)
    del node.attribute[:]
    node.attribute.extend(kept)
    if random.random() < 0.95:
        node.attribute.append(_changed(name, old, random))
    return model.SerializeToString()


def constant(data: bytes, random: Random) -> bytes:
    """A stored tensor of other values, another shape or another type, whose data fit it."""
    model = _parsed(data)
    stored = [each for each in model.graph.initializer if each.name != "w" or random.random() < 0.2]
    if not stored:
        return data
    tensor = random.choice(stored)
    values = _other(numpy_helper.to_array(tensor), random)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
    return model.SerializeToString()


def sizes(data: bytes, random: Random) -> bytes:
    """An input of another shape or type."""
    model = _parsed(data)
    if not model.graph.input:
        return data
    declared = random.choice(model.graph.input).type.tensor_type
    if random.random() < 0.3:
        declared.elem_type = random.randrange(24)
    elif declared.shape.dim:
        random.choice(declared.shape.dim).dim_value = random.choice(SIZES)
    return model.SerializeToString()


def operator(data: bytes, random: Random) -> bytes:
    """A node of another operator, or of another operator set, or with other inputs."""
    model = _parsed(data)
    node, what = random.choice(model.graph.node), random.random()
    if what < 0.4:
        node.op_type = random.choice([schema.name for schema in onnx.defs.get_all_schemas()])
    elif what < 0.6:
        model.opset_import[0].version = random.randrange(1, 26)
    elif what < 0.8 and node.input:
        node.input[random.randrange(len(node.input))] = random.choice(["", *_names(model.graph)])
    else:
        node.input.append(random.choice(["", *_names(model.graph)]))
    return model.SerializeToString()


def _parsed(data: bytes) -> ModelProto:
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ValueError from error
    return model


def _possible(node: NodeProto) -> list[str]:
    """Names of the attributes that its operator has."""
    return list(onnx.defs.get_schema(node.op_type).attributes) if onnx.defs.has(node.op_type) else []


def _names(graph: GraphProto) -> list[str]:
    inner = (name for node in graph.node for name in (*node.input, *node.output))
    return sorted({*inner, *(each.name for each in graph.initializer)})


def _changed(name: str, old: AttributeProto | None, random: Random) -> AttributeProto:
    """One of its own type with other values, or of any other."""
    if old is not None and random.random() < 0.5:
        kept = AttributeProto()
        kept.CopyFrom(old)
        for values, pool in ((kept.ints, INTEGERS), (kept.floats, FLOATS)):
            if values:
                values[random.randrange(len(values))] = random.choice(pool)
                if random.random() < 0.3:
                    values.extend([random.choice(pool)] * random.choice(COUNTS))
                return kept
        if old.type == AttributeProto.INT:
            kept.i = random.choice(INTEGERS)
            return kept
    return helper.make_attribute(name, _value(random), attr_type=None)


def _value(random: Random) -> Any:
    count = max(1, random.choice(COUNTS))
    shape = random.choice(((), (1,), (2, 0), (3, 3)))
    makers = (
        lambda: random.choice(INTEGERS),
        lambda: random.choice(FLOATS),
        lambda: random.choice(TEXTS),
        lambda: [random.choice(INTEGERS)] * count,
        lambda: [random.choice(FLOATS)] * count,
        lambda: [random.choice(TEXTS[:4])] * min(count, 64),
        lambda: numpy_helper.from_array(np.zeros(shape, np.float32), "t"),
        lambda: helper.make_graph([], "g", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, None)]),
    )
    return random.choice(makers)()


def _other(values: np.ndarray, random: Random) -> np.ndarray:
    what = random.randrange(5)
    if what == 0:
        return values.astype(random.choice((np.float32, np.float64, np.int64, np.int32, np.bool_, np.uint8)))
    if what == 1:
        return np.resize(values, random.choice(((), (0,), (1,), (2, 3), (1, 1, 1, 1, 1), (100_000,))))
    if what == 2:
        return values.reshape((1, *values.shape)) if random.random() < 0.5 else values.reshape(-1)
    changed = values.copy().reshape(-1)
    if changed.size:
        pool = FLOATS if changed.dtype.kind == "f" else [n for n in INTEGERS if abs(n) < 2**63]
        with np.errstate(all="ignore"):
            changed[random.randrange(changed.size)] = np.array(random.choice(pool)).astype(changed.dtype)
    return changed.reshape(values.shape)
