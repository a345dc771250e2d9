"""The timeline API as its users call it, on any replica of tracking."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any, Self
from urllib.parse import quote

import httpx2

from deploy.local.system import System
from simulator.control.client import TenantControl

TIMEOUT_SECONDS = 5.0
"""Of one call. A user's browser waits longer; the load tries again."""

Answer = tuple[int | None, dict[str, Any]]
"""Status and body; None: no answer in time."""


@dataclass(frozen=True, slots=True)
class User:
    """A signed-in user."""

    oid: str
    address: str
    http: httpx2.AsyncClient


class Api:
    """Calls of the API; each goes to the next replica unless it names one."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._resources = AsyncExitStack()
        self._calls = count()
        self.answers: Counter[str] = Counter()
        """Status, and the reason of a 503 -> the number of answers."""

    @property
    def replicas(self) -> Sequence[str]:
        """The names of the replicas of tracking that exist from the beginning."""
        return ("tracking", "tracking-2")

    async def sign_in(self, tenant: TenantControl, address: str) -> User:
        """Add a user to the tenant, and sign the user in."""
        added = await asyncio.to_thread(tenant.user, address)
        token = await asyncio.to_thread(tenant.sign_in, address)
        client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
            verify=False,
        )
        return User(added["oid"], address, await self._resources.enter_async_context(client))

    async def timeline(self, user: User, record: str, *, replica: str = "", **query: str) -> Answer:
        """The user's timeline of a record `type/id`."""
        return await self._call(user, "GET", f"/records/{record}/timeline", replica, params=query)

    async def track(self, user: User, record: str, item: str) -> Answer:
        """Track a suggestion."""
        path = f"/records/{record}/suggestions/{quote(item, safe='')}/track"
        return await self._call(user, "POST", path, json={})

    async def untrack(self, user: User, record: str, activity: str) -> Answer:
        """Remove the user's entry from a tracked activity."""
        return await self._call(user, "DELETE", f"/records/{record}/tracked/{quote(activity, safe='')}")

    async def _call(self, user: User, method: str, path: str, replica: str = "", **more: Any) -> Answer:
        replica = replica or self.replicas[next(self._calls) % len(self.replicas)]
        url = f"{self._system[replica].url}/api/v1{path}"
        try:
            response = await user.http.request(method, url, **more)
        except httpx2.HTTPError as error:
            self.answers[type(error).__name__] += 1
            return None, {}
        body = response.json() if response.content else {}
        reason = f": {body['detail']}" if response.status_code == httpx2.codes.SERVICE_UNAVAILABLE else ""
        self.answers[f"{response.status_code}{reason}"] += 1
        return response.status_code, body

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()
