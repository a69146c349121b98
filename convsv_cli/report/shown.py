"""What results can be turned into, where programs and notebooks hold them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame


class Shown:
    """A result that can be looked at.

    Values know nothing of texts: what writes them is imported by its name, when it is asked for.
    """

    def to_dict(self) -> dict[str, Any]:
        """The document that `--format json` writes; its `$schema` says which."""
        found: dict[str, Any] = _notebook().document(self)
        return found

    def to_json(self) -> str:
        """The same as text; what is not finite is null."""
        found: str = _notebook().rendered(self, "json")
        return found

    def to_dataframe(self) -> DataFrame:
        """A row per layer, or per sample, with the columns of `--format csv`; `attrs` has the model's path.

        Raises:
            UsageError: pandas is not installed.
        """
        found: DataFrame = _notebook().frame(self)
        return found

    def save(self, path: str | Path) -> Path:
        """Write it in the format that the suffix chooses; a file of that name is replaced.

        Args:
            path: ends in .json, .csv, .html, .md, .sarif or another suffix that `-o` takes.

        Returns:
            The path.

        Raises:
            UsageError: no format has this suffix, or the file cannot be written.
        """
        _notebook().save(self, Path(path))
        return Path(path)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Of an audit the norms of its layers, of a certification its accuracy by radius.

        Args:
            ax: where to draw; None for a new figure.

        Raises:
            UsageError: matplotlib is not installed.
        """
        found: Axes = _notebook().plot(self, ax)
        return found

    def __repr__(self) -> str:
        said: str = _notebook().line(self)
        return f"<{said}>"

    def _repr_html_(self) -> str:
        """What a notebook shows; names from files are inert in it."""
        found: str = _notebook().page(self)
        return found


def _notebook() -> Any:  # noqa: ANN401
    return importlib.import_module("convsv_cli.renderers.notebook")
