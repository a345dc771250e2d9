"""The public interface: notifications of Graph and of others, and the messages on Kafka."""

from typing import cast

import httpx2

from services.mail_ingest.domain.subscriptions import GraphSubscription
from services.mail_ingest.notifications.subscription_cache import SubscriptionCache
from services.mail_ingest.store.database import Store
from shared.events import ActivityKind
from shared.keys import MailboxKey
from tests.mail_ingest.world import World, eventually


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


async def test_subscription_that_graph_names_during_the_look_up_is_found() -> None:
    """Between two look-ups Graph has answered: it is neither found by its id nor among the unnamed ones."""
    created = GraphSubscription("1", MailboxKey("contoso", "ann"), ActivityKind.EMAIL, "secret", "s1")

    class Subscriptions:
        results = iter([[], [created]])

        async def find_notified(self, *_: object) -> list[GraphSubscription]:
            return next(self.results)

    class StubStore:
        subscriptions = Subscriptions()

    cache = SubscriptionCache(cast("Store", StubStore()))
    assert await cache.find_candidates({"s1": {"secret"}}) == {"s1": [created]}


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
