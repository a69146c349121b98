"""The public functions; `convsv_cli` re-exports them.

What only some of them need is imported by these: an audit waits for no certification, and for no budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from convsv_cli import arguments
from convsv_cli.arguments import Size
from convsv_cli.auditing import audit_file, audit_network, loaded
from convsv_cli.deadline import running
from convsv_cli.errors import UsageError
from convsv_cli.limits import allowing, granting
from convsv_cli.loaders import load as load_network
from convsv_cli.loaders import load_with_graph
from convsv_cli.loaders.convolution import torch_geometry
from convsv_cli.model.kernel import Kernel, reduce_kernel
from convsv_cli.model.layer import Geometry
from convsv_cli.model.network import InputSize, Network
from convsv_cli.report import (
    EUCLIDEAN,
    NORMAL,
    TOLERANCE,
    WORK_LIMIT,
    Audit,
    Certification,
    CertifySettings,
    Interval,
    NetworkBound,
    Settings,
)
from convsv_cli.spectral.cores import one_thread_each
from convsv_cli.spectral.norms import norms_of
from convsv_cli.spectral.zero_padding import zero_padded_norm

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
        exact, spread: also compute exact norms at each layer's input size; how its singular values spread.
        attention: also the products of "auto", "H" or "H:K" attention heads.
        input_size: spatial size of the network's input, for every axis or one entry per axis.
        input_shapes: full shapes of named ONNX inputs; they win over `input_size`.
        layers, spectra: globs: only these layers are audited; of these, all singular values are counted.
        as_stride_1: treat strides as 1, as the paper's tables do.
        device, tolerance: "auto", "cpu" or "cuda"; relative width of an enclosure that is good enough.
        work_limit: multiplications after which a search stops; 0 or more.
        input_range: contains all entries of the inputs; with it, products of activations are bounded.
        empirical: "random" or an .npz file of inputs: look for large |f(x) - f(y)| / |x - y|.
        as_layer, as_table: globs of weights that are layers, or look-up tables, where the file does not say.
        network_effort: how long to search for a small bound: "quick", "normal" or "thorough", for minutes.
        sources, targets: tensors between which the network is bounded, all else held fixed; None for all.
        graph: an ONNX graph for the weights of a checkpoint.
        base: the model that an adapter was trained on: then its updates are held against that's weights.
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


def certify(
    model: str | Path,
    data: str | Path,
    *,
    eps: float | str | Sequence[float | str] | None = None,
    radii: bool | None = None,
    input_mean: Sequence[float] = (),
    input_std: Sequence[float] = (),
    normalized: bool = False,
    limit: int | None = None,
    attack: bool = False,
    input_range: tuple[float, float] | None = None,
    device: str = "auto",
    tolerance: float = TOLERANCE,
    pixel_range: tuple[float, float] | None = None,
    arithmetic: str | None = None,
    effort: str = NORMAL,
    norm: str = EUCLIDEAN,
    source: str = "",
    target: str = "",
    network_effort: str = NORMAL,
    graph: str | Path | None = None,
    memory_limit: float | None = None,
    step_limit: float | None = None,
    time_limit: float | None = None,
    progress: Callable[[str, float], None] | None = None,
    so_far: Callable[[Certification], None] | None = None,
) -> Certification:
    """Certify a classifier at samples: how far each may move and keep its class.

    Radii come from the Lipschitz bound of the network and the margins of its logits (Tsuzuku et al., NeurIPS
    2018); for a chain of layers with one smooth activation, from its curvature (Singla & Feizi, arXiv
    2006.00731); and from local bounds that run backwards through the network at each sample, with a box and
    a ball at each activation. The largest counts.

    Args:
        model: an ONNX graph from samples to logits; onnxruntime runs it in a child process.
        data: an .npz file of samples ("x") and true classes ("y").
        eps: radii, 0.5 or "36/255", in units of the data before any normalization; None for 0.5.
        radii: whether the radius of each sample is looked for by bisection; else it is only decided whether
            samples are certified at `eps`, which takes a tenth of the time. None for yes, unless `eps` is
            given.
        input_mean, input_std: of the normalization before the network, one entry or one per channel.
        normalized: the data have been normalized already.
        limit: only this many samples, the first ones.
        attack: also look for adversarial inputs at each radius.
        input_range: what all inputs of the network are known to be in; radii hold for inputs that stay there.
        pixel_range: what all samples are known to be in before any normalization; radii hold for those.
        arithmetic: in which the network is run, "float32", "float16", "bfloat16" or "real": radii hold
            however a runtime of that format rounds. None for the type that the network computes in.
        effort: how long is searched for local bounds: "none", "quick", "normal" or "thorough"; more proves no
            less.
        norm: of distances: "2", the Euclidean one, or "inf": by how much each entry may change. Local bounds
            are those of alpha-CROWN (Xu et al., ICLR 2021) then, and other radii those of cubes in balls.
        source, target: of a model with several inputs the one that takes the samples, while the others are 0,
            and of one with several outputs that of the logits; empty for the only one that can.
        device, tolerance, network_effort, memory_limit, step_limit, time_limit, progress: as in `audit`.
        graph: an ONNX graph for the weights of a checkpoint.
        so_far: called with what is proven by then, every ten seconds. A KeyboardInterrupt while radii are
            looked for ends the work, and what is proven by then is the result; its `interrupted` says so.

    Raises:
        UnreadableModelError: a file is missing, damaged, no model or no samples.
        UnsafeModelError: reading the model would be unsafe; nothing of it was executed.
        UsageError: the model is no classifier, the data do not fit it, or a number is out of its range.
    """
    from convsv_cli.certification.certify import certify_network
    from convsv_cli.certification.samples import samples_in

    mean, std = arguments.normalization(input_mean, input_std)
    values, given = arguments.radii(0.5 if eps is None else eps)
    settings = CertifySettings(
        data=str(data),
        eps=values,
        eps_given=given,
        radii=eps is None if radii is None else radii,
        input_mean=mean,
        input_std=std,
        normalized=normalized,
        limit=arguments.limit(limit),
        attack=attack,
        input_range=arguments.input_range(input_range),
        tolerance=arguments.tolerance(tolerance),
        device=device,
        graph=str(graph or ""),
        network_effort=arguments.network_effort(network_effort),
        pixel_range=arguments.input_range(pixel_range),
        arithmetic=arguments.arithmetic(arithmetic),
        effort=arguments.local_effort(effort),
        norm=arguments.norm(norm),
        source=source,
        target=target,
    )
    with granting(memory_limit, step_limit), running(time_limit), allowing():
        samples = samples_in(Path(data), limit, settings)
        size = InputSize(sample=samples.x.shape[1:])
        network = load_network(model, size) if graph is None else load_with_graph(model, graph, size)
        return certify_network(network, samples, settings, progress, so_far)


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


def spectral_norm(
    kernel: torch.Tensor | nn.Module,
    *,
    input_size: Size | None = None,
    padding: Size | None = None,
    stride: Size = 1,
    dilation: Size = 1,
    groups: int = 1,
    transposed: bool = False,
    output_padding: Size = 0,
    tolerance: float = TOLERANCE,
    work_limit: float = math.inf,
) -> Interval:
    """The spectral norm of a convolution, enclosed from both sides by proofs that count all rounding.

    * Without `input_size`: the supremum over all input sizes, circular or zero-padded, to `tolerance`.
    * With it: at that size, to about 1e-10 with circular padding (the norm of Sedghi et al., ICLR 2019, found
      without the other singular values), or, with `padding`, with that many zeros.

    Args:
        kernel: real [c_out, c_in / groups, *k], or [c_in, c_out / groups, *k] where transposed; computed
            in float64 on the kernel's device. A matrix [c_out, c_in] has no spatial axes. Or a convolution or
            linear layer of torch.nn, with the weight that it has by now, which says itself how it is applied:
            with an `input_size`, the norm is that with its own padding.
        input_size: spatial size of the input, which each stride must divide where the padding is circular.
        padding: zeros on both sides of each axis, or before each axis and then after each.
        stride, dilation, groups, transposed, output_padding: as in torch.nn.
        tolerance: relative width of a supremum that is good enough; positive.
        work_limit: multiplications after which a search stops with the wider enclosure that it has by then.

    Raises:
        UsageError: the sizes, the channels or the values make no convolution; the layer is none, or pads
            otherwise than with zeros or around.
    """
    if isinstance(kernel, nn.Module):
        if (padding, stride, dilation, groups, transposed, output_padding) != (None, 1, 1, 1, False, 0):
            raise UsageError("a layer says itself how it is applied", hint="leave its geometry out")
        kernel, geometry = _as_applied(kernel)
    else:
        axes = kernel.ndim - 2
        geometry = Geometry(
            stride=arguments.per_axis(stride, axes),
            dilation=arguments.per_axis(dilation, axes),
            groups=groups,
            transposed=transposed,
            padding=() if padding is None else arguments.pads(padding, axes),
            output_padding=arguments.output_padding(output_padding, axes, transposed=transposed),
        )
    if not kernel.numel() or not kernel.isfinite().all():
        raise UsageError("the kernel is empty, or holds NaN or infinity")
    try:
        reduced = reduce_kernel(kernel.detach(), geometry)
    except ValueError as error:
        raise UsageError(str(error)) from error
    with one_thread_each():
        return _norm(reduced, input_size, arguments.tolerance(tolerance), arguments.work_limit(work_limit))


def _as_applied(layer: nn.Module) -> tuple[torch.Tensor, Geometry]:
    """Its weight, and how it is applied: with its own padding, where that is of zeros."""
    from convsv_cli.torch_modules.modules import check_padding, geometry_of, weight_of

    weight, geometry = weight_of(layer), geometry_of(layer)
    check_padding(layer, geometry)
    if not geometry.stride or layer.padding_mode == "circular":
        return weight, geometry
    return weight, torch_geometry(vars(layer), tuple(weight.shape)) or geometry


def _norm(kernel: Kernel, input_size: Size | None, tolerance: float, limit: float) -> Interval:
    if input_size is None:
        return norms_of(kernel).supremum(tolerance=tolerance, limit=limit)
    size = arguments.per_axis(input_size, len(kernel.spatial))
    if kernel.geometry.padding:
        return zero_padded_norm(kernel, size, tolerance=tolerance, limit=limit)
    if size != kernel.circular_size(size):
        raise UsageError(f"stride {kernel.geometry.stride} does not divide the circular input size {size}")
    return norms_of(kernel).on_grid(kernel.grid(size), limit=limit)
