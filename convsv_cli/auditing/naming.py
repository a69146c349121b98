"""Which rows a user's glob means."""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase

from convsv_cli.errors import UsageError
from convsv_cli.model.layer import Layer, UnsupportedLayer
from convsv_cli.model.network import Network

AnyLayer = Layer | UnsupportedLayer
FEW = 4


def matches(layer: AnyLayer, pattern: str) -> bool:
    """Whether the glob matches one of the names of the layer."""
    return any(fnmatchcase(name, pattern) for name in (layer.name, layer.weight, *layer.aliases))


def nothing_matches(network: Network, pattern: str, option: str = "") -> UsageError:
    """The error for a glob of an option that matches no row."""
    names = [layer.name for layer in network.layers]
    near = difflib.get_close_matches(pattern, [*names, *(layer.weight for layer in network.layers)], n=1)
    known = ", ".join(names[:FEW]) + (", ..." if len(names) > FEW else "")
    hint = f"did you mean {near[0]}?" if near else f"its layers are {known}"
    return UsageError(
        f"no layer matches {pattern!r}{option and f' of {option}'}", where=network.path, hint=hint
    )
