"""Whether two tensors are computed alike."""

from __future__ import annotations

from contextlib import suppress

from convsv_cli.lipschitz.dependencies import by_chance, passes
from convsv_cli.model.graph import Graph, Node, UnknownValueError

MOST_STEPS = 16  # that are looked back


def same(first: str, second: str, graph: Graph) -> bool:
    """Whether two tensors are computed alike, from the same ones, and not by chance.

    Args:
        first, second: their names.
        graph: with what makes them.
    """
    return _Alike(graph).tensors(first, second, MOST_STEPS)


class _Alike:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[tuple[str, str], bool] = {}

    def tensors(self, x: str, y: str, depth: int) -> bool:
        x, y = self._passed(x), self._passed(y)
        if x != y and (x, y) not in self._known:
            self._known[x, y] = self._made_alike(x, y, depth)
        return x == y or self._known[x, y]

    def _passed(self, name: str) -> str:
        """What a tensor is before it was passed on."""
        for _ in range(MOST_STEPS):
            node = self._graph.makers.get(name)
            if node is None or not passes(node, self._graph):
                break
            name = node.inputs[0]
        return name

    def _made_alike(self, x: str, y: str, depth: int) -> bool:
        constants, makers = self._graph.constants, self._graph.makers
        with suppress(UnknownValueError):
            if x in constants and y in constants:
                return constants[x]().identity == constants[y]().identity
        a, b = makers.get(x), makers.get(y)
        if a is None or b is None or not depth or not _do_alike(a, b):
            return False
        return all(self.tensors(i, j, depth - 1) for i, j in zip(a.inputs, b.inputs, strict=True))


def _do_alike(a: Node, b: Node) -> bool:
    """Whether two nodes compute the same of the same inputs, and one result each."""
    if a.bodies or b.bodies or by_chance(a) or len(a.outputs) != 1 or len(b.outputs) != 1:
        return False
    return a.op == b.op and len(a.inputs) == len(b.inputs) and dict(a.attributes) == dict(b.attributes)
