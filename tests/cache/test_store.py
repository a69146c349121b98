"""What a cache believes, and what it does not."""

import multiprocessing
import os
from pathlib import Path

import pytest

from convsv_cli.cache import READ, WRITE, Store
from convsv_cli.cache.store import VARIABLE, secret
from convsv_cli.errors import UsageError

OWN, OTHER = b"own secret of 16+", b"their secret, 16+"
KEY, KEY_2 = "a" * 64, "b" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = Store(tmp_path / "cache", OWN)
    store.put(KEY, b"content")
    return tmp_path / "cache"


def entry(folder: Path, key: str = KEY) -> Path:
    return folder / f"{key}.entry"


def test_an_entry_is_found_again(folder):
    store = Store(folder, OWN)
    assert (store.get(KEY), store.get(KEY_2)) == (b"content", None)
    assert (store.hits, store.rejected) == (1, 0)


def truncated(folder: Path) -> None:
    entry(folder).write_bytes(entry(folder).read_bytes()[:-1])


def emptied(folder: Path) -> None:
    entry(folder).write_bytes(b"")


def flipped(folder: Path) -> None:
    data = bytearray(entry(folder).read_bytes())
    data[-3] ^= 1
    entry(folder).write_bytes(data)


def of_others(folder: Path) -> None:
    Store(folder, OTHER).put(KEY, b"content")


def of_another_key(folder: Path) -> None:
    Store(folder, OWN).put(KEY_2, b"other content")
    entry(folder, KEY_2).replace(entry(folder))


def linked(folder: Path) -> None:
    entry(folder).rename(folder.parent / "elsewhere")
    entry(folder).symlink_to(folder.parent / "elsewhere")


def a_folder(folder: Path) -> None:
    entry(folder).unlink()
    entry(folder).mkdir()


def a_pipe(folder: Path) -> None:
    entry(folder).unlink()
    os.mkfifo(entry(folder))


def huge(folder: Path) -> None:
    with entry(folder).open("ab") as file:
        file.truncate(2**40)


def a_bomb(folder: Path) -> None:
    import zlib

    entry(folder).write_bytes(b"convsv-cache 1\n" + bytes(32) + zlib.compress(bytes(2**24)))


@pytest.mark.parametrize(
    "spoil",
    [truncated, emptied, flipped, of_others, of_another_key, linked, a_folder, a_pipe, huge, a_bomb],
)
def test_what_this_user_did_not_write_there_is_not_believed(folder, spoil):
    spoil(folder)
    store = Store(folder, OWN)
    assert store.get(KEY) is None
    assert (store.hits, store.rejected) == (0, 1)


@pytest.mark.parametrize("spoil", [truncated, of_others, linked])
def test_what_is_not_believed_is_replaced(folder, spoil, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    spoil(folder)
    before = elsewhere.read_bytes() if elsewhere.exists() else None
    store = Store(folder, OWN)
    store.put(KEY, b"new")
    assert store.get(KEY) == b"new"
    assert (elsewhere.read_bytes() if elsewhere.exists() else None) == before


def test_one_that_is_only_read_stays_as_it_is(folder):
    store = Store(folder, OWN, mode=READ)
    store.put(KEY_2, b"new")
    assert store.get(KEY) == b"content"
    assert store.get(KEY_2) is None
    store.close()
    assert list(folder.iterdir()) == [entry(folder)]


def test_one_that_is_only_read_must_be_there(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        Store(tmp_path / "none", OWN, mode=READ)


def test_a_file_is_no_cache(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file: cannot be a cache: File exists"):
        Store(tmp_path / "file", OWN)


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    store = Store(tmp_path, OWN, most=30_000)
    keys = [f"{number:064x}" for number in range(6)]
    for number, key in enumerate(keys):
        store.put(key, os.urandom(8_000))
        os.utime(entry(tmp_path, key), (number, number))
    assert store.get(keys[0]) is not None  # which is a use
    (tmp_path / "notes.txt").write_text("the user's own")
    store.close()
    left = [key for key in keys if entry(tmp_path, key).exists()]
    assert left == [keys[0], *keys[4:]]
    assert (tmp_path / "notes.txt").exists()


def test_a_disk_that_is_full_is_no_error(folder, monkeypatch):
    def full(*_args, **_keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("convsv_cli.cache.store.tempfile.mkstemp", full)
    store = Store(folder, OWN)
    store.put(KEY_2, b"content")
    assert store.get(KEY_2) is None


def _write(folder: Path, start: int) -> None:
    store = Store(folder, OWN, mode=WRITE)
    for number in range(start, start + 60):
        store.put(f"{number:064x}", str(number).encode())
    store.close()


def test_two_processes_on_one_cache_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(tmp_path, start)) for start in (0, 30)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    store = Store(tmp_path, OWN)
    assert [store.get(f"{number:064x}") for number in range(90)] == [str(n).encode() for n in range(90)]
    assert len(list(tmp_path.iterdir())) == 90


def test_the_secret_is_made_once_and_is_nobody_elses(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    first = secret()
    assert len(first) == 64
    assert secret() == first
    (file,) = (tmp_path / "home" / "convsv").iterdir()
    assert file.name == "cache.key"
    assert file.stat().st_mode & 0o077 == 0


def test_the_secret_of_a_variable_counts(monkeypatch):
    monkeypatch.setenv(VARIABLE, "sixteen letters!")
    assert secret() == b"sixteen letters!"
    monkeypatch.setenv(VARIABLE, "short")
    with pytest.raises(UsageError, match="CONVSV_CACHE_KEY: a key that signs a cache has 16 to"):
        secret()


def test_without_a_place_for_the_secret_there_is_a_way(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="set CONVSV_CACHE_KEY"):
        secret()
