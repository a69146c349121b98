"""Audits of models, in files and in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from convsv_cli import arguments
from convsv_cli.arguments import Size
from convsv_cli.auditing import audit_file, audit_network, loaded
from convsv_cli.deadline import running
from convsv_cli.errors import UsageError
from convsv_cli.limits import granting
from convsv_cli.model.network import InputSize, Network
from convsv_cli.report import NORMAL, TOLERANCE, WORK_LIMIT, Audit, NetworkBound, Settings

if TYPE_CHECKING:
    from convsv_cli.loaders.live import Example


def audit(
    model: str | Path | nn.Module,
    *,
    example_input: Example | None = None,
    exact: bool = False,
    spread: bool = False,
    attention: str = "",
    input_size: Size | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    layers: Sequence[str] = (),
    as_stride_1: bool = False,
    device: str = "auto",
    tolerance: float = TOLERANCE,
    work_limit: float = WORK_LIMIT,
    input_range: tuple[float, float] | None = None,
    empirical: str | Path | None = None,
    spectra: Sequence[str] = (),
    as_layer: Sequence[str] = (),
    as_table: Sequence[str] = (),
    network_effort: str = NORMAL,
    sources: Sequence[str] = (),
    targets: Sequence[str] = (),
    graph: str | Path | None = None,
    base: str | Path | None = None,
    stacked: Sequence[str | Path] = (),
    memory_limit: float | None = None,
    step_limit: float | None = None,
    time_limit: float | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Audit:
    """Audit every layer with weights of a model, and bound the whole network where there is a graph.

    Args:
        model: an ONNX graph, a PyTorch checkpoint, module, TorchScript archive or torch.export program, a
            safetensors file, the index of a model in several files, an adapter, or a folder with one of
            them; or a module in memory, which is looked at as in evaluation and left as it is.
        example_input: what to call a module in memory with, so that its graph is known: its only argument, a
            tuple of all, or a mapping of all by name. torch.export runs the module on it, and the network is
            bounded for inputs of these shapes. None for files, and for the layers alone.
        exact: also compute the exact norm at each layer's input size (circular padding).
        spread: also say how the singular values of each layer spread: |W|_F, stable rank, the smallest one.
        attention: also the products of matrices by attention head: "H" heads, "H:K" with K of keys and
            values, or "auto" for what a config.json beside the model says; empty for none.
        input_size: spatial size of the network's input, for every axis or one entry per axis.
        input_shapes: full shapes of named ONNX inputs; they win over `input_size`.
        layers, spectra: globs: only these layers are audited; of these, all singular values are counted.
        as_stride_1: treat strides as 1, as the paper's tables do.
        device: "auto", "cpu" or "cuda".
        tolerance: relative width of an enclosure that is good enough; positive.
        work_limit: multiplications after which the search for a norm stops with what is proven; 0 or more.
        input_range: contains all entries of the inputs; with it, products of activations are bounded.
        empirical: "random", or an .npz file of inputs: also run the model in onnxruntime, and report the
            largest |f(x) - f(y)| / |x - y|: an estimate from below.
        as_layer, as_table: globs of weights that are layers, or look-up tables, where the file does not say.
        network_effort: how long is searched for a small bound of the network: "quick" for not at all,
            "normal" for as long as the rest takes, "thorough" for minutes; the same bound wherever it runs.
        sources, targets: tensors of the graph from which, and to which, the network is bounded, inputs and
            outputs or others; what else the targets depend on is held fixed. None for all real ones.
        graph: an ONNX graph for the weights of a checkpoint.
        base: the model that an adapter was trained on: then its updates are held against its weights.
        stacked: further adapters that are active at the same time: what they add is added up.
        memory_limit: bytes for one step; None for 512 MiB and 64 times the files, 4 GiB at most.
        step_limit: elements that may be touched; None for 2e9, and 64 per byte of the files.
        time_limit: seconds after which searches end with what is proven by then; None for no limit.
        progress: called with the layer being worked on and the share of work done, 0 to 1.

    A KeyboardInterrupt gives the audit as far as it got; its `status` says so.

    Raises:
        UnreadableModelError: the file is missing, damaged or no model.
        UnsafeModelError: reading it would be unsafe; nothing of it was executed.
        UsageError: the request does not fit the model, or a number is out of its range; torch.export does
            not follow the module.
    """
    settings = Settings(
        exact=exact,
        spread=spread,
        attention=attention,
        input_size=None if input_size is None else arguments.sizes(input_size),
        input_shapes=arguments.shapes(input_shapes),
        layers=tuple(layers),
        as_stride_1=as_stride_1,
        device=device,
        tolerance=tolerance,
        work_limit=work_limit,
        input_range=input_range,
        empirical=str(empirical or ""),
        spectra=tuple(spectra),
        as_layer=tuple(as_layer),
        as_table=tuple(as_table),
        network_effort=network_effort,
        sources=tuple(sources),
        targets=tuple(targets),
    )
    with granting(memory_limit, step_limit), running(time_limit):
        if isinstance(model, nn.Module):
            return _audit_in_memory(model, example_input, settings, (graph, base, *stacked), progress)
        if isinstance(model, Mapping):
            raise UsageError("a dict is no model", hint="pass the module, or the file that torch.save writes")
        if example_input is not None:
            raise UsageError("a file needs no example_input", where=str(model), hint="leave it out")
        return audit_file(model, settings, graph=graph, base=base, stacked=stacked, progress=progress)


def _audit_in_memory(
    module: nn.Module,
    example: Example | None,
    settings: Settings,
    files: Sequence[str | Path | None],
    progress: Callable[[str, float], None] | None,
) -> Audit:
    from convsv_cli.loaders.live import network_in_memory

    arguments.check(settings)
    if any(file is not None for file in files):
        what = "a module in memory takes no graph from a file, and is no adapter"
        raise UsageError(what, hint="pass example_input alone")
    size = InputSize(size=settings.input_size, shapes=settings.input_shapes)
    with network_in_memory(module, example, size) as network:
        return audit_network(network, settings, progress)


def network_bound(
    model: str | Path | nn.Module,
    example_input: Example | None = None,
    *,
    input_size: Size | None = None,
    input_range: tuple[float, float] | None = None,
    effort: str = NORMAL,
    sources: Sequence[str] = (),
    targets: Sequence[str] = (),
    time_limit: float | None = None,
) -> NetworkBound:
    """A certified Lipschitz bound of a whole network, in the Euclidean norm.

    Args:
        model, example_input, input_size, input_range, sources, targets, time_limit: as in `audit`.
        effort: its `network_effort`.

    The bound's `status` says whether there is one, and its `reason` or `obstacles` why there is none.

    Raises:
        UnreadableModelError, UnsafeModelError, UsageError: as `audit`.
    """
    return audit(
        model,
        example_input=example_input,
        input_size=input_size,
        input_range=input_range,
        network_effort=effort,
        sources=sources,
        targets=targets,
        time_limit=time_limit,
    ).bound


def load(
    model: str | Path,
    *,
    input_size: Size | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    memory_limit: float | None = None,
    step_limit: float | None = None,
) -> Network:
    """The layers of a model file with their geometry; weights are read on demand.

    Args:
        model, input_size, input_shapes, memory_limit, step_limit: as in `audit`, which raises the same.
    """
    size = None if input_size is None else arguments.sizes(input_size)
    settings = Settings(input_size=size, input_shapes=arguments.shapes(input_shapes))
    with granting(memory_limit, step_limit):
        return loaded(model, settings)
