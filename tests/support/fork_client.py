"""`convsv` for shells, by a process of `fork_server` that has imported what it needs.

    python fork_client.py SOCKET ARGUMENTS...

The command has the arguments, the streams, the folder and the environment of this process.
"""

import json
import os
import socket
import sys


def main() -> int:
    """What it exits with; 128 and the signal that ended it, as shells have it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
        request = {
            "arguments": sys.argv[2:],
            "folder": os.getcwd(),  # noqa: PTH109  (pathlib takes longer to import than all of this)
            "environment": dict(os.environ),
            "seconds": 600,
            "whole": True,
        }
        socket.send_fds(connection, [b" "], [0, 1, 2])
        connection.sendall(json.dumps(request).encode())
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as file:
            code, *_ = json.load(file)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
