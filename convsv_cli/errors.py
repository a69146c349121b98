"""Errors that a user can act on; the command line prints them as one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

TRACEBACK = "CONVSV_TRACEBACK"
"""Set to anything, errors that nobody expected are not made one line of."""


class ConvsvError(Exception):
    """What went wrong, where, and what to do about it: the base class of all errors that are meant for users.

    Args:
        what: the problem, in a few words.
        where: the file, with the line if there is one; empty where no file is to blame.
        hint: what to do; empty where that is obvious.

    Attributes:
        exit_code: what the command line exits with: 2, or 4 for `UnsafeModelError`.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(what)

    def __str__(self) -> str:
        located = f"{self.where}: {self.what}" if self.where else self.what
        return f"{located} ({self.hint})" if self.hint else located


class UnreadableModelError(ConvsvError):
    """The file is missing, damaged, or not a model that convsv reads."""


class UnreadableReportError(ConvsvError):
    """The file is missing, or not a JSON report of convsv."""


class UsageError(ConvsvError):
    """The caller asked for something that cannot be done with this model."""


class UnsafeModelError(ConvsvError):
    """Reading the file would be unsafe; nothing of it was executed."""

    exit_code = 4


class ConfigurationError(ConvsvError):
    """A budget file says something that convsv does not understand; `where` is its path and line."""


@contextmanager
def expecting(kind: type[ConvsvError], what: str, *, where: str, hint: str = "") -> Iterator[None]:
    """Reading what others wrote, which may be wrong in ways that nobody thought of: that is their mistake.

    Args:
        kind: of the error that whatever is no `ConvsvError` becomes.
        what: as of it; the type of the other follows.
        where, hint: as of it.

    Raises:
        ConvsvError: reading it failed.
    """
    try:
        yield
    except ConvsvError:
        raise
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        raise kind(f"{what} ({type(error).__name__})", where=where, hint=hint) from error
