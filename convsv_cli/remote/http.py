"""Files of web servers, which may be anyone's: no answer is believed, or read, beyond what was asked for."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from typing import IO, Any
from urllib import error, request
from urllib.parse import quote, urlsplit, urlunsplit

from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.remote.server import Described, changed, within

SILENCE = 60.0
"""Seconds without a byte after which a connection is given up."""
PARTIAL, NOT_SATISFIABLE = 206, 416
MISSING = (404, 410)
DOWNLOAD = "download it first, as curl -LO does"
_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})")


class HttpServer:
    """The folder that a URL leads to, and the file there that the URL itself is for.

    Args:
        url: of a file; with a query, that is for this file alone.
        name: what the file is called here.
    """

    watches = True

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name = url, name
        self._opener = request.OpenerDirector()
        handlers = (
            request.ProxyHandler(),
            request.HTTPHandler(),
            request.HTTPSHandler(),
            request.HTTPDefaultErrorHandler(),
            request.HTTPErrorProcessor(),
            _Redirects(),
            request.UnknownHandler(),
        )
        for handler in handlers:
            self._opener.add_handler(handler)

    def describe(self, name: str) -> Described | None:
        """As `Server.describe`: by asking for the first byte, as what may be read may not be described."""
        return within(lambda: self._described(name))

    def read(self, name: str, start: int, end: int, known: Described) -> bytes:
        """As `Server.read`."""
        return within(lambda: self._read(name, start, end, known))

    def names(self) -> Iterator[tuple[str, Described]]:
        """Web servers have no lists of files."""
        raise UnreadableModelError("web servers do not list folders", hint="name the file")

    def _described(self, name: str) -> Described | None:
        try:
            with self._answer(name, 0, 1) as answer:
                _, _, size = _place(answer.headers)
                return Described(size=size, version=_version(answer.headers))
        except error.HTTPError as failed:
            found = _RANGE.fullmatch(failed.headers.get("Content-Range", ""))
            if failed.code == NOT_SATISFIABLE and found and found[3] == "0":
                return Described(size=0)
            if failed.code in MISSING:
                return None
            raise _failure(failed) from failed

    def _read(self, name: str, start: int, end: int, known: Described) -> bytes:
        try:
            with self._answer(name, start, end) as answer:
                first, last, size = _place(answer.headers)
                version = _version(answer.headers)
                if size != known.size or (version and known.version and version != known.version):
                    raise changed()
                data: bytes = answer.read(end - start) if (first, last) == (start, end - 1) else b""
        except error.HTTPError as failed:
            raise _failure(failed) from failed
        if len(data) != end - start:
            raise UnreadableModelError("the server sent another part than was asked for", hint=DOWNLOAD)
        return data

    @contextmanager
    def _answer(self, name: str, start: int, end: int) -> Iterator[Any]:
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity", "User-Agent": "convsv"}
        asked = request.Request(self._address(name), headers=headers)  # noqa: S310  (see `handlers`)
        try:
            with self._opener.open(asked, timeout=SILENCE) as answer:
                if answer.status != PARTIAL:
                    raise UnreadableModelError("the server does not send parts of files", hint=DOWNLOAD)
                yield answer
        except error.HTTPError as failed:
            failed.close()
            raise
        except error.URLError as failed:
            raise UnreadableModelError(f"cannot be read: {_words(failed.reason)}") from failed
        except TimeoutError as failed:
            raise UnreadableModelError(f"the server did not answer within {SILENCE:g} s") from failed
        except (OSError, http.client.HTTPException, ValueError) as failed:
            raise UnreadableModelError(f"cannot be read: {_words(failed)}") from failed

    def _address(self, name: str) -> str:
        """Of the file itself as it was given; of one beside it, by its name there."""
        if name == self._name:
            return self._url
        parts = urlsplit(self._url)
        return urlunsplit(
            (parts.scheme, parts.netloc, f"{parts.path.rpartition('/')[0]}/{quote(name)}", "", "")
        )


class _Redirects(request.HTTPRedirectHandler):
    """To other addresses in the web alone, and to none that is less private."""

    def redirect_request(  # noqa: PLR0917  (as urllib has it)
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> request.Request | None:
        """As urllib has it."""
        scheme = urlsplit(newurl).scheme
        if scheme not in {"http", "https"} or (req.type == "https" and scheme == "http"):
            fp.close()
            raise UnsafeModelError(f"the server redirects to {scheme}:, which convsv does not follow")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _place(headers: Message) -> tuple[int, int, int]:
    """First byte, last byte and size of the whole."""
    found = _RANGE.fullmatch(headers.get("Content-Range", ""))
    if found is None or found[1] is None or not int(found[1]) <= int(found[2]) < int(found[3]):
        raise UnreadableModelError("the server does not say which part it sends", hint=DOWNLOAD)
    return int(found[1]), int(found[2]), int(found[3])


def _version(headers: Message) -> str:
    etag, date = headers.get("ETag", ""), headers.get("Last-Modified", "")
    return f"ETag {etag}" if etag else f"Last-Modified {date}" if date else ""


def _failure(failed: error.HTTPError) -> UnreadableModelError:
    return UnreadableModelError(f"the server answers {failed.code} {_words(failed.reason)}".strip())


def _words(reason: object) -> str:
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return " ".join(str(text).split())[:200]
