"""All that is public, and all that the reference lists, is described: parameters, shapes, errors, sources."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import torch

import convsv_cli
from tests.support import docstrings
from tests.support.docstrings import Public

DOCS = Path(__file__).parents[2] / "docs"
SOURCED = (
    "CurvatureBound",
    "CurvatureLoss",
    "LipschitzPenalty",
    "certify",
    "curvature_bounds",
    "curvature_radii",
    "limit_norm",
    "margin_radii",
    "spectral_norm",
)
"""What is computed as a paper says."""


def listed() -> dict[str, object]:
    """The public names, and what the pages of the reference describe."""
    found = {name: getattr(convsv_cli, name) for name in convsv_cli.__all__ if name != "__version__"}
    text = "".join((DOCS / page).read_text(encoding="utf-8") for page in ("api.md", "extending.md"))
    for module, name in re.findall(r"^\.\. auto\w+:: (convsv_cli[\w.]*)\.(\w+)$", text, re.MULTILINE):
        found[name] = getattr(importlib.import_module(module), name)
    return found


PUBLIC = [each for name, value in listed().items() for each in docstrings.public(name, value)]
EACH = pytest.mark.parametrize("public", PUBLIC, ids=lambda public: public.name)


@EACH
def test_it_says_what_it_is(public: Public) -> None:
    summary, *rest = public.text.splitlines()
    assert summary, "no docstring"
    assert summary.endswith((".", ":")) or rest[0], "the first sentence does not end"


@EACH
def test_every_parameter_is_described(public: Public) -> None:
    if not isinstance(public.value, type) or public.entries("Args") or public.entries("Attributes"):
        assert docstrings.undescribed(public) == set()
    else:
        assert docstrings.parameters(public) == {}


@EACH
def test_every_tensor_has_a_shape(public: Public) -> None:
    assert docstrings.shapeless(public) == set()


@EACH
def test_every_error_is_told(public: Public) -> None:
    assert docstrings.undocumented_errors(public) == set()


def test_what_comes_from_a_paper_names_it() -> None:
    for name in SOURCED:
        text = " ".join((listed()[name].__doc__ or "").split())
        assert re.search(r"arXiv \d{4}\.\d{5}|(?:NeurIPS|ICLR) 20\d\d", text), name


def sloppy(x: torch.Tensor, y: int) -> torch.Tensor:
    """A bound.

    Args:
        x: what it is.
        z: what it is not.

    Raises:
        KeyError: never.
    """
    if y:
        raise ValueError(y)
    return _helped(x)


def _helped(x: torch.Tensor) -> torch.Tensor:
    raise TypeError(x)


def test_what_is_missing_would_be_seen() -> None:
    public = Public(name="sloppy", value=sloppy)
    assert docstrings.undescribed(public) == {"y", "z"}
    assert docstrings.shapeless(public) == {"x", "return"}
    assert docstrings.undocumented_errors(public) == {"ValueError", "TypeError"}
