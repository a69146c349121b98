"""Calls that no checkpoint needs: nothing is called in any case, but such a file is not to be trusted."""

from __future__ import annotations

from typing import Any

from convsv_cli.errors import UnsafeModelError
from convsv_cli.loaders.checkpoint.values import Global

_MODULES = frozenset((
    "_aix_support", "_pickle", "_posixsubprocess", "_winapi", "asyncio", "bdb", "cProfile", "codeop",
    "commands", "ctypes", "dill", "distutils", "doctest", "fcntl", "ftplib", "httplib", "imaplib",
    "importlib", "marshal", "mmap", "multiprocessing", "nt", "ntpath", "os", "pdb", "pickle", "pip",
    "pkgutil", "popen2", "poplib", "posix", "pty", "pydoc", "requests", "runpy", "setuptools", "shelve",
    "shutil", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "sys", "tarfile",
    "telnetlib", "tempfile", "threading", "timeit", "urllib2", "venv", "webbrowser", "winreg", "zipfile",
    "zipimport",
))  # fmt: skip
"""By the first part of their names."""
_FUNCTIONS = frozenset((
    "__import__", "breakpoint", "compile", "delattr", "eval", "exec", "execfile", "file", "globals", "help",
    "input", "locals", "map", "open", "print", "reduce", "setattr", "vars",
))  # fmt: skip
_BUILTINS = frozenset(("builtins", "__builtin__", "__builtins__"))
_OTHERS = frozenset((
    "_io.FileIO", "_io.open", "code.InteractiveConsole", "code.InteractiveInterpreter", "functools.reduce",
    "io.FileIO", "io.open", "io.open_code", "joblib.load", "numpy.load", "operator.methodcaller",
    "profile.run", "site.execsitecustomize", "torch.hub.load", "torch.jit.load", "torch.load",
    "torch.serialization.load", "trace.Trace", "types.CodeType", "types.FunctionType",
    "urllib.request.urlopen", "urllib.request.urlretrieve",
))  # fmt: skip
_ALLOCATORS = frozenset(("bytearray", "bytes", "range", "list"))
MAX_BYTES = 1 << 26


def refuse_hazards(maker: Any, args: Any) -> None:
    """Refuse the call of a function that starts programs, or reads, writes or evaluates.

    Raises:
        UnsafeModelError: it is such a call, or one that would take a lot of memory.
    """
    if not isinstance(maker, Global):
        return
    is_builtin = maker.module in _BUILTINS
    if (
        maker.module.partition(".")[0] in _MODULES
        or (is_builtin and maker.name.partition(".")[0] in _FUNCTIONS)
        or str(maker) in _OTHERS
    ):
        raise UnsafeModelError(
            f"loading this file would call {maker}; nothing of it was run",
            hint="do not load it with anything else either",
        )
    sizes = args if isinstance(args, tuple) else ()
    if is_builtin and maker.name in _ALLOCATORS and any(isinstance(n, int) and n > MAX_BYTES for n in sizes):
        raise UnsafeModelError(f"loading this file would make a {maker.name} of more than {MAX_BYTES} bytes")
