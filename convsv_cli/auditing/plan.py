"""What is to be done: which rows are layers, which of these, by which calculators, how much work that is."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch

from convsv_cli import limits
from convsv_cli.calculators import CALCULATORS
from convsv_cli.calculators.calculator import Calculator, Problem
from convsv_cli.errors import UsageError
from convsv_cli.lipschitz.ends import Ends, check_ends
from convsv_cli.model.kernel import Kernel, reduce_kernel
from convsv_cli.model.layer import CONV, Layer, UnsupportedLayer
from convsv_cli.model.network import Network
from convsv_cli.names import glob_forms
from convsv_cli.report import EXACT, PADDED, Settings

AnyLayer = Layer | UnsupportedLayer
FEW = 4
MOST_AXES = 48
"""Spatial axes; tensors have 64 at most, and reductions need further ones."""
AS_LAYER = "a layer, as asked"
AS_TABLE = "a table, as asked: a look-up by integer indices amplifies nothing"
LONGEST = 200
"""Characters of names that are compared letter by letter."""
EXPLAIN = "a glob may match more than one row: --as-layer and --as-table must not match the same one"


class Meter:
    """Adds up the work done and tells a listener."""

    def __init__(self, listener: Callable[[str, float], None] | None = None, total: float = 1.0) -> None:
        self._listener = listener
        self._total = max(total, 1.0)
        self._done = 0.0
        self._layer = ""

    def start(self, layer: str) -> None:
        """Work on this layer begins."""
        self._layer = layer
        self.advance(0)

    def part(self, name: str, work: float) -> Callable[[float], None]:
        """What to tell the share, 0 to 1, that is done of so much work, which has this name."""
        told = 0.0

        def tell(share: float) -> None:
            nonlocal told
            self._layer, more, told = name, share * work - told, share * work
            self.advance(more)

        return tell

    def advance(self, work: float) -> None:
        """Add work that is done."""
        self._done += work
        if self._listener is not None:
            self._listener(self._layer, min(1.0, self._done / self._total))


@dataclass(frozen=True, kw_only=True)
class Task:
    """A layer as it is to be audited, the calculators that apply, and an estimate of multiplications."""

    layer: AnyLayer
    settings: Settings
    calculators: tuple[Calculator, ...] = ()
    work: int = 0

    def problem(self, kernel: Kernel) -> Problem:
        """What the calculators are given; one exact figure of a matrix is all of its figures."""
        fine = self.settings.exact and not kernel.spatial
        return Problem(
            kernel=kernel,
            input_size=self.layer.input_size or () if isinstance(self.layer, Layer) else (),
            tolerance=0.0 if fine else self.settings.tolerance,
            work_limit=self.settings.work_limit,
        )


def declared(network: Network, settings: Settings) -> Network:
    """The network with the rows that `settings.as_layer` and `settings.as_table` match as what these say.

    Where its file leaves open what a weight is, users may say so. Nobody can turn into a table what the file
    uses as a layer, nor audit what convsv cannot read: such rows stay as they are where a glob also matches
    others.

    Raises:
        UsageError: a glob matches no row, or only such rows; one row would be both.
    """
    if not settings.as_layer and not settings.as_table:
        return network
    names = sum(len(name) for row in network.layers for name in (row.name, row.weight, *row.aliases))
    globs = sum(map(len, (*settings.as_layer, *settings.as_table)))
    limits.spend(2 * names * globs, "matching the globs of --as-layer and --as-table")
    for pattern in settings.as_layer:
        _check_possible(network, pattern, "--as-layer", _as_layer, "be audited as a layer")
    for pattern in settings.as_table:
        _check_possible(network, pattern, "--as-table", _as_table, "be a table")
    return replace(network, layers=tuple(_declared(row, settings, network) for row in network.layers))


def check_asked(network: Network, settings: Settings) -> None:
    """See that the network has the tensors between which it is to be bounded, before there is any work.

    Raises:
        UsageError: one of them is no end; or the network is to be run, too, which is between its own.
    """
    ends = Ends.of(settings)
    if ends and settings.empirical:
        raise UsageError("--empirical runs the whole network", hint="leave out --from and --to")
    if network.graph is not None:
        check_ends(network.graph, ends, network.path)


def plan(network: Network, settings: Settings) -> list[Task]:
    """The tasks of an audit, in the network's order.

    Raises:
        UsageError: no layer matches one of `settings.layers`, or an exact norm is asked for and no
            convolution knows its input size.
    """
    layers = chosen_layers(network, settings, sizes_for="--exact" if settings.exact else "")
    return [_task(layer, settings) for layer in layers]


def chosen_layers(network: Network, settings: Settings, *, sizes_for: str) -> list[AnyLayer]:
    """The layers that the settings choose, as they ask for them; `sizes_for` names what needs input sizes.

    Raises:
        UsageError: as `plan`; nothing needs input sizes where `sizes_for` is empty.
    """
    for pattern in settings.layers:
        _matching(network, pattern)
    chosen = [row for row in network.layers if not settings.layers or _matches(row, settings.layers)]
    layers = [_as_asked(_with_few_axes(layer), settings) for layer in chosen]
    if sizes_for and not settings.input_size and not settings.input_shapes:
        _check_sizes(network, layers, sizes_for)
    return layers


def resolve_device(name: str) -> torch.device:
    """The torch device of that name; "auto" is a GPU where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "mps":
        raise UsageError(
            "the mps device does not support float64, which certificates need", hint="use --device cpu"
        )
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("torch finds no CUDA device", hint="use --device cpu")
    return torch.device(name)


