"""What was computed before, in a folder: signed entries, by what they depend on.

A cache may be written by several processes at once, by other versions, and by others than the user. An entry
is only believed where its signature shows that this user's convsv wrote it, for this key; all else is as if
it were not there, and is counted.
"""

from __future__ import annotations

from convsv_cli.cache.key import fingerprint, key_of
from convsv_cli.cache.store import READ, SIZE, WRITE, Entries, Store, secret

__all__ = ["READ", "SIZE", "WRITE", "Entries", "Store", "fingerprint", "key_of", "open_cache"]


def open_cache(folder: str, *, mode: str = WRITE, most: float = SIZE) -> Store:
    """The cache in a folder, which is made where there is none and it may be written.

    Args:
        folder: where the entries are.
        mode: `READ` or `WRITE`, which reads, too.
        most: bytes of all entries, of which those that were not used for longest go first.

    Raises:
        UsageError: the folder cannot be one, or there is no place for the secret that signs entries.
    """
    return Store(folder, secret(), mode=mode, most=most)
