"""What is asked of a server, whatever protocol it speaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from convsv_cli.errors import UnreadableModelError


@dataclass(frozen=True, kw_only=True)
class Described:
    """A file, as its server describes it.

    Attributes:
        size: bytes, 0 or more.
        version: what differs when the content does, such as an ETag; empty where the server says nothing.
    """

    size: int
    version: str = ""


class Server(Protocol):
    """A folder of files on a server; names are relative to it.

    Attributes:
        watches: whether `read` itself notices that a file has become another one.
    """

    watches: bool

    def describe(self, name: str) -> Described | None:
        """The file of that name; None where there is none.

        Raises:
            UnreadableModelError: the server does not say.
        """

    def read(self, name: str, start: int, end: int, known: Described) -> bytes:
        """The bytes from one place to another, all of them.

        Raises:
            UnreadableModelError: the server does not give them, or those of another file than is known.
        """

    def names(self) -> Iterator[tuple[str, Described]]:
        """The files in the folder itself.

        Raises:
            UnreadableModelError: the server does not list them.
        """


def changed() -> UnreadableModelError:
    """The error for a file that became another one."""
    return UnreadableModelError("the file was changed while it was read", hint="run it again")
