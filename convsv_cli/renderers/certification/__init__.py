"""Certifications as text, JSON, CSV, a page and a chart."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from convsv_cli.renderers.certification import csv, html, json, svg, text
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import Certification

FORMATS: Mapping[str, Callable[[Certification, Terminal], str]] = {
    "table": text.render,
    "json": json.render,
    "csv": csv.render,
    "html": html.render,
    "svg": svg.render,
}
SUFFIXES = {
    ".txt": "table",
    ".json": "json",
    ".csv": "csv",
    ".html": "html",
    ".htm": "html",
    ".svg": "svg",
}
