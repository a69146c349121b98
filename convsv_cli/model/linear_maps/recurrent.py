"""LSTM, GRU and RNN: the matrices of their gates, by the input and by the state before."""

from __future__ import annotations

from convsv_cli.model.graph import Graph, Node
from convsv_cli.model.layer import Geometry
from convsv_cli.model.linear_map import NOT_CONSTANT, LinearMap, Maps, unsupported

RECURRENT = "a gate matrix; the recurrence through it can amplify more"


def gates(node: Node, graph: Graph) -> Maps:
    """W [directions, gates * hidden, in] and R [directions, gates * hidden, hidden]."""
    for index, role in ((1, "W"), (2, "R")):
        constant = graph.constant(node.input(index))
        if constant is None or len(constant.shape) != 3:
            yield unsupported(node, NOT_CONSTANT, constant)
            continue
        directions, rows, columns = constant.shape
        yield LinearMap(
            op=node.type,
            constant=constant,
            kernel_shape=(directions * rows, columns),
            arrange=lambda values: values.reshape(-1, values.shape[-1]),
            geometry=Geometry(groups=directions if role == "R" else 1),
            assumed=(RECURRENT,),
            role=role,
        )


RULES = dict.fromkeys(("LSTM", "GRU", "RNN"), gates)
