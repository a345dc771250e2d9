"""Lets connections through from one address to another: `door.py 0.0.0.0:18445=127.0.0.1:18444 …`.

The simulator shows its page to its own host alone, and notifies by plain http its own host alone, as it
should. Among containers nobody else is on that host, so this is: on one side it lets a published port
in, on the other it lets notifications out.
"""  # noqa: INP001  # mounted into a container, where nothing but the standard library is sure to be

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable

PIECE = 65_536
"""Bytes that are passed on at once."""

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def to(host: str, port: int) -> Serve:
    """What is done with a connection: another one is made to this address, and bytes go both ways until both sides have ended."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inward, outward = await asyncio.open_connection(host, port)
        except OSError as away:
            print(f"{host}:{port} does not answer: {away}", file=sys.stderr, flush=True)  # noqa: T201  # a program of its own
            writer.close()
            return
        await asyncio.gather(passed(reader, outward), passed(inward, writer))
        for side in (outward, writer):
            side.close()

    return serve


async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes on what is read, and then that it has ended."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


def address(text: str) -> tuple[str, int]:
    """`host:port`."""
    host, _, port = text.rpartition(":")
    return host, int(port)


async def main(ways: list[str]) -> None:
    """Every way, until it is stopped."""
    servers = []
    for way in ways:
        here, _, there = way.partition("=")
        servers.append(await asyncio.start_server(to(*address(there)), *address(here)))
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
