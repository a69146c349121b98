"""A web server on loopback that sends ranges of sparse files, counts what it sends, and may lie."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclass
class Ranges:
    """What the server does, and what was asked of it.

    Attributes:
        folder: the files that it has.
        lie: is given each request and the range; True where it has answered it in another way.
        sent: bytes of contents so far.
        asked: paths, in order, with their ranges.
        url: of the folder, without a slash.
    """

    folder: Path
    lie: Callable[[Any, Path, int, int], bool] = lambda *_: False
    sent: int = 0
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    url: str = ""
    etag: str = '"1"'


@contextmanager
def serving(folder: Path) -> Iterator[Ranges]:
    """The server, while the block lasts."""
    ranges = Ranges(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = folder / unquote(self.path.partition("?")[0].lstrip("/"))
            found = RANGE.fullmatch(self.headers.get("Range", ""))
            start, end = (int(found[1]), int(found[2]) + 1) if found else (0, 0)
            ranges.asked.append((self.path, start, end))
            if ranges.lie(self, path, start, end):
                return
            if not path.is_file():
                self.answer(404, b"")
                return
            size = path.stat().st_size
            if start >= size:
                self.answer(416, b"", **{"Content-Range": f"bytes */{size}"})
                return
            end = min(end, size)
            with path.open("rb") as file:
                file.seek(start)
                data = file.read(end - start)
            self.answer(206, data, **{"Content-Range": f"bytes {start}-{end - 1}/{size}"})

        def answer(self, status: int, data: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), "ETag": ranges.etag, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
            ranges.sent += len(data)

        def log_message(self, *_: object) -> None:
            """Nothing."""

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    ranges.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield ranges
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def silent(seconds: float) -> Callable[[Any, Path, int, int], bool]:
    """A lie: no answer for so long."""

    def lie(_handler: Any, _path: Path, _start: int, _end: int) -> bool:
        time.sleep(seconds)
        return False

    return lie
