"""The orchestrator: a copy of a model is brought under limits, and what was written is audited."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from convsv_cli.auditing import audit_network, loaded
from convsv_cli.auditing.plan import chosen_layers, declared
from convsv_cli.clipping.accuracy import Data, rights
from convsv_cli.clipping.batchnorm import followed_by_batchnorm, reestimated
from convsv_cli.clipping.search import kept_share
from convsv_cli.clipping.staging import Staged, outputs, staged
from convsv_cli.clipping.weights import Plan, Rows, certified, change, planned
from convsv_cli.clipping.writing import write
from convsv_cli.errors import UsageError
from convsv_cli.limits import allowing
from convsv_cli.loaders import parts_of
from convsv_cli.loaders.files import model_file
from convsv_cli.model.layer import Layer
from convsv_cli.model.network import Network
from convsv_cli.report import (
    BOUNDED,
    INTERRUPTED,
    KEPT,
    NOT_APPLICABLE,
    SCALE,
    WRITTEN,
    Accuracy,
    Audit,
    ClippedLayer,
    Clipping,
    ClipSettings,
    Settings,
)
from convsv_cli.version import __version__

REPLACED = "the output would replace an input"
REPAIRS = 4
"""Times that what was written is scaled where it exceeds a cap, as weights that share values may."""
STATISTICS = (
    "{} of its layers are followed by BatchNorm, whose statistics are as they were for other inputs:"
    " estimate these anew (--batchnorm TRAINING.npz, or a few steps of training)"
)
UNKNOWN = "if it has BatchNorm, the statistics of that are as they were for other inputs: {}"
Progress = Callable[[str, float], None]


def clip_file(
    model: Path,
    output: Path,
    asked: ClipSettings,
    settings: Settings,
    *,
    graph: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Clipping:
    """Write a model like this one that keeps its limits, as far as it can be brought to, and audit it.

    Only bytes of weights (and of statistics of BatchNorm, if asked for) are replaced in a copy of the file,
    in the type in which they are stored; nothing of it is executed but, for accuracies, the graph.

    Args:
        model: an ONNX graph, a checkpoint or a safetensors file, or a folder with one of these.
        output: where the new one is to be.
        asked: the limits.
        settings: how both are audited.
        graph: an ONNX graph for the weights of a checkpoint.
        force: whether files that exist may be replaced; the model itself never is.
        progress: called with what is being worked on and the share of all work done, 0 to 1.

    Raises:
        UsageError: no limit is asked for, or none that can be kept; the output exists, or is of another
            format; or as `audit_file` and `samples_in`.
        UnreadableModelError, UnsafeModelError: as `audit_file`.
    """
    start, model = time.perf_counter(), model_file(model)
    _check(asked)
    _check_free((output,), (model, graph), force=force)
    before = _seen(model, settings, graph)
    _check_format(before.network, model, output)
    _check_free(outputs(before.network, output), tuple(_read(model, graph, asked)), force=force)
    with staged(before.network, output) as copy:
        told = progress or (lambda _what, _share: None)
        clipping = _Task(before, copy, asked, settings=settings, graph=graph, progress=told).result()
        copy.publish()
    return replace(clipping, seconds=time.perf_counter() - start)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A model as it was read, and what was found of it."""

    network: Network
    audit: Audit

    @property
    def rows(self) -> Rows:
        """Its layers with what is proven of them, by name."""
        found = {row.name: row for row in self.audit.layers}
        layers = (layer for layer in self.network.layers if isinstance(layer, Layer))
        return {layer.name: (layer, found[layer.name]) for layer in layers if layer.name in found}

    @property
    def lipschitz(self) -> float:
        """What is proven of the network; infinite for nothing."""
        return self.audit.bound.lipschitz if self.audit.bound.status == BOUNDED else math.inf


