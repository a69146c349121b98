"""Certificates at samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from convsv_cli import arguments
from convsv_cli.deadline import running
from convsv_cli.limits import allowing, granting
from convsv_cli.loaders import load, load_with_graph
from convsv_cli.model.network import InputSize
from convsv_cli.report import EUCLIDEAN, NORMAL, TOLERANCE, Certification, CertifySettings


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
        network = load(model, size) if graph is None else load_with_graph(model, graph, size)
        return certify_network(network, samples, settings, progress, so_far)
