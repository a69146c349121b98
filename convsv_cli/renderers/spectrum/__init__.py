"""All singular values of layers, summed up: as text and JSON."""

from __future__ import annotations

from convsv_cli.renderers.renderer import Renderer
from convsv_cli.renderers.spectrum import json, text
from convsv_cli.report import Spectra

RENDERERS: tuple[Renderer[Spectra], ...] = (
    Renderer(name="table", suffixes=(), render=text.render),
    Renderer(name="json", suffixes=(), render=json.render),
)
