"""Servers that lie, fail or say nothing: one line each, and no more of their answer than was asked for."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

import pytest

from convsv_cli import audit
from convsv_cli.errors import ConvsvError, UnreadableModelError, UnsafeModelError, UsageError
from convsv_cli.remote import files, http, ranges, server, stores
from convsv_cli.remote.mirror import mirrored
from tests.support.range_server import serving, silent
from tests.support.sparse_models import sparse_safetensors
from tests.support.store_system import storing

NAME = "model.safetensors"


def status(code, **headers):
    """A lie: only a status."""

    def lie(handler, _path, _start, _end):
        handler.answer(code, b"", **headers)
        return True

    return lie


def endless(code, **headers):
    """A lie: a body that does not end."""

    def lie(handler, _path, _start, _end):
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        for _ in range(10**6):
            handler.wfile.write(b"x" * 2**16)
        return True

    return lie


def claiming(place, data=b"x", **headers):
    """A lie: this part, whatever was asked for."""

    def lie(handler, _path, _start, _end):
        handler.answer(206, data, **{"Content-Range": place, **headers})
        return True

    return lie


def later(lie):
    """The lie from the second request on."""
    return lambda handler, path, start, end: end > 1 and lie(handler, path, start, end)


HONEST = "bytes 0-65535/10000000"
LIES = [
    (status(404), UnreadableModelError, "no such file"),
    (status(403), UnreadableModelError, "the server answers 403 Forbidden"),
    (status(500), UnreadableModelError, "the server answers 500"),
    (status(302, Location="file:///etc/passwd"), UnreadableModelError, "file:///etc/passwd' is not allowed"),
    (status(302, Location="ftp://127.0.0.1/x"), UnsafeModelError, "redirects to ftp:"),
    (status(302, Location=f"/{NAME}"), UnreadableModelError, "the server answers 302"),
    (status(200), UnreadableModelError, "does not send parts"),
    (endless(200), UnreadableModelError, "does not send parts"),
    (endless(206), UnreadableModelError, "does not say which part"),
    (claiming("bytes 0-0/*"), UnreadableModelError, "does not say which part"),
    (claiming("bytes 5-0/9"), UnreadableModelError, "does not say which part"),
    (claiming(f"bytes 0-0/{10**17}"), ConvsvError, "bytes: no file here can|another part|changed"),
    (claiming("bytes 0-0/0"), UnreadableModelError, "does not say which part"),
    (later(claiming(HONEST, b"short")), UnreadableModelError, "another part|changed"),
    (later(claiming("bytes 7-8/10")), UnreadableModelError, "changed"),
    (later(endless(206, **{"Content-Range": HONEST})), UnreadableModelError, "changed"),
    (later(status(200)), UnreadableModelError, "does not send parts"),
    (silent(5), UnreadableModelError, "the server did not answer within 0.3 s"),
]


@pytest.mark.parametrize(("lie", "kind", "told"), LIES, ids=range(len(LIES)))
def test_web_servers_that_lie(lie, kind, told, tmp_path, monkeypatch):
    sparse_safetensors(tmp_path / NAME, 10**6)
    monkeypatch.setattr(http, "SILENCE", 0.3)
    monkeypatch.setattr(server, "SECONDS", 3.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with serving(tmp_path) as web:
        web.lie = lie
        with pytest.raises(kind, match=told) as error:
            audit(f"{web.url}/{NAME}", layers=["a.*"])
    assert error.value.where == f"{web.url}/{NAME}"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16  # kB


def test_a_server_that_drips(tmp_path, monkeypatch):
    sparse_safetensors(tmp_path / NAME, 10**6)
    monkeypatch.setattr(server, "SECONDS", 0.3)
    with serving(tmp_path) as web:
        web.lie = silent(1)  # not as long as a connection may be silent
        with pytest.raises(UnreadableModelError, match=r"did not answer within 0\.3 s"):
            audit(f"{web.url}/{NAME}")


def test_nobody_there():
    with pytest.raises(UnreadableModelError, match="Connection refused"):
        audit("http://127.0.0.1:9/model.safetensors")


def test_files_that_change(tmp_path):
    sparse_safetensors(tmp_path / NAME, 10**6)
    with serving(tmp_path) as web:
        web.lie = lambda *_: setattr(web, "etag", f'"{len(web.asked)}"')
        with pytest.raises(UnreadableModelError, match="changed while it was read"):
            audit(f"{web.url}/{NAME}")
    with storing(tmp_path.parent) as store:
        store.lie = lambda data: [(tmp_path / NAME).touch(), data][1]
        with pytest.raises(UnreadableModelError, match="changed while it was read") as error:
            audit(f"s3://{tmp_path.name}/{NAME}", layers=["a.*"])
    assert error.value.where == f"s3://{tmp_path.name}/{NAME}"


@pytest.mark.parametrize(
    ("raised", "kind", "told"),
    [
        (PermissionError("no"), UnreadableModelError, "may not be read"),
        (RuntimeError("the\nworst"), UnreadableModelError, "cannot be read: RuntimeError: the worst"),
        (FileNotFoundError("gone"), UnreadableModelError, "there no longer"),
    ],
)
def test_stores_that_fail(raised, kind, told, tmp_path):
    sparse_safetensors(tmp_path / NAME, 10**6)

    def fail(_data):
        raise raised

    with storing(tmp_path.parent) as store:
        store.lie = fail
        with pytest.raises(kind, match=told):
            audit(f"s3://{tmp_path.name}/{NAME}")
        store.lie = lambda data: data[:-1]
        with pytest.raises(UnreadableModelError, match="another part"):
            audit(f"s3://{tmp_path.name}/{NAME}")


def test_what_did_not_come_is_not_passed_over(tmp_path):
    """Even where a reader makes do without."""
    sparse_safetensors(tmp_path / NAME, 10**6)
    address, raises = (
        f"s3://{tmp_path.name}/{NAME}",
        pytest.raises(UnreadableModelError, match="another part"),
    )
    with storing(tmp_path.parent) as store, raises, mirrored(address) as mirror:
        store.lie = lambda data: data[:-1]
        with contextlib.suppress(ConvsvError):
            files.view(mirror.path, 0, 8)


def test_what_was_fetched_and_is_here_no_longer_is_no_zeros(tmp_path):
    sparse_safetensors(tmp_path / NAME, 10**6)
    with serving(tmp_path) as web, mirrored(f"{web.url}/{NAME}") as mirror:
        files.view(mirror.path, 0, 8)
        for kept in (mirror.path.parent.parent / "kept").iterdir():
            kept.unlink()
        with pytest.raises(UnreadableModelError, match="here no longer"):
            files.view(mirror.path, 0, 8)


def test_endless_folders(tmp_path, monkeypatch):
    sparse_safetensors(tmp_path / NAME, 10**6)
    (tmp_path / "other").touch()
    monkeypatch.setattr(stores, "MOST", 1)
    with storing(tmp_path.parent), pytest.raises(UsageError, match="a folder with more than 1 files"):
        audit(f"s3://{tmp_path.name}")


def test_headers_that_lead_beyond_the_file(tmp_path):
    path = sparse_safetensors(tmp_path / NAME, 10**6)
    path.write_bytes(path.read_bytes()[:-100])
    with serving(tmp_path) as web, pytest.raises(UnreadableModelError, match="damaged"):
        audit(f"{web.url}/{NAME}")
    path.write_bytes((2**60).to_bytes(8, "little") + b'{"a"')
    with serving(tmp_path) as web, pytest.raises(ConvsvError, match="damaged"):
        audit(f"{web.url}/{NAME}")
    assert web.sent < 100


def test_no_more_than_there_is_room_for(tmp_path, monkeypatch):
    sparse_safetensors(tmp_path / NAME, 10**6)
    monkeypatch.setattr(ranges, "SHARE", 10**12)
    with serving(tmp_path) as web, pytest.raises(UnsafeModelError, match="are to be fetched"):
        audit(f"{web.url}/{NAME}")


@pytest.mark.parametrize("error", [KeyboardInterrupt, UsageError])
def test_nothing_stays_behind(error, tmp_path):
    sparse_safetensors(tmp_path / NAME, 10**6)
    kept = Path()
    with serving(tmp_path) as web, pytest.raises(error), mirrored(f"{web.url}/{NAME}") as mirror:  # noqa: PT012
        kept = mirror.path
        assert files.view(kept, 0, 8).sum()
        raise error("now")
    assert not kept.parent.parent.exists()
    assert not files.is_partial(kept)
