"""Streams as a page receives them: piece by piece, until the client disconnects."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any

from services.tracking.domain.visibility import User

from .conftest import World


class ReceivedStream:
    """What an open stream has delivered so far."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.ended = False
        self._more = asyncio.Event()

    @property
    def events(self) -> list[str]:
        return [
            line.removeprefix("event: ")
            for line in self.body.decode().splitlines()
            if line.startswith("event: ")
        ]

    async def until_met(self, met: Callable[["ReceivedStream"], object], seconds: float = 5) -> None:
        """Waits until this is true of the stream."""
        async with asyncio.timeout(seconds):
            while not met(self):
                await self._more.wait()
                self._more.clear()

    async def until(self, *events: str, seconds: float = 10) -> None:
        """Waits until exactly these events have been received; any other order fails."""
        async with asyncio.timeout(seconds):
            while self.events != list(events):
                assert self.events == list(events)[: len(self.events)], self.events
                await self._more.wait()
                self._more.clear()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")
        self.ended = message["type"] == "http.response.body" and not message.get("more_body", False)
        self._more.set()


@contextlib.asynccontextmanager
async def open_stream(world: World, user: User, path: str) -> AsyncIterator[ReceivedStream]:
    """An open stream; the client disconnects at the end."""
    headers = world.authority.bearer(user, exp=int(world.clock().timestamp()) + 3600)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "method": "GET",
        "path": f"/api/v1{path}",
        "raw_path": f"/api/v1{path}".encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    received, disconnected, request_sent = ReceivedStream(), asyncio.Event(), False

    async def receive() -> dict[str, Any]:
        nonlocal request_sent
        if not request_sent:
            request_sent = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await disconnected.wait()
        return {"type": "http.disconnect"}

    answering = asyncio.create_task(world.service.http[0].app(scope, receive, received.send))
    try:
        yield received
    finally:
        disconnected.set()
        async with asyncio.timeout(5):
            await answering


async def first_event(world: World, user: User, path: str) -> tuple[int, bytes]:
    """Status and body of a stream up to its first event, or of the response in its place."""
    async with open_stream(world, user, path) as received:
        await received.until_met(lambda received: received.body)
    return received.status, received.body
