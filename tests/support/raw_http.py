"""HTTP as a stranger may send it: byte by byte, unfinished, malformed."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

RESPONSE_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A response; status 0: the connection was closed without one."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of its problem."""
        return str(json.loads(self.body)["code"])


class RawConnection:
    """A TCP connection to an HTTP server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes, pause: float = 0.0) -> None:
        """Sends bytes, with a pause after each part; ends silently when the server has closed."""
        with contextlib.suppress(ConnectionError):
            for part in parts:
                self.writer.write(part)
                await self.writer.drain()
                if pause:
                    await asyncio.sleep(pause)

    async def response(self) -> RawResponse:
        """The next response."""
        async with asyncio.timeout(RESPONSE_TIMEOUT):
            try:
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head[1:])
                }
                body = await self.reader.readexactly(int(headers.get("content-length", 0)))
            except (asyncio.IncompleteReadError, ConnectionError):
                return RawResponse(0, {}, b"")
        return RawResponse(int(head[0].split()[1]), headers, body)

    async def is_closed(self, within: float = RESPONSE_TIMEOUT) -> bool:
        """Whether the server closes the connection; what it still sends is ignored."""
        try:
            async with asyncio.timeout(within):
                while await self.reader.read(65536):
                    pass
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True


@contextlib.asynccontextmanager
async def raw_connection(url: str, **options: Any) -> AsyncIterator[RawConnection]:
    """A connection to the server at this address."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, **options)
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()


def head(path: str = "/", *, method: str = "POST", **headers: str | int) -> bytes:
    """The first line and the headers of a request; `content_length` is Content-Length."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n".encode()


def chunk(content: bytes) -> bytes:
    """A part of a body without a length."""
    return b"%x\r\n%s\r\n" % (len(content), content)
