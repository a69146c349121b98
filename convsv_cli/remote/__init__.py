"""Models that are elsewhere: of files in a network, those parts are read that are asked for.

A remote model has a folder of its own on this machine, with an empty file for each of its files. Whoever
reads one asks `remote.files` for the bytes: they are fetched and kept there, once. Whoever does not ask finds
an empty file, never zeros in place of what was not fetched.

Nothing remote is looked at but what the user's own argument names, and files beside it that a model needs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

PROTOCOLS: Mapping[str, str] = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "az": "adlfs",
    "hf": "huggingface_hub",
    "http": "",
    "https": "",
}
"""The package that speaks each protocol that convsv reads models by; empty where Python does itself."""
_URL = re.compile(r"(https?|ftps?|s3|gs|az|hf|git)[:][/\\]+(?=[^/\\])", re.IGNORECASE)
"""Also without the second slash, of which a path keeps one."""


def address(path: Path | str) -> str:
    """The URL that a path was before its slashes were counted; empty for any other."""
    text = str(path)
    found = _URL.match(text)
    if found is None:
        return ""
    rest = text[found.end() :]
    return f"{found[1].lower()}://{rest if isinstance(path, str) else rest.replace(chr(92), '/')}"


def is_remote(path: Path | str) -> bool:
    """Whether it is the address of something that convsv reads over a network."""
    return address(path).partition(":")[0] in PROTOCOLS


def public(url: str) -> str:
    """The address without what may be secret in it: a password, or the signature in a query.

    Args:
        url: as `address` gives it.
    """
    if not url.startswith("http"):
        return url
    host, slash, rest = url.partition("://")[2].partition("/")
    return (
        f"{url.partition(':')[0]}://{host.rpartition('@')[2]}{slash}{re.split('[?#]', rest, maxsplit=1)[0]}"
    )


def beside(path: str, name: str) -> str:
    """The path, or the address, of a file of that name in the folder of another one."""
    url = address(path)
    if url.partition(":")[0] not in PROTOCOLS:
        return str(Path(path).parent / name)
    return f"{url.rpartition('/')[0]}/{quote(name) if url.startswith('http') else name}"


def last_part(url: str) -> str:
    """The name of the file, as the URL has it, without a query."""
    path = urlsplit(url).path if url.startswith("http") else url.partition("://")[2]
    return path.rpartition("/")[2]
