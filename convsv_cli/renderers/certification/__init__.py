"""Certifications as text, JSON, CSV, a page and a chart."""

from __future__ import annotations

from convsv_cli.renderers.certification import csv, html, json, svg, text
from convsv_cli.renderers.renderer import Renderer
from convsv_cli.report import Certification

RENDERERS: tuple[Renderer[Certification], ...] = (
    Renderer(name="table", suffixes=(".txt",), render=text.render),
    Renderer(name="json", suffixes=(".json",), render=json.render),
    Renderer(name="csv", suffixes=(".csv",), render=csv.render),
    Renderer(name="html", suffixes=(".html", ".htm"), render=html.render),
    Renderer(name="svg", suffixes=(".svg",), render=svg.render),
)
