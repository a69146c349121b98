"""Certifications as text, JSON, CSV, a page and a chart."""

from __future__ import annotations

from convsv_cli.renderers.certification import curve, html, text
from convsv_cli.renderers.renderer import Renderer
from convsv_cli.report import Certification

RENDERERS: tuple[Renderer[Certification], ...] = (
    Renderer(name="table", suffixes=(".txt",), render=text.table),
    Renderer(name="json", suffixes=(".json",), render=text.document),
    Renderer(name="csv", suffixes=(".csv",), render=text.rows),
    Renderer(name="html", suffixes=(".html", ".htm"), render=html.render),
    Renderer(name="svg", suffixes=(".svg",), render=curve.picture),
)