def _matches(row: AnyLayer, patterns: Iterable[str]) -> bool:
    """Whether one of the globs matches one of the names of the row."""
    names = (row.name, row.weight, *row.aliases)
    forms = [form for pattern in patterns for form in glob_forms(pattern)]
    return any(fnmatchcase(name, form) for form in forms for name in names)


def _matching(network: Network, pattern: str, option: str = "") -> list[AnyLayer]:
    """The rows that a glob matches.

    Raises:
        UsageError: there are none; it says of which option the glob is, if that is given.
    """
    rows = [row for row in network.layers if _matches(row, [pattern])]
    if rows:
        return rows
    names = [row.name for row in network.layers]
    every = [*names, *(row.weight for row in network.layers)]
    short = [name for name in every if max(len(name), len(pattern)) <= LONGEST]
    near = difflib.get_close_matches(pattern, short, n=1)
    known = ", ".join(names[:FEW]) + (", ..." if len(names) > FEW else "")
    raise UsageError(
        f"no layer matches {pattern!r}{option and f' of {option}'}",
        where=network.path,
        hint=f"did you mean {near[0]}?" if near else f"its layers are {known}",
    )


def _check_possible(
    network: Network, pattern: str, option: str, change: Callable[[AnyLayer], AnyLayer | None], what: str
) -> None:
    """See that some row which the glob of an option matches can be what the option says."""
    rows = _matching(network, pattern, option)
    if all(change(row) is None for row in rows):
        first = rows[0]
        why = first.reason if isinstance(first, UnsupportedLayer) else f"the file uses it in a {first.op}"
        raise UsageError(f"{first.name!r} cannot {what}: {why}", where=network.path)


def _declared(row: AnyLayer, settings: Settings, network: Network) -> AnyLayer:
    layer, table = _matches(row, settings.as_layer), _matches(row, settings.as_table)
    if layer and table:
        raise UsageError(f"{row.name!r} cannot be both a layer and a table", where=network.path, hint=EXPLAIN)
    said = _as_layer(row) if layer else _as_table(row) if table else None
    return row if said is None else said


