"""Graphs inside the nodes of a program, set into it: what runs without gradients, both branches of a cond.

A branch has no effects, so that what a cond gives is a choice among what both of its branches give.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from convsv_cli import limits

HIGHER = "torch.ops.higher_order."
WRAPPED, COND = f"{HIGHER}wrap_with_set_grad_enabled", f"{HIGHER}cond"
DEEPEST = 4
EACH = 20 * limits.OBJECT
"""Steps of the model's allowance for each node of a graph inside another."""
Json = Any  # as parsed


def inlined(graph: Json) -> Json:
    """The same graph without nodes that hold graphs, as far as these are of the kinds above.

    Args:
        graph: of torch's export schema.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: it is not of the schema, or nested deeply.
    """
    return _Inlining(graph).result(graph)


class _Inlining:
    def __init__(self, graph: Json) -> None:
        self._values: dict[str, Json] = dict(graph["tensor_values"])
        self._sizes: dict[str, Json] = dict(graph.get("sym_int_values") or {})

    def result(self, graph: Json) -> Json:
        """With what inner tensors are, beside those of the graph itself."""
        nodes = [each for node in graph["nodes"] for each in self._nodes(node, DEEPEST)]
        return {**graph, "nodes": nodes, "tensor_values": self._values, "sym_int_values": self._sizes}

    def _nodes(self, node: Json, depth: int) -> Iterator[Json]:
        limits.spend(EACH, "the graphs inside a program")
        target = node["target"]
        if target not in (WRAPPED, COND) or not depth:
            yield node
            return
        condition, *given = (argument["arg"] for argument in node["inputs"])
        graphs = [each["as_graph"]["graph"] for each in given if "as_graph" in each]
        operands = [name for each in given for name in _names(each)]
        whole = all(len(graph["inputs"]) == len(operands) for graph in graphs)
        if not whole or (target == COND and "as_tensor" not in condition):
            yield node
            return
        results = []
        for number, graph in enumerate(graphs):
            renamed = self._renamed(graph, f"{node['name']}.{number}.", operands)
            for inner in renamed["nodes"]:
                yield from self._nodes(inner, depth - 1)
            results.append([name for output in renamed["outputs"] for name in _names(output)])
        names = [name for output in node["outputs"] for name in _names(output)]
        for i, name in enumerate(names):
            parts = [result[i] for result in results]
            yield _same(parts[0], name) if target == WRAPPED else _chosen(condition, parts, name)

    def _renamed(self, graph: Json, prefix: str, operands: list[str]) -> Json:
        """An inner graph whose inputs are the operands, and whose other names nothing else has."""
        inputs = [name for each in graph["inputs"] for name in _names(each)]
        names = dict(zip(inputs, operands, strict=True))
        found = _with_names(graph, names, prefix)
        for values, home in (("tensor_values", self._values), ("sym_int_values", self._sizes)):
            for name, value in (graph.get(values) or {}).items():
                if name not in names:
                    home[prefix + name] = value
        return found


def _names(argument: Json) -> list[str]:
    """Of the tensors, and sizes, in an argument."""
    several = argument.get("as_tensors")
    if several is not None:
        return [each["name"] for each in several]
    one = argument.get("as_tensor") or argument.get("as_optional_tensor", {}).get("as_tensor")
    return [one["name"]] if one else []


def _with_names(value: Json, names: Mapping[str, str], prefix: str) -> Json:
    """A copy in which every name of a tensor or a size is another."""
    if isinstance(value, list):
        return [_with_names(each, names, prefix) for each in value]
    if not isinstance(value, dict):
        return value
    for key in ("name", "as_name"):
        if value.keys() == {key} and type(value[key]) is str:
            return {key: names.get(value[key], prefix + value[key])}
    kept = {key: _with_names(each, names, prefix) for key, each in value.items() if key != "metadata"}
    if "target" in kept:
        kept["name"] = prefix + str(value.get("name") or "")
    return kept


def _same(source: str, name: str) -> Json:
    arguments = [{"name": "self", "arg": {"as_tensor": {"name": source}}}]
    return {
        "target": "torch.ops.aten.alias.default",
        "inputs": arguments,
        "outputs": _output(name),
        "name": name,
    }


def _chosen(condition: Json, parts: list[str], name: str) -> Json:
    operands = zip(("self", "other"), parts, strict=True)
    arguments = [
        {"name": "condition", "arg": condition},
        *({"name": key, "arg": {"as_tensor": {"name": part}}} for key, part in operands),
    ]
    return {
        "target": "torch.ops.aten.where.self",
        "inputs": arguments,
        "outputs": _output(name),
        "name": name,
    }


def _output(name: str) -> list[Json]:
    return [{"as_tensor": {"name": name}}]
