"""A process that has imported what commands need, and goes on as a new one for each run of `convsv`.

    python -m tests.support.fork_server SOCKET

It has to be small: what Linux says of a process's memory begins with what its parent held when it was born.
It ends with its stdin. Requests are JSON behind one byte, with which stdin, stdout and stderr come; the
answer is the exit code (negative where a signal ended the run), seconds of processors and peak memory.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import sys

import convsv_cli.api
import convsv_cli.loaders.checkpoint.reading
import convsv_cli.loaders.onnx.reading  # noqa: F401
from convsv_cli.cli import main


def received(connection: socket.socket) -> tuple[dict, list[int]]:
    """The request, and the streams that came with it."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as file:
        return json.loads(file.read()), streams


def become(request: dict, streams: list[int]) -> None:
    """Have this process be the one that was asked for."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    signal.alarm(request["seconds"])
    sys.argv = ["convsv", *request["arguments"]]


def run(*, whole: bool) -> None:
    """The command; unless the whole end of Python is asked for, which takes half a second, without it."""
    code = 70
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
        if whole:
            raise
    finally:
        if not whole:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def answer_those_that_ended(running: dict[int, socket.socket]) -> None:
    """And forget them."""
    while running:
        child, status, usage = os.wait4(-1, os.WNOHANG)
        if not child:
            return
        seconds = usage.ru_utime + usage.ru_stime
        outcome = [os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss]
        with running.pop(child) as connection:
            connection.sendall(json.dumps(outcome).encode())


def served(listener: socket.socket) -> dict | None:
    """In each process that is born, its request; in this one, nothing, when stdin has ended."""
    running: dict[int, socket.socket] = {}
    woken, waking = socket.socketpair()
    waking.setblocking(False)
    signal.set_wakeup_fd(waking.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as events:
        for each in (listener, woken, sys.stdin):
            events.register(each, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in events.select()}
            if woken in ready:
                woken.recv(1024)
                answer_those_that_ended(running)
            if sys.stdin in ready:
                return None
            if listener in ready:
                connection, _ = listener.accept()
                request, streams = received(connection)
                child = os.fork()
                if not child:
                    signal.set_wakeup_fd(-1)
                    for each in (woken, waking, connection, *running.values()):
                        each.close()
                    become(request, streams)
                    return request
                running[child] = connection
                for stream in streams:
                    os.close(stream)


if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen()
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        gc.freeze()
        request = served(listener)
    if request is not None:
        run(whole=request["whole"])
