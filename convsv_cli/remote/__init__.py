"""Models that are elsewhere: of files in a network, those parts are read that are asked for.

A remote model has a folder of its own on this machine, with an empty file for each of its files. Whoever
reads one asks `remote.files` for the bytes: they are fetched and kept there, once. Whoever does not ask finds
an empty file, never zeros in place of what was not fetched.

Nothing remote is looked at but what the user's own argument names, and files beside it that a model needs.
"""

from __future__ import annotations

from convsv_cli.remote.address import PROTOCOLS, address, beside, is_remote, public

__all__ = ["PROTOCOLS", "address", "beside", "is_remote", "public"]