def _seen(model: Path, settings: Settings, graph: Path | None) -> Seen:
    with allowing():
        network = declared(loaded(model, settings, graph), settings)
        audit = audit_network(network, settings)
    if audit.status == INTERRUPTED:
        raise KeyboardInterrupt
    return Seen(network=network, audit=audit)


class _Task:
    """One model on its way."""

    def __init__(
        self,
        before: Seen,
        copy: Staged,
        asked: ClipSettings,
        *,
        settings: Settings,
        graph: Path | None,
        progress: Progress,
    ) -> None:
        self._before, self._copy, self._asked, self._settings = before, copy, asked, settings
        self._graph, self._progress = graph, progress
        self._data = Data.of(asked.data, asked) if asked.data else None
        self._batches = Data.of(asked.batchnorm, asked) if asked.batchnorm else None
        wanted = chosen_layers(before.network, replace(settings, layers=asked.layers), sizes_for="")
        rows = before.rows
        self._names = [layer.name for layer in wanted if layer.name in rows]
        self._chosen = {layer.name for layer in wanted}
        norms = {name: certified(rows[name][1]) for name in self._names}
        self._norms = {name: norm.upper for name, norm in norms.items() if norm is not None}
        self._plan = Plan()
        self._after = before

    def result(self) -> Clipping:
        """What came of it, once the copy is as it will be."""
        accuracy = self._rights(Path(self._before.network.path))
        self._bring(self._caps(1.0))
        if self._asked.max_lipschitz is not None and self._after.lipschitz > self._asked.max_lipschitz:
            self._search(self._asked.max_lipschitz)
        after = None if accuracy is None else self._rights(self._copy.path)
        output = replace(self._after.audit.model, path=str(self._copy.output))
        return Clipping(
            version=__version__,
            model=self._before.audit.model,
            output=output,
            settings=self._asked,
            layers=tuple(self._layers()),
            lipschitz_before=self._bounded(self._before),
            lipschitz_after=self._bounded(self._after),
            unbounded="" if math.isfinite(self._after.lipschitz) else self._after.audit.bound.reason,
            accuracy=None
            if accuracy is None or after is None or self._data is None
            else Accuracy(samples=len(self._data.samples.y), before=accuracy, after=after),
            notes=tuple(self._notes()),
        )

    def _bounded(self, seen: Seen) -> float | None:
        return None if seen.network.graph is None else seen.lipschitz

    def _rights(self, path: Path) -> int | None:
        return None if self._data is None else rights(path, self._graph, self._data)

    def _caps(self, share: float) -> dict[str, float]:
        """What each chosen layer is brought under: its limit, and a share of what it has, of the largest."""
        most = self._asked.max_layer or math.inf
        held = {name: min(most, norm) for name, norm in self._norms.items()}
        if self._asked.method == SCALE:
            return {name: share * cap for name, cap in held.items()}
        top = share * max(held.values(), default=0.0)
        unknown = dict.fromkeys((name for name in self._names if name not in held), most)
        return {name: min(top, cap) for name, cap in held.items()} | (unknown if most < math.inf else {})

    def _search(self, limit: float) -> None:
        """Bring all chosen layers down together until the network keeps its limit, if that helps."""
        if math.isfinite(self._after.lipschitz):

            def bound(share: float) -> float:
                self._bring(self._caps(share))
                return self._after.lipschitz

            kept_share(limit, self._after.lipschitz, bound, len(self._norms))

    def _bring(self, caps: Mapping[str, float]) -> None:
        """Make the copy anew, with the layers under their caps, and look at it."""
        self._copy.renew()
        current = self._before
        self._plan = Plan()
        for attempt in range(1 + REPAIRS):
            method = self._asked.method if attempt == 0 else SCALE
            plan = self._planned(current, caps, method)
            if attempt == 0:
                self._plan = plan
            if not plan.edits and attempt:
                break
            write(self._copy.path, plan.edits)
            if attempt == 0 and self._batches is not None:
                self._progress("statistics of BatchNorm", 0.5)
                write(self._copy.path, reestimated(self._copy.path, self._graph, self._batches))
            current = _seen(self._copy.path, self._settings, self._graph)
        self._after = current

    def _planned(self, current: Seen, caps: Mapping[str, float], method: str) -> Plan:
        """What brings the layers under their caps from where they are, in the copy."""
        with allowing():
            network = loaded(self._copy.path, self._settings, self._graph)
            homes = {layer.name: layer.home for layer in network.layers if isinstance(layer, Layer)}
            names = list(caps)
            told = lambda name: self._progress(name, names.index(name) / len(names))  # noqa: E731
            return planned(current.rows, homes, caps, method=method, settings=self._settings, told=told)

    def _layers(self) -> Iterator[ClippedLayer]:
        before, after = self._before.rows, self._after.rows
        for row in self._after.audit.layers:
            if row.name not in self._chosen or row.status == NOT_APPLICABLE:
                continue
            known = row.name in before and row.name in after
            with allowing():
                moved = change(before[row.name][0], after[row.name][0], row) if known else 0.0
            yield ClippedLayer(
                row=row,
                before=certified(before[row.name][1]) if known else None,
                after=certified(row),
                limit=self._asked.max_layer,
                method=self._plan.methods.get(row.name, KEPT),
                change=moved,
                reason=self._plan.reasons.get(row.name, row.reason),
            )

    def _notes(self) -> Iterator[str]:
        network = self._after.network
        yield from network.notes
        changed = bool(self._plan.methods)
        if network.graph is None and changed:
            yield UNKNOWN.format(network.graph_missing)
        elif network.graph is not None and changed and self._batches is None:
            count = followed_by_batchnorm(network.graph)
            if count:
                yield STATISTICS.format(count)


