"""Errors that a user can act on; the command line prints them as one line."""

from __future__ import annotations


class ConvsvError(Exception):
    """What went wrong, where, and what to do about it.

    Attributes:
        exit_code: what the command line exits with (see REPORT.md of the design).
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
