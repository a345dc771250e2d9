"""A subscription that Graph has already: found by one shared reading, replaced if ours, left alone if not."""

import asyncio
import json
from collections import Counter
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from services.mail_ingest.domain.kinds import EMAIL
from services.mail_ingest.graph.errors import GraphUnavailableError, SubscriptionRefusedError
from services.mail_ingest.graph.subscription_listing import SubscriptionListing
from shared.keys import MailboxKey
from tests.mail_ingest.graphs import ANN, NOW, create_graph

GRAPH = "https://graph.microsoft.com/v1.0"
HERE, ELSEWHERE = "127.0.0.1:18080", "test.contoso.com"
"""The environment of the default settings, and another one."""
PAGE = 100


class SubscribedGraph:
    """Graph with subscriptions of our application, which it lists by pages.

    Attributes:
        stored: notification URL by resource; the id of a subscription is its resource.
        requests: by method.
        readings: of the list.
        begun: set with the first reading.
        pause: each page waits for it.
    """

    def __init__(self) -> None:
        self.stored: dict[str, str] = {}
        self.requests: Counter[str] = Counter()
        self.readings = 0
        self.begun = asyncio.Event()
        self.pause = asyncio.Event()
        self.pause.set()
        self.graph = create_graph(self.respond)

    def store(self, owner: str, environment: str) -> None:
        resource = f"users/{owner}/messages"
        self.stored[resource] = f"https://x.example/graph/notifications?environment={environment}"

    async def respond(self, request: httpx2.Request) -> httpx2.Response:
        self.requests[request.method] += 1
        match request.method:
            case "POST":
                body = json.loads(request.content)
                if body["resource"] in self.stored:
                    return httpx2.Response(409, json={"error": {"code": "Conflict"}})
                self.stored[body["resource"]] = body["notificationUrl"]
                return httpx2.Response(201, json={"id": "new", **body})
            case "DELETE":
                del self.stored[request.url.path.partition("/subscriptions/")[2]]
                return httpx2.Response(204)
            case _:
                return await self._list(request)

    async def _list(self, request: httpx2.Request) -> httpx2.Response:
        after = request.url.params.get("$skiptoken", "")
        self.readings += not after
        self.begun.set()
        listed = sorted(resource for resource in self.stored if resource > after)
        await self.pause.wait()
        page: dict[str, Any] = {
            "value": [
                {"id": each, "resource": f"/{each.title()}", "notificationUrl": self.stored.get(each)}
                for each in listed[:PAGE]
            ]
        }
        if len(listed) > PAGE:
            page["@odata.nextLink"] = f"{GRAPH}/subscriptions?$skiptoken={listed[PAGE - 1]}"
        return httpx2.Response(200, json=page)

    async def subscribe(self, owner: str) -> None:
        await self.graph.subscriptions.create(MailboxKey(ANN.tenant, owner), EMAIL, "secret", NOW)

    def listing(self) -> SubscriptionListing:
        return self.graph.subscriptions._listing


async def test_subscription_of_the_own_environment_is_replaced() -> None:
    subscribed = SubscribedGraph()
    subscribed.store("ann", HERE)

    await subscribed.subscribe("ann")

    assert subscribed.requests == {"POST": 2, "GET": 1, "DELETE": 1}
    assert subscribed.stored["users/ann/messages"].startswith("http://127.0.0.1:18080/graph/notifications?")


@pytest.mark.parametrize("environment", [ELSEWHERE, ""])
async def test_subscription_of_another_environment_is_left_alone(environment: str) -> None:
    subscribed = SubscribedGraph()
    subscribed.store("ann", environment)

    with pytest.raises(SubscriptionRefusedError, match="another_environment"):
        await subscribed.subscribe("ann")

    assert subscribed.requests == {"POST": 1, "GET": 1}
    assert "users/ann/messages" in subscribed.stored


async def test_all_who_wait_share_one_paged_reading() -> None:
    subscribed = SubscribedGraph()
    owners = [f"user-{number}" for number in range(3 * PAGE)]
    for owner in owners:
        subscribed.store(owner, HERE)

    await asyncio.gather(*(subscribed.subscribe(owner) for owner in owners[:60]))

    assert subscribed.requests["DELETE"] == 60
    assert subscribed.readings <= 2, "one that had begun, and one for all who came meanwhile"


async def test_reading_keeps_only_what_is_waited_for() -> None:
    subscribed = SubscribedGraph()
    for number in range(2 * PAGE):
        subscribed.store(f"user-{number}", HERE)
    listing = subscribed.listing()
    found = asyncio.create_task(listing.find(ANN.tenant, "users/user-7/messages"))
    await asyncio.sleep(0)
    reading = listing._next[ANN.tenant].result

    assert [each.id for each in await found] == ["users/user-7/messages"]
    assert reading is not None
    assert list(await reading) == ["users/user-7/messages"]


async def test_subscription_is_looked_for_in_a_reading_that_began_later() -> None:
    subscribed = SubscribedGraph()
    subscribed.store("ann", HERE)
    subscribed.pause.clear()
    first = asyncio.create_task(subscribed.listing().find(ANN.tenant, "users/ann/messages"))
    await subscribed.begun.wait()
    subscribed.store("bo", HERE)
    second = asyncio.create_task(subscribed.listing().find(ANN.tenant, "users/bo/messages"))
    await asyncio.sleep(0)
    subscribed.pause.set()

    assert len(await first) == len(await second) == 1
    assert subscribed.readings == 2


async def test_one_who_waits_no_longer_harms_no_other() -> None:
    subscribed = SubscribedGraph()
    subscribed.store("bo", HERE)
    subscribed.pause.clear()
    first = asyncio.create_task(subscribed.listing().find(ANN.tenant, "users/ann/messages"))
    second = asyncio.create_task(subscribed.listing().find(ANN.tenant, "users/bo/messages"))
    await subscribed.begun.wait()

    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    subscribed.pause.set()

    assert len(await second) == 1


async def test_failure_of_a_reading_is_that_of_all_who_wait_and_of_nobody_later() -> None:
    statuses = [500] * 4
    graph = create_graph(
        lambda _: (
            httpx2.Response(statuses.pop(), json={"error": {"code": "x"}})
            if statuses
            else httpx2.Response(200, json={"value": []})
        )
    )
    listing = graph.subscriptions._listing

    errors = await asyncio.gather(
        *(listing.find(ANN.tenant, f"users/{name}/messages") for name in ("ann", "bo")),
        return_exceptions=True,
    )

    assert [type(error) for error in errors] == [GraphUnavailableError] * 2
    assert await listing.find(ANN.tenant, "users/ann/messages") == []
