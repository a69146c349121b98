"""Two audits beside each other: as a table, JSON, CSV, Markdown and a page."""

from __future__ import annotations

from convsv_cli.renderers.difference import html, json, text
from convsv_cli.renderers.renderer import Renderer
from convsv_cli.report import Difference

RENDERERS: tuple[Renderer[Difference], ...] = (
    Renderer(name="table", suffixes=(".txt",), render=text.table),
    Renderer(name="json", suffixes=(".json",), render=json.render),
    Renderer(name="csv", suffixes=(".csv",), render=text.comma_separated),
    Renderer(name="markdown", suffixes=(".md", ".markdown"), render=text.markdown),
    Renderer(name="html", suffixes=(".html", ".htm"), render=html.render),
)
