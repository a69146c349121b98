"""The page: templates filled with views, one style sheet and one script that the page itself vouches for."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from convsv_cli.renderers.html.document import page_of
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import Report
from convsv_cli.sanitize import printable

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = "templates"


def render(report: Report, terminal: Terminal) -> str:  # noqa: ARG001
    """The page, which ends with a line break; every name from a file is inert text in it."""
    return page("page.html", page=page_of(report)) + "\n"


def page(template: str, **views: object) -> str:
    """A page from a template that fills `base.html`."""
    from markupsafe import Markup

    style, script = _asset("style.css"), _asset("script.js")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return filled(
        template,
        **views,
        policy=policy,
        style=Markup(style),  # noqa: S704  (the package's own)
        script=Markup(script),  # noqa: S704
    )


def filled(template: str, **values: object) -> str:
    """A template with these values, each of them escaped."""
    return _templates().get_template(template).render(**values)


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