def _check(asked: ClipSettings) -> None:
    limits = {"--max-layer": asked.max_layer, "--max-lipschitz": asked.max_lipschitz}
    if all(limit is None for limit in limits.values()):
        raise UsageError("no limit", hint=f"give {' or '.join(limits)}")
    for option, limit in limits.items():
        if limit is not None and not 0 < limit < math.inf:
            raise UsageError(f"{option} must be a positive number, not {limit:g}")


def _check_format(network: Network, model: Path, output: Path) -> None:
    if network.format not in WRITTEN:
        what = "convsv clip writes ONNX graphs, checkpoints and safetensors files, and none of the format {}"
        hint = "export the model to ONNX, or save its state dict"
        raise UsageError(what.format(network.format), where=str(model), hint=hint)
    own, other = Path(network.path).suffix.lower(), output.suffix.lower()
    if own != other and other in SUFFIXES and own in SUFFIXES and SUFFIXES[own] != SUFFIXES[other]:
        raise UsageError(
            f"the model is written as what it is, {own}, and not as {other}",
            where=str(output),
            hint=f"end its name in {own}",
        )


SUFFIXES = {".onnx": "onnx", ".safetensors": "safetensors"} | dict.fromkeys(
    (".pt", ".pth", ".th", ".ckpt", ".bin", ".jit"), "checkpoint"
)
"""The formats that names of files tell."""


def _read(model: Path, graph: Path | None, asked: ClipSettings) -> Iterator[Path]:
    """All files that are read."""
    for network in filter(None, (model, graph)):
        yield network
        yield from (network.parent / part for part in parts_of(network))
    yield from (Path(data) for data in (asked.data, asked.batchnorm) if data)


def _check_free(files: tuple[Path, ...], inputs: tuple[Path | None, ...], *, force: bool) -> None:
    for file in files:
        for known in filter(None, inputs):
            if file.exists() and known.exists() and file.samefile(known):
                raise UsageError(REPLACED, where=str(file), hint="choose another file")
        if file.exists() and not force:
            raise UsageError("already exists", where=str(file), hint="--force replaces it")
