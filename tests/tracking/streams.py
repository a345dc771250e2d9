"""Streams as a page hears them: piece by piece, until it hangs up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any

from services.tracking.domain.visibility import User

from .conftest import World


class Heard:
    """What came through an open stream so far."""

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

    async def until_met(self, met: Callable[["Heard"], object], seconds: float = 5) -> None:
        """Until this is true of it."""
        async with asyncio.timeout(seconds):
            while not met(self):
                await self._more.wait()
                self._more.clear()

    async def until(self, *events: str, seconds: float = 10) -> None:
        """Until exactly these have been heard; others too soon are a failure."""
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
async def listening(world: World, user: User, path: str) -> AsyncIterator[Heard]:
    """An open stream; the client hangs up at the end."""
    headers = world.authority.bearer(user, exp=int(world.time().timestamp()) + 3600)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "method": "GET",
        "path": f"/api/v1{path}",
        "raw_path": f"/api/v1{path}".encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    heard, hung_up, asked = Heard(), asyncio.Event(), False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await hung_up.wait()
        return {"type": "http.disconnect"}

    answering = asyncio.create_task(world.service.http[0][2](scope, receive, heard.send))
    try:
        yield heard
    finally:
        hung_up.set()
        async with asyncio.timeout(5):
            await answering


async def beginning(world: World, user: User, path: str) -> tuple[int, bytes]:
    """Status and body of a stream up to its first event, or of what is answered instead."""
    async with listening(world, user, path) as heard:
        await heard.until_met(lambda heard: heard.body)
    return heard.status, heard.body
