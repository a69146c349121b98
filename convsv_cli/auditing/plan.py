"""What is to be done: which layers, by which calculators, how much work that is, and how far it has come."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch

from convsv_cli.calculators import CALCULATORS
from convsv_cli.calculators.calculator import Calculator, Problem
from convsv_cli.errors import UsageError
from convsv_cli.model.kernel import Kernel, reduce_kernel
from convsv_cli.model.layer import Layer, UnsupportedLayer
from convsv_cli.model.network import Network
from convsv_cli.report import EXACT, PADDED, Settings

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


class Meter:
    """Adds up the work done and tells a listener."""

    def __init__(self, listener: Callable[[str, float], None] | None, total: int) -> None:
        self._listener = listener
        self._total = max(total, 1)
        self._done = 0
        self._layer = ""

    def start(self, layer: str) -> None:
        """Work on this layer begins."""
        self._layer = layer
        self.advance(0)

    def advance(self, work: int) -> None:
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
        """What the calculators are given."""
        return Problem(
            kernel=kernel,
            input_size=self.layer.input_size or () if isinstance(self.layer, Layer) else (),
            tolerance=self.settings.tolerance,
            work_limit=self.settings.work_limit,
        )


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
    layers = [_as_asked(layer, settings) for layer in _chosen(network, settings.layers)]
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


def _chosen(network: Network, patterns: tuple[str, ...]) -> Iterator[AnyLayer]:
    """The layers of which some name matches some glob; all layers without globs."""
    for pattern in patterns:
        if not any(matches(layer, pattern) for layer in network.layers):
            raise nothing_matches(network, pattern)
    for layer in network.layers:
        if not patterns or any(matches(layer, pattern) for pattern in patterns):
            yield layer


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
    """Multiplications, from the shape alone: a meta tensor has no data. None for a kernel that is none."""
    if 0 in layer.kernel_shape or layer.kernel_shape[0] % layer.geometry.groups:
        return 0
    kernel = reduce_kernel(torch.empty(layer.kernel_shape, device="meta"), layer.geometry)
    return sum(calculator.work(task.problem(kernel)) for calculator in task.calculators)
