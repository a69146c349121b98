"""Results to text: one module per format of an audit or per other result, each of pure functions."""

from __future__ import annotations

from convsv_cli.renderers import csv, github, gitlab, html, json, junit, markdown, sarif, table
from convsv_cli.renderers.renderer import Renderer
from convsv_cli.report import Report

RENDERERS: tuple[Renderer[Report], ...] = (
    table.RENDERER,
    json.RENDERER,
    csv.RENDERER,
    markdown.RENDERER,
    html.RENDERER,
    sarif.RENDERER,
    junit.RENDERER,
    gitlab.RENDERER,
    github.RENDERER,
)
