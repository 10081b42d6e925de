"""One command on a host of a Ray cluster, as a program here: ``ray_pipe.py SOCKET HOST WORD...``.

Its standard input, output and errors are those of the command, and its exit status is the
command's, or 255 if the host is lost. It connects to `paretune.targets.launchers.ray_broker`
at a Unix socket. Only the standard library is imported, so that it starts within milliseconds.
"""

import contextlib
import json
import os
import socket
import sys
import threading

LOST = 255
"""Exit status: the host cannot be reached, or was lost."""
_PIECE = 1 << 19


def main(place: str, host: str, *words: str) -> int:
    """Run a command to its end; returns the exit status."""
    try:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(place)
        connection.sendall(json.dumps({"host": host, "command": words}).encode() + b"\n")
    except OSError as error:
        return _lost(f"the Ray client process is gone: {error.strerror}")
    threading.Thread(target=_send, args=(connection,), daemon=True).start()
    with connection, connection.makefile("rb") as stream:
        while len(header := stream.read(5)) == 5:
            kind, size = header[:1], int.from_bytes(header[1:], "big")
            content = stream.read(size)
            if kind == b"x":
                status = int(content)
                return status if status >= 0 else 128 - status
            _write(1 if kind == b"o" else 2, content)
    return _lost("the Ray client process has ended")


def _send(connection: socket.socket) -> None:
    """Pass standard input on, to its end."""
    with contextlib.suppress(OSError):
        while piece := os.read(0, _PIECE):
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)


def _write(stream: int, content: bytes) -> None:
    while content:
        content = content[os.write(stream, content) :]


def _lost(why: str) -> int:
    print(why, file=sys.stderr)
    return LOST


if __name__ == "__main__":
    try:
        status = main(*sys.argv[1:])
    except BrokenPipeError:  # nobody reads what the command says
        status = LOST
    sys.stdout.flush()
    os._exit(status)  # the thread may still wait for standard input