def _as_layer(row: AnyLayer) -> Layer | None:
    """The row as a layer, which it may be already; None where it can be none."""
    layer = row if isinstance(row, Layer) else row.layer
    if layer is None or (isinstance(row, Layer) and not row.presumed):
        return layer
    assumed = tuple(line for line in layer.assumed if line != layer.presumed)
    return replace(layer, name=row.name, assumed=(*assumed, AS_LAYER), presumed="")


def _as_table(row: AnyLayer) -> UnsupportedLayer | None:
    """The row as a table, which it may be already; None where the file or its axes say otherwise."""
    if isinstance(row, UnsupportedLayer):
        if row.applicable and row.layer is None and CONV in row.op:
            return None
        return replace(row, applicable=False, reason=AS_TABLE if row.applicable else row.reason)
    if not row.presumed:
        return None
    return UnsupportedLayer(
        name=row.name,
        weight=row.weight,
        aliases=row.aliases,
        op="Gather",
        kernel_shape=row.kernel_shape,
        dtype=row.dtype,
        reason=AS_TABLE,
        applicable=False,
    )


def _with_few_axes(layer: AnyLayer) -> AnyLayer:
    """The layer, unless it has more axes than tensors may have."""
    axes = len(layer.kernel_shape) - 2
    if isinstance(layer, UnsupportedLayer) or axes <= MOST_AXES:
        return layer
    return UnsupportedLayer(
        name=layer.name,
        weight=layer.weight,
        aliases=layer.aliases,
        op=layer.op,
        kernel_shape=layer.kernel_shape,
        dtype=layer.dtype,
        reason=f"its kernel has {axes} spatial axes, more than {MOST_AXES}",
        applicable=True,
    )


def _as_asked(layer: AnyLayer, settings: Settings) -> AnyLayer:
    """The layer, with stride 1 where the paper's convention is asked for."""
    if isinstance(layer, UnsupportedLayer) or not settings.as_stride_1 or set(layer.geometry.stride) <= {1}:
        return layer
    strides = "x".join(map(str, layer.geometry.stride))
    geometry = replace(layer.geometry, stride=(1,) * len(layer.geometry.stride))
    return replace(
        layer, geometry=geometry, assumed=(*layer.assumed, f"stride 1 instead of {strides}, as asked")
    )


def _check_sizes(network: Network, layers: list[AnyLayer], sizes_for: str) -> None:
    sizes = [layer.input_size for layer in layers if isinstance(layer, Layer) and len(layer.kernel_shape) > 2]
    if sizes and all(size is None for size in sizes):
        raise UsageError(
            f"{sizes_for} needs the input size, which the file does not give",
            where=network.path,
            hint="add --input-size, e.g. --input-size 224",
        )


def _task(layer: AnyLayer, settings: Settings) -> Task:
    task = Task(layer=layer, settings=settings)
    if isinstance(layer, UnsupportedLayer):
        return task
    task = replace(task, calculators=tuple(c for c in CALCULATORS if _applies(c, layer, settings)))
    return replace(task, work=_work(task, layer))


def _applies(calculator: Calculator, layer: Layer, settings: Settings) -> bool:
    """Whether the calculator is asked for, and the layer has what it needs."""
    kind, geometry = calculator.method.kind, layer.geometry
    if kind not in (EXACT, PADDED):
        return True
    if not settings.exact or layer.input_size is None:
        return False
    axes = len(layer.kernel_shape) - 2
    padded = axes > 0 and len(geometry.padding) == 2 * axes and geometry.padding_mode == "zeros"
    return kind == EXACT or padded


def _work(task: Task, layer: Layer) -> int:
    """Multiplications, from the shape alone: a meta tensor has no data. 0 for an invalid kernel."""
    if 0 in layer.kernel_shape or layer.kernel_shape[0] % layer.geometry.groups:
        return 0
    kernel = reduce_kernel(torch.empty(layer.kernel_shape, device="meta"), layer.geometry)
    return sum(calculator.work(task.problem(kernel)) for calculator in task.calculators)
