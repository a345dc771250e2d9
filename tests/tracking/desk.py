"""Users in front of a running tracking, each with a token."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx2

from services.tracking.domain.visibility import User
from services.tracking.signin import AuthorityKeys
from shared.clock import system_clock
from shared.keys import RecordKey

from .authority import URL, Authority
from .bus import Tracking
from .worlds import RENEWAL


class Desk:
    """Users in front of a running tracking."""

    def __init__(self, client: httpx2.AsyncClient, authority: Authority) -> None:
        self._client = client
        self._authority = authority

    async def request(self, user: User, method: str, path: str) -> httpx2.Response:
        now = int(datetime.now(UTC).timestamp())
        headers = self._authority.bearer(user, nbf=now - 10, exp=now + 3600)
        return await self._client.request(method, f"/api/v1{path}", headers=headers)

    async def track(self, user: User, item: str, record: RecordKey = RENEWAL) -> httpx2.Response:
        return await self.request(
            user, "POST", f"/records/{record.type}/{record.id}/suggestions/{item}/track"
        )

    async def tiles(self, user: User, record: RecordKey = RENEWAL) -> tuple[list[Any], list[Any]]:
        """(state, reason) of each suggestion of the user, and the users of each tracked tile's entries."""
        timeline = (await self.request(user, "GET", f"/records/{record.type}/{record.id}/timeline")).json()
        return [(tile["state"], tile["reason"]) for tile in timeline["suggestions"]], [
            [entry["by"] for entry in tile["regarding"]] for tile in timeline["tracked"]
        ]


def keys_of(authority: Authority) -> AuthorityKeys:
    """What tracking reads of an authority."""
    return AuthorityKeys(URL, system_clock, transport=authority.transport)


@contextlib.asynccontextmanager
async def a_desk(tracking: Tracking, authority: Authority) -> AsyncIterator[Desk]:
    """Users of a tracking in this process."""
    transport = httpx2.ASGITransport(tracking.service.http[0].app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://tracking") as client:
        yield Desk(client, authority)
