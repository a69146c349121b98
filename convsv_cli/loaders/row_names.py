"""Names by which users know a layer: its module's path where the file has it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from convsv_cli.layer_names import plain_names
from convsv_cli.model.graph import Names

_WEIGHT = re.compile(r"\.(?:weight|kernel)(?:_[gv]|_orig)?$|\.parametrizations\.weight\.original[01]?$")
_ANONYMOUS = re.compile(
    r"^$|^\d+$|::|^(?:val|node|mul|div|t|transpose|constant|initializer|const)_?\d*$|/", re.IGNORECASE
)


def layer_name(weight: str, node: str, op_type: str, output: str) -> str:
    """The weight's module path; else the node's; else the weight's or the output's own name."""
    if not _ANONYMOUS.search(weight) and "." in weight:
        return _WEIGHT.sub("", weight)
    cleaned = _node_path(node, op_type)
    return cleaned or weight or output


def _node_path(node: str, op_type: str) -> str:
    """From "/layer1/layer1.0/conv1/Conv" layer1.0.conv1: each part repeats the path so far, or adds to it."""
    if not node.startswith("/"):
        return node
    path = ""
    for part in node.strip("/").split("/"):
        if re.fullmatch(rf"{re.escape(op_type)}(?:_\d+)?", part) and path:
            break
        path = part if part.startswith(f"{path}.") or not path else f"{path}.{part}"
    return path


def unique(names: Iterator[tuple[str, str]]) -> Iterator[str]:
    """Of pairs (scope's path, name) the plain name; the path before it where it is taken, then numbered."""
    found = list(names)
    plain = plain_names(name for _, name in found)
    taken = Names()
    for scope, name in ((scope, plain[name]) for scope, name in found):
        yield taken.new(f"{scope}/{name}" if scope and name in taken else name)
