"""Copies of models that keep limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from convsv_cli import arguments
from convsv_cli.arguments import Size
from convsv_cli.deadline import running
from convsv_cli.limits import granting
from convsv_cli.report import CLIP, NORMAL, TOLERANCE, WORK_LIMIT, Clipping, ClipSettings, Settings


def clip(
    model: str | Path,
    output: str | Path,
    *,
    max_layer: float | None = None,
    max_lipschitz: float | None = None,
    method: str = CLIP,
    layers: Sequence[str] = (),
    data: str | Path | None = None,
    batchnorm: str | Path | None = None,
    limit: int | None = None,
    input_mean: Sequence[float] = (),
    input_std: Sequence[float] = (),
    normalized: bool = False,
    input_size: Size | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    as_layer: Sequence[str] = (),
    as_table: Sequence[str] = (),
    device: str = "auto",
    tolerance: float = TOLERANCE,
    work_limit: float = WORK_LIMIT,
    network_effort: str = NORMAL,
    input_range: tuple[float, float] | None = None,
    graph: str | Path | None = None,
    force: bool = False,
    memory_limit: float | None = None,
    step_limit: float | None = None,
    time_limit: float | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Clipping:
    """Write a copy of a model whose layers, or whose network, keep a limit, and prove it of what was written.

    Its `kept` says whether all limits are proven to be kept. Only the bytes of weights are replaced, in the
    type in which they are stored; nothing of the file is executed but, for accuracies, the graph.

    Args:
        model: an ONNX graph, a checkpoint or a safetensors file.
        output: where the new one is to be, in the same format.
        max_layer: what the certified norm of each layer must not exceed; None for no limit.
        max_lipschitz: what the certified bound of the network must not exceed: all layers are brought down
            together until it does not; None for no limit.
        method: "clip" lowers the singular values above the limit, and hardly any other (Sedghi et al., ICLR
            2019); "scale" multiplies the weight.
        layers: globs: only these layers are changed; all if there are none.
        data: an .npz file of samples ("x") and true classes ("y"), by which accuracies are measured.
        batchnorm: such a file of training data: the statistics of BatchNorm are estimated anew from it.
        limit: only this many samples of each, the first ones.
        input_mean, input_std, normalized: as in `certify`.
        input_size, input_shapes, as_layer, as_table, device, tolerance, work_limit, network_effort: as in
            `audit`.
        input_range, graph, memory_limit, step_limit, time_limit, progress: likewise.
        force: whether a file that exists may be replaced; the model itself never is.

    Raises:
        UnreadableModelError: a file is missing, damaged, no model or no samples.
        UnsafeModelError: reading the model would be unsafe; nothing of it was executed.
        UsageError: no limit is given, the output exists or has another format, the data do not fit the model,
            or a number is out of its range.
    """
    from convsv_cli.clipping import clip_file

    mean, std = arguments.normalization(input_mean, input_std)
    asked = ClipSettings(
        max_layer=max_layer,
        max_lipschitz=max_lipschitz,
        method=arguments.clip_method(method),
        layers=tuple(layers),
        data=str(data or ""),
        batchnorm=str(batchnorm or ""),
        limit=arguments.limit(limit),
        input_mean=mean,
        input_std=std,
        normalized=normalized,
    )
    settings = Settings(
        input_size=None if input_size is None else arguments.sizes(input_size),
        input_shapes=arguments.shapes(input_shapes),
        as_layer=tuple(as_layer),
        as_table=tuple(as_table),
        device=device,
        tolerance=tolerance,
        work_limit=work_limit,
        network_effort=network_effort,
        input_range=input_range,
    )
    arguments.check(settings)
    with granting(memory_limit, step_limit), running(time_limit):
        given = None if graph is None else Path(graph)
        return clip_file(
            Path(model), Path(output), asked, settings, graph=given, force=force, progress=progress
        )
