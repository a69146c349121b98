"""Results as programs and notebooks show them: values, data frames, a page's part, a line, a chart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from convsv_cli.errors import UsageError
from convsv_cli.names import inert, printable
from convsv_cli.renderers import RENDERERS, certification, csv
from convsv_cli.renderers.audit_text import bound_figure, covered, network_lines
from convsv_cli.renderers.certification.curve import points
from convsv_cli.renderers.certification.text import HEADER, POINTS, title
from convsv_cli.renderers.columns import TEXTS, columns
from convsv_cli.renderers.numbers import counted
from convsv_cli.renderers.renderer import Renderer, Terminal, by_suffix
from convsv_cli.report import BOUNDED, Audit, Certification, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

T = TypeVar("T")
MOST = 200
"""Layers that a notebook shows."""
TICKS = 40
"""Layers up to which each has its name in a chart."""
MISSING = "{} is not installed"
INSTALL = "pip install 'convsv[notebook]'"


@dataclass(frozen=True, kw_only=True)
class _Kind(Generic[T]):
    """How results of a class are shown.

    Attributes:
        given: what its renderers take.
        renderers: its formats.
        rows: of its data frame.
        line, page, plot: see the functions of these names.
    """

    given: Callable[[T], Any]
    renderers: Sequence[Renderer[Any]]
    rows: Callable[[T], list[dict[str, Any]]]
    line: Callable[[T], str]
    page: Callable[[T], str]
    plot: Callable[[T, Any], None]


def rendered(result: Any, name: str) -> str:  # noqa: ANN401
    """The document of the format of that name."""
    kind = _kind(result)
    (renderer,) = (each for each in kind.renderers if each.name == name)
    return renderer.render(kind.given(result), Terminal())


def document(result: Any) -> dict[str, Any]:  # noqa: ANN401
    """The JSON document as values."""
    found: dict[str, Any] = json.loads(rendered(result, "json"))
    return found


def save(result: Any, path: Path) -> None:  # noqa: ANN401
    """Write the document of the format that the suffix chooses.

    Raises:
        UsageError: no format has it, or the file cannot be written.
    """
    from convsv_cli.replacing import replacement

    kind = _kind(result)
    renderer = by_suffix(kind.renderers, path.name)
    if renderer is None:
        known = " ".join(suffix for each in kind.renderers for suffix in each.suffixes)
        raise UsageError("the suffix implies no format", where=str(path), hint=f"use one of {known}")
    text = renderer.render(kind.given(result), Terminal())
    with replacement(path) as file:
        file.write(text.encode("utf-8"))


def frame(result: Any) -> DataFrame:  # noqa: ANN401
    """A row per layer or sample.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise UsageError(MISSING.format("pandas"), hint=INSTALL) from error
    found = pd.DataFrame(_kind(result).rows(result))
    found.attrs["model"] = result.model.path
    return found


def plot(result: Any, ax: Axes | None) -> Axes:  # noqa: ANN401
    """A chart on the axes, or on new ones.

    Raises:
        UsageError: matplotlib is not installed.
    """
    if ax is None:
        try:
            from matplotlib import pyplot as plt
        except ImportError as error:
            raise UsageError(MISSING.format("matplotlib"), hint=INSTALL) from error
        ax = plt.figure(layout="constrained").subplots()
    _kind(result).plot(result, ax)
    return ax


def line(result: Any) -> str:  # noqa: ANN401
    """What it is, in a line."""
    return _kind(result).line(inert(result))


def page(result: Any) -> str:  # noqa: ANN401
    """Part of an HTML page, in which texts of files are no markup."""
    return _kind(result).page(inert(result))


def _audit_line(audit: Audit) -> str:
    bound = audit.bound
    known = (
        f"Lipschitz constant ≤ {bound_figure(bound)}"
        if bound.status == BOUNDED
        else "no bound of the network"
    )
    return f"Audit of {audit.model.path}: {covered(audit)}; {known}"


def _audit_page(audit: Audit) -> str:
    cells = columns(audit)
    head = "".join(f"<th>{escape(name)}</th>" for name in cells)
    left = [name in TEXTS for name in cells]
    body = "".join(
        "<tr>" + "".join(map(_cell, row, left)) + "</tr>"
        for row in list(zip(*cells.values(), strict=True))[:MOST]
    )
    hidden = len(audit.layers) - MOST
    more = f"<p>and {counted(hidden, 'more layer')}: to_dataframe() has all</p>" if hidden > 0 else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    lines = escape("\n".join([*network_lines(audit), *_acted_on(audit)]))
    return f"<p>{escape(_audit_line(audit))}</p>{table}{more}<pre>{lines}</pre>"


def _acted_on(audit: Audit) -> list[str]:
    return [f"{finding.severity}: {finding.message}" for finding in audit.findings]


def _cell(text: str, is_left: bool) -> str:  # noqa: FBT001
    return f'<td style="text-align: {"left" if is_left else "right"}">{escape(text)}</td>'


def _audit_plot(audit: Audit, ax: Any) -> None:  # noqa: ANN401
    """Norms on a logarithmic axis; a layer without one has none."""
    for name in dict.fromkeys(name for row in audit.layers for name, _ in row.measurements):
        found = [row.measurement(name) for row in audit.layers]
        values = [float("nan") if each is None else each.value for each in found]
        ax.plot(range(len(values)), values, marker="o", markersize=3, linewidth=1, label=name)
    ax.set_yscale("log")
    ax.set_ylabel("norm of the layer")
    ax.set_title(printable(audit.model.path))
    names = [printable(row.name) for row in audit.layers]
    if len(names) <= TICKS:
        ax.set_xticks(range(len(names)), names, rotation=90)
    else:
        ax.set_xlabel("layer, in the order of the model")
    ax.legend()


def _certification_line(found: Certification) -> str:
    levels = ", ".join(f"{level.certified} certified at {level.spelled}" for level in found.levels)
    return f"Certification of {title(found)}: {found.correct} correct, {levels}"


def _certification_page(found: Certification) -> str:
    return f"<pre>{escape(certification.RENDERERS[0].render(found, Terminal()))}</pre>"


def _samples(found: Certification) -> list[dict[str, Any]]:
    rows = (
        (index, each.label, each.predicted, each.correct, each.radius, each.route, each.broken, each.ended)
        for index, each in enumerate(found.samples)
    )
    return [dict(zip(HEADER, row, strict=True)) for row in rows]


def _certification_plot(found: Certification, ax: Any) -> None:  # noqa: ANN401
    """The share of samples that are certified, by radius."""
    curve = points(found, POINTS)
    ax.step([each.radius for each in curve], [each.share for each in curve], where="pre", label="certified")
    ax.set_xlabel("radius")
    ax.set_ylabel("share of the samples")
    ax.set_ylim(0, 1)
    ax.set_title(printable(found.model.path))
    ax.legend()


KINDS: dict[type[Any], _Kind[Any]] = {
    Audit: _Kind[Audit](
        given=lambda audit: Report(command="audit", audits=(audit,)),
        renderers=RENDERERS,
        rows=csv.layer_rows,
        line=_audit_line,
        page=_audit_page,
        plot=_audit_plot,
    ),
    Certification: _Kind[Certification](
        given=lambda found: found,
        renderers=certification.RENDERERS,
        rows=_samples,
        line=_certification_line,
        page=_certification_page,
        plot=_certification_plot,
    ),
}


def _kind(result: Any) -> _Kind[Any]:  # noqa: ANN401
    return KINDS[type(result)]
