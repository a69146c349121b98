"""HTML: one self-contained page, readable without JavaScript, that asks the network for nothing."""

from __future__ import annotations

from convsv_cli.renderers.html.page import render
from convsv_cli.renderers.renderer import Renderer

RENDERER = Renderer(name="html", suffixes=(".html", ".htm"), render=render)
