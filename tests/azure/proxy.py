"""A proxy on loopback, by which the names of Azure's hosts lead to servers of a test's own.

Whoever follows HTTPS_PROXY reaches nothing else: any other host is refused, and noted.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PIECE = 1 << 16


class Proxy(ThreadingHTTPServer):
    """Serves CONNECT.

    Args:
        port_of: Returns the port of a host on this machine; None: it is refused.
    """

    daemon_threads = True

    def __init__(self, port_of: Callable[[str], int | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port_of = port_of
        self.refused: list[str] = []
        self.cut = False
        """While it is true, no new connection is made: the network is down."""
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """End it."""
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_CONNECT(self) -> None:
        host = self.path.partition(":")[0]
        port = None if self.server.cut else self.server.port_of(host)
        if port is None:
            self.server.refused.append(self.path)
            self.send_error(502, "not reached")
            return
        with socket.create_connection(("127.0.0.1", port)) as there:
            self.send_response(200)
            self.end_headers()
            one = threading.Thread(target=_pump, args=(there, self.connection), daemon=True)
            one.start()
            _pump(self.connection, there)
            one.join()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
