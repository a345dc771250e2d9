"""The public interface: notifications of Graph and of others, and the messages on Kafka."""

from typing import cast

import httpx2

from services.mail_ingest.domain.subscriptions import GraphSubscription
from services.mail_ingest.notifications.subscription_cache import SubscriptionCache
from services.mail_ingest.store.database import Store
from shared.events import ActivityKind
from shared.keys import MailboxKey
from tests.mail_ingest.world import World, eventually

PROBLEM = "application/problem+json"


async def test_handshake_returns_the_decoded_token_as_plain_text(world: World) -> None:
    for path in ("/graph/notifications", "/graph/lifecycle"):
        token = "validationToken=Validation%3A+Testing+%3Cb%3E+reachability"
        response = httpx2.post(f"{world.ingest.webhook_url}{path}?{token}")
        assert (response.status_code, response.text) == (200, "Validation: Testing <b> reachability")
        assert response.headers["content-type"].startswith("text/plain")


async def test_only_own_notifications_are_published_and_bad_ones_harm_no_others(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    world.remember_metrics("notifications_dropped_total")
    valid = world.notification

    statuses, _ = await world.post(
        [
            valid(item="one"),
            {"subscriptionId": 7},
            "not a notification",
            valid(item="two", clientState="wrong"),
            valid(item="three", subscriptionId="00000000-0000-0000-0000-000000000001"),
            valid(item="four", clientState=None),
            {**valid(item="five"), "resource": "Users/another-user/Messages/five", "tenantId": "another"},
        ]
    )

    assert statuses == [202]
    key = MailboxKey(world.tenant.id, ann)
    assert await world.notified_items() == [(key, "one"), (key, "five")]
    assert world.metric("notifications_dropped_total") == 5


async def test_body_that_is_not_a_collection_is_refused_with_a_problem(world: World) -> None:
    url = f"{world.ingest.webhook_url}/graph/notifications"
    large = [b"x" * 1024] * (5 * 1024)

    refused = [
        (400, httpx2.post(url, content=b"{not json")),
        (400, httpx2.post(url, json={"values": []})),
        (400, httpx2.post(url, json={"value": "x"})),
        (400, httpx2.post(url, content=b"[" * 100_000)),
        (413, httpx2.post(url, content=b"".join(large))),
        (413, httpx2.post(url, content=iter(large))),  # in chunks, without its length
        (404, httpx2.post(f"{world.ingest.webhook_url}/mailboxes")),
        (404, httpx2.get(f"{world.ingest.webhook_url}/health/live")),
    ]

    assert [response.status_code for _, response in refused] == [status for status, _ in refused]
    assert {response.headers["content-type"] for _, response in refused} == {PROBLEM}
    assert {response.json()["code"] for _, response in refused} == {"malformed", "too_large", "not_found"}
    assert await world.notified_items() == []


async def test_subscription_that_graph_names_during_the_look_up_is_found() -> None:
    """Between two look-ups Graph has answered: it is neither found by its id nor among the unnamed ones."""
    created = GraphSubscription("1", MailboxKey("contoso", "ann"), ActivityKind.EMAIL, "secret", "s1")

    class Subscriptions:
        results = iter([None, created])

        async def find_by_graph_id(self, _graph_id: str) -> GraphSubscription | None:
            return next(self.results)

        async def find_being_created(self) -> list[GraphSubscription]:
            return []

    class StubStore:
        subscriptions = Subscriptions()

    cache = SubscriptionCache(cast("Store", StubStore()))
    assert await cache.find_candidates(["s1"]) == {"s1": [created]}


async def test_notification_before_graph_has_named_the_subscription_is_published(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    graph_id = world.documents("subscriptions", kind="email")[0]["graph_id"]
    world.change_documents("subscriptions", {"kind": "email"}, {"graph_id": None})

    statuses, _ = await world.post([world.notification(item="early", subscriptionId="not-named-yet")])

    assert statuses == [202]

    async def is_published() -> bool:
        return (MailboxKey(world.tenant.id, ann), "early") in await world.notified_items()

    await eventually(is_published)
    world.change_documents("subscriptions", {"kind": "email"}, {"graph_id": graph_id})
