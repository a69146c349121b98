"""What a process may not do while it reads a file, by Python's audit events."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.support.fuzzing import kept

FORBIDDEN = (
    "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "pty.spawn", "pickle.find_class",
    "socket.connect", "socket.bind", "ctypes.dlopen", "shutil.rmtree", "os.symlink", "os.link", "os.mkdir",
    "webbrowser.open", "code.__new__", "builtins.input", "os.kill",
)  # fmt: skip
ROOTS = ("convsv_cli", "onnx", "numpy", "torch", "ml_dtypes", "safetensors", "google", "encodings", "rich")
"""Packages that may be imported on demand."""


class Watch:
    """Notes what is forbidden, between `begin` and `end`."""

    def __init__(self) -> None:
        self._seen: list[str] = []
        self._on = False
        sys.addaudithook(self._hear)

    def begin(self) -> None:
        self._seen, self._on = [], True

    def end(self) -> list[str]:
        self._on = False
        return self._seen

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._on and self._is_odd(event, arguments):
            self._seen.append(f"{event} {arguments!r}"[:300])

    def _is_odd(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "subprocess.Popen":
            return "convsv_cli.confinement" not in str(arguments[1])
        if event == "import":
            return arguments[0].partition(".")[0] not in {*ROOTS, *sys.stdlib_module_names}
        if event == "exec":
            return arguments[0].co_filename in {"<string>", "<stdin>"}
        return event in FORBIDDEN and not self._is_own(event, arguments)

    def _is_own(self, event: str, arguments: tuple[Any, ...]) -> bool:
        """Ending the child process is what confinement does; sweeps and caches have folders.

        Looking into oneself loads no library.
        """
        if event == "os.mkdir":
            return Path(arguments[0]).name in {"outcomes", *kept.OWN}
        is_itself = event == "ctypes.dlopen" and arguments[0] is None
        return is_itself or (event == "os.kill" and arguments[1] == 9)
