"""Pages: templates filled with results, one style sheet and one script that the page itself vouches for."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from convsv_cli.names import printable
from convsv_cli.renderers import numbers, verdict_text
from convsv_cli.renderers.audit_text import (
    bound_figure,
    factor,
    obstacles,
    pair_figure,
    quantised_line,
    share_text,
)
from convsv_cli.renderers.columns import PRODUCTS, product_columns, why_no_figures
from convsv_cli.renderers.html import facts, layers, network, pictures, profile, verdict
from convsv_cli.renderers.html.axis import INTERVAL, Scale, Track, log, point, scale_of, sort_key
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import BOUNDED, Audit, Report
from convsv_cli.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = "templates"
VIEWS = (
    bound_figure,
    facts.assumptions_of,
    facts.command_of,
    facts.findings_of,
    facts.format_of,
    facts.model_facts,
    facts.setting_facts,
    layers.cell,
    layers.layer_table,
    network.block_table,
    network.ruler_of,
    network.story_of,
    pictures.density_of,
    pictures.ranks_of,
    pictures.stable_ranks_of,
    product_columns,
    obstacles,
    profile.profile_of,
    quantised_line,
    verdict.headline_of,
    verdict.largest_of,
    verdict.tiles_of,
    verdict_text.open_gates,
)
"""What templates make of results."""
TEXTS = (
    factor,
    layers.geometry,
    layers.multiplications,
    layers.outline,
    layers.parameters,
    layers.spread,
    numbers.as_written,
    numbers.counted,
    numbers.figure,
    numbers.size,
    pair_figure,
    pictures.few,
    share_text,
    sort_key,
    verdict.proven,
    verdict.used,
    verdict_text.node,
    why_no_figures,
)
"""What templates make of single values: filters."""


def render(report: Report, terminal: Terminal) -> str:  # noqa: ARG001
    """The page, which ends with a line break; every name from a file is inert text in it."""
    audits, failures = report.audits, report.failures
    several = len(audits) != 1 or bool(failures)
    scale = scale_of(map(_log, audits)) if any(audit.bound.status == BOUNDED for audit in audits) else None
    models = numbers.counted(len(audits) + len(failures), "model")
    return page(
        "page.html",
        report=report,
        title=models if several else audits[0].model.path,
        version=__version__,
        headline=verdict.overall([*map(verdict.headline_of, audits)], failures) if several else None,
        scale=scale,
        summary=[(audit, _track(audit, scale)) for audit in audits],
    )


def page(template: str, **values: object) -> str:
    """A page from a template that fills `base.html`; it ends with a line break."""
    from markupsafe import Markup

    style, script = _asset("style.css"), _asset("script.js")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    own = {"style": Markup(style), "script": Markup(script)}  # noqa: S704  (the package's, not a file's)
    return filled(template, **values, **own, policy=policy)


def filled(template: str, **values: object) -> str:
    """A template with these values, each of them escaped; it ends with a line break."""
    return _templates().get_template(template).render(**values) + "\n"


def _log(audit: Audit) -> float:
    return log(None) if audit.bound.log10 is None else audit.bound.log10


def _track(audit: Audit, scale: Scale | None) -> Track | None:
    """Where the bound is on the axis of all models."""
    if scale is None or audit.bound.status != BOUNDED:
        return None
    words = f"Lipschitz bound ≤ {bound_figure(audit.bound)}"
    return Track(words=words, marks=(point(INTERVAL, scale.at(_log(audit))),))


@cache
def _templates() -> Environment:
    """They escape what they are given, and spell out what would act on a reader's eye without being seen."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("convsv_cli.renderers.html", TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_inert,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update({view.__name__: view for view in VIEWS})
    environment.globals.update(
        outcomes=verdict.OUTCOMES, severities=facts.SEVERITIES, product_legend=PRODUCTS
    )
    environment.filters.update({text.__name__: text for text in TEXTS})
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    return environment


def _inert(value: object) -> object:
    """Text without controls and bidirectional overrides; markup is what a template has escaped already."""
    return value if not isinstance(value, str) or hasattr(value, "__html__") else printable(value)


@cache
def _asset(name: str) -> str:
    return files("convsv_cli.renderers.html").joinpath(f"{TEMPLATES}/{name}").read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """As a content security policy names the text of an element."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
