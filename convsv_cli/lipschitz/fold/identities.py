"""Identity, and Dropout as it is in inference, are taken out, so that what is around them meets."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from convsv_cli.lipschitz.dependencies import needs
from convsv_cli.lipschitz.fold.sweep import Draft, uses
from convsv_cli.model.graph import Body, Graph, Node


def without_identities(graph: Graph) -> Graph:
    """The graph without them, but those whose result is an output or is used in a body."""
    draft, used = Draft(graph), uses(graph)
    fixed = set(graph.main.outputs)
    for node in graph.main.nodes:
        fixed.update(needs(replace(node, inputs=())))
    behind: dict[str, str] = {}
    kept = []
    for node in graph.main.nodes:
        renamed = replace(node, inputs=tuple(behind.get(name, name) for name in node.inputs))
        if _is_identity(renamed, draft, used) and node.outputs[0] not in fixed:
            behind[node.outputs[0]] = renamed.inputs[0]
        else:
            kept.append(renamed)
    return replace(graph, main=Body(nodes=tuple(kept), outputs=graph.main.outputs))


def _is_identity(node: Node, draft: Draft, used: Counter[str]) -> bool:
    """Dropout drops only if it is told to; its mask must not matter."""
    if node.op == "Identity":
        return len(node.inputs) == len(node.outputs) == 1
    if node.op != "Dropout" or any(used[name] for name in node.outputs[1:] if name):
        return False
    mode = node.inputs[2] if len(node.inputs) > 2 else ""
    values = draft.values(mode) if mode else None
    return not mode or (values is not None and not values.any())
