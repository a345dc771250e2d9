"""Forwards TCP connections from one address to another: `port_forwarder.py 0.0.0.0:18445=127.0.0.1:18444 …`.

The simulator serves browsers on its loopback address alone, and sends notifications by plain http to its
loopback address alone. In containers that address is private to the simulator. This program runs on the same
address: it forwards a published port to the simulator's, and the simulator's notifications to mail-ingest.
"""  # noqa: INP001  # mounted into a container that may have no package but the standard library

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable

CHUNK_BYTES = 65_536
"""The largest number of bytes that one read takes."""

ConnectionHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def forward_to(host: str, port: int) -> ConnectionHandler:
    """Return a handler that connects to this address and copies bytes both ways until both sides end."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection(host, port)
        except OSError as error:
            print(f"{host}:{port} does not answer: {error}", file=sys.stderr, flush=True)  # noqa: T201  # a command
            writer.close()
            return
        await asyncio.gather(copy(reader, target_writer), copy(target_reader, writer))
        for side in (target_writer, writer):
            side.close()

    return handle


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy all bytes, then the end of the stream."""
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


def parse_address(text: str) -> tuple[str, int]:
    """Parse `host:port`."""
    host, _, port = text.rpartition(":")
    return host, int(port)


async def main(routes: list[str]) -> None:
    """Serve each route, `FROM=TO`, until the process is stopped."""
    servers = []
    for route in routes:
        source, _, target = route.partition("=")
        handler = forward_to(*parse_address(target))
        servers.append(await asyncio.start_server(handler, *parse_address(source)))
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
