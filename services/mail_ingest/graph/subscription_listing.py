"""Finds the subscriptions that Graph has for a resource: one reading of a list serves all who wait."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TypeAlias

from shared.keys import MailboxKey

from .client import GraphClient

NO_MAILBOX = ""
"""The requests of a reading are of no mailbox: they have a limit of their own."""


@dataclass(frozen=True, slots=True)
class ListedSubscription:
    """A subscription of our application, as Graph lists it."""

    id: str
    notification_url: str


Listed: TypeAlias = dict[str, list[ListedSubscription]]
"""Resource -> its subscriptions."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """A reading that has not begun yet.

    Attributes:
        resources: what is looked for; nothing else of the list is kept.
        result: of the reading.
    """

    resources: set[str]
    result: "asyncio.Task[Listed]"


class SubscriptionListing:
    """The lists of the application's subscriptions, a list for each tenant.

    Graph has no query by resource, and a list has thousands of entries. At most one reading of a tenant is
    in progress; callers that come meanwhile wait for the next one, which serves all of them: a reading that
    began before may lack what Graph has refused for.

    Args:
        client: of Graph.
    """

    def __init__(self, client: GraphClient) -> None:
        self._client = client
        self._next: dict[str, _Reading] = {}
        self._in_progress: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def find(self, tenant: str, resource: str) -> list[ListedSubscription]:
        """The subscriptions for a resource at a time after this call.

        Raises:
            GraphUnavailableError, MailboxBlockedError: see `GraphClient.pages`.
        """
        reading = self._next.get(tenant)
        if reading is None:
            resources: set[str] = set()
            result = asyncio.create_task(self._read(tenant, resources), name="list subscriptions")
            result.add_done_callback(_observe)
            reading = self._next[tenant] = _Reading(resources, result)
        reading.resources.add(_comparable(resource))
        # One that waits may be cancelled; the others still wait.
        return (await asyncio.shield(reading.result)).get(_comparable(resource), [])

    async def _read(self, tenant: str, resources: set[str]) -> Listed:
        async with self._in_progress[tenant]:
            del self._next[tenant]
            found: Listed = {}
            pages = self._client.pages("subscriptions", MailboxKey(tenant, NO_MAILBOX), "subscriptions", {})
            async for each in pages:
                resource = _comparable(str(each.get("resource")))
                if resource in resources:
                    listed = ListedSubscription(str(each["id"]), str(each.get("notificationUrl")))
                    found.setdefault(resource, []).append(listed)
            return found


def _comparable(resource: str) -> str:
    return resource.strip("/").lower()


def _observe(reading: "asyncio.Task[Listed]") -> None:
    """Takes the error of a reading for which nobody waits any more."""
    if not reading.cancelled():
        reading.exception()
