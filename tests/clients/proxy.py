"""An HTTP proxy that connects Microsoft's two host names with the simulator, and nothing else.

A client that runs behind a company's proxy is configured by `HTTPS_PROXY`. With this one it connects to
`graph.microsoft.com` and `login.microsoftonline.com` as its own code names them, and reaches the simulator.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOSTS = frozenset(("graph.microsoft.com:443", "login.microsoftonline.com:443"))
"""The addresses that the proxy connects; any other is refused, so that no client leaves this machine."""

CHUNK = 65_536


class Proxy:
    """A running proxy: its address, and the addresses that it refused."""

    def __init__(self, url: str, refused: list[str]) -> None:
        self.url = url
        self.refused = refused


@contextlib.contextmanager
def running_proxy(target: tuple[str, int]) -> Iterator[Proxy]:
    """Run the proxy on a free port while the context is open; `target` is the simulator's host and port."""
    refused: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            self.close_connection = True
            if self.path not in HOSTS:
                refused.append(self.path)
                self.send_error(403)
                return
            with socket.create_connection(target) as upstream:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=_copy, args=(upstream, self.connection))
                back.start()
                _copy(self.connection, upstream)
                back.join()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Proxy(f"http://127.0.0.1:{server.server_address[1]}", refused)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Copy bytes until one side closes, then close the other direction."""
    with contextlib.suppress(OSError):
        while content := source.recv(CHUNK):
            sink.sendall(content)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
