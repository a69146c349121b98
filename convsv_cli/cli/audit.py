"""`convsv audit`: the per-layer table of models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convsv_cli.cli import options
from convsv_cli.cli.caching import caching
from convsv_cli.cli.helping import FIGURES, OUTPUT, Command, option
from convsv_cli.cli.output import prepare, write_report
from convsv_cli.cli.running import Progress, audited, ended, importing, progress_bar, report_of
from convsv_cli.cli.stdin import check_once, with_file
from convsv_cli.loaders import warm_up
from convsv_cli.renderers import RENDERERS
from convsv_cli.report import Audit, Report, exit_code

if TYPE_CHECKING:
    from convsv_cli.cache import Store


@click.command(
    cls=Command,
    short_help="Audit every layer with weights, and bound the network.",
    see_also=["check", "spectrum", "help formats", "help columns", "help exit-codes"],
)
@options.MODELS
@options.EXACT
@options.SPREAD
@options.ATTENTION
@options.INPUT_SIZE
@options.INPUT_SHAPE
@options.LAYERS
@options.AS_LAYER
@options.AS_TABLE
@options.AS_STRIDE_1
@options.DEVICE
@options.TOLERANCE_
@options.WORK_LIMIT_
@options.TIME_LIMIT
@options.NETWORK_EFFORT
@options.INPUT_RANGE
@options.FROM
@options.TO
@options.EXPLAIN
@option(
    "--empirical",
    section=FIGURES,
    metavar="random|DATA.npz",
    help="Also search for large ratios |f(x)-f(y)|/|x-y| with onnxruntime: an estimate from below.",
)
@options.globs(
    "--spectra", "Also compute all singular values of matching layers, for HTML and JSON.", FIGURES
)
@options.GRAPH
@options.BASE
@options.WITH
@options.FORMAT
@options.OUTPUT_
@options.QUIET
@options.NO_COLOR
@option("--exit-zero", section=OUTPUT, is_flag=True, help="Exit with 0 even if layers could not be audited.")
@caching
@options.limited
def audit(
    *,
    models: tuple[Path, ...],
    explain: bool,
    graph: Path | None,
    base: Path | None,
    stacked: tuple[Path, ...],
    format_name: str | None,
    outputs: tuple[Path, ...],
    quiet: bool,
    exit_zero: bool,
    cache: Store | None,
    **asked: Any,  # noqa: ANN401  (options that are called like the fields of `Settings`)
) -> int:
    """Audit every layer with weights of each MODEL: ONNX, PyTorch, torch.export, safetensors, GGUF.

    A MODEL may also be a folder with one of these, or an adapter (LoRA, DoRA, LoHa, LoKr), and - is read
    from stdin; one at s3://, gs://, az://, hf:// or https:// is read where it is, in part. If there is a
    graph, the Lipschitz constant of the whole network is bounded as well. convsv never executes code from the
    file; only --empirical runs the model, in onnxruntime. Exits with 3 if a layer could not be audited.
    Ctrl-C ends with a report of what is proven by then; a second one ends without.

    \b
    Examples:
      convsv audit sample_models/resnet20.onnx --exact
      convsv audit resnet18.onnx --exact --input-size 224
      convsv audit speech.onnx --exact --input-shape audio:1x16000
      convsv audit efficientnet.onnx --input-range 0,1 --explain
      convsv audit bert.onnx --from embeddings --to logits
      convsv audit resnet50.onnx --input-size 224 --network-effort quick
      convsv audit checkpoint.pth --layers 'layer4.*' --format csv
      convsv audit model.safetensors -o audit.json -o audit.html
      convsv audit epoch1.pt epoch2.pt --format csv
      convsv audit adapter/ --base model.safetensors
      cat model.onnx | convsv audit -
    """  # noqa: D301  (click takes \b for "keep these lines")
    check_once([*models, graph, base, *stacked])
    targets = prepare(RENDERERS, outputs, format_name, [*models, *filter(None, (graph, base, *stacked))])
    warm_up(graph or models[0])
    with importing():
        from convsv_cli.auditing import audit_file

    settings = options.settings(asked)

    def run(model: Path, progress: Progress) -> Audit:
        return with_file(
            model,
            lambda file: audit_file(
                file, settings, graph=graph, base=base, stacked=stacked, progress=progress, cache=cache
            ),
        )

    with progress_bar(hidden=quiet) as progress:
        if len(models) == 1:  # whose error is that of the command
            report = Report(command="audit", audits=(audited(run, models[0], progress),))
        else:
            report = report_of("audit", models, run, progress)
    write_report(report, targets, explain=explain)
    return ended(exit_code(report, exit_zero=exit_zero))
