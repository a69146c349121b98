"""The page: what changed, in a line, in a table, and beside the budget where there is one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from convsv_cli.renderers.difference.text import row
from convsv_cli.renderers.html.facts import Facts, model_facts
from convsv_cli.renderers.html.gates import Gates, gates_of
from convsv_cli.renderers.html.headline import INFO, SYMBOLS, Headline, headline_of
from convsv_cli.renderers.html.page import page
from convsv_cli.renderers.numbers import counted
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import Difference


@dataclass(frozen=True, kw_only=True)
class View:
    """What the template shows. `id` is where links lead."""

    id: str
    version: str
    old: str
    new: str
    headline: Headline
    gates: Gates | None
    rows: tuple[tuple[str, ...], ...]
    models: tuple[tuple[str, Facts], ...]


def render(difference: Difference, terminal: Terminal) -> str:  # noqa: ARG001
    """The page, which ends with a line break; every text from a file is inert in it."""
    return page("difference.html", view=view_of(difference)) + "\n"


def view_of(difference: Difference) -> View:
    """As the page shows it."""
    old, new = difference.old, difference.new
    return View(
        id="difference",
        version=difference.version,
        old=old.model.path,
        new=new.model.path,
        headline=_counts(difference) if new.verdict is None else headline_of(new),
        gates=gates_of(new.verdict),
        rows=tuple(row(change, str) for change in difference.changes),
        models=(("Before", model_facts(old)), ("After", model_facts(new))),
    )


def _counts(difference: Difference) -> Headline:
    """How many layers are what."""
    kinds = Counter(change.kind for change in difference.changes if change.name)
    text = " · ".join(f"{kind}: {count}" for kind, count in kinds.most_common())
    title = f"{counted(sum(kinds.values()), 'layer')} compared"
    return Headline(tone=INFO, symbol=SYMBOLS[INFO], title=title, text=text)
