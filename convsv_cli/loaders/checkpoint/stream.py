"""The bytes of a pickle, with a limit on what it may make a reader hold."""

from __future__ import annotations

import sys
from typing import IO, Any

from convsv_cli.errors import UnsafeModelError

MEMORY = 300 << 20
"""Bytes that the objects of a pickle may take; the tensors' values are not among them."""
OPERATIONS = 3_000_000
ARGUMENT = 64 << 20
"""Bytes of one argument, such as a string."""
LINE = 1 << 16
OPERATION_BYTES = 24
RECORD_BYTES = 256
"""Of a record and its empty containers, which `sys.getsizeof` does not count."""


class PickleStream:
    """A file as `pickletools.genops` reads it; counts what a pickle costs and refuses to go on forever."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._operations = 0
        self._memory = 0

    def read(self, size: int) -> bytes:
        """Exactly as a file, for moderate sizes."""
        if size > ARGUMENT:
            raise UnsafeModelError(f"a single object of {size} bytes in a pickle")
        return self._file.read(size)

    def readline(self) -> bytes:
        """A line; of an overlong one the beginning, which a reader takes for a damaged one."""
        return self._file.readline(LINE)

    def tell(self) -> int:
        """Nothing: positions are not needed, and asking the file for them is slow."""
        return 0

    def charge(self, made: Any = None, *, extra: int = 0) -> None:
        """Count an operation, the memory of what it made, and so many bytes more.

        Raises:
            UnsafeModelError: it was one too many.
        """
        self._operations += 1
        self._memory += OPERATION_BYTES + extra + (0 if made is None else sys.getsizeof(made))
        if self._memory > MEMORY or self._operations > OPERATIONS:
            raise UnsafeModelError("a pickle of more objects than any checkpoint has")
