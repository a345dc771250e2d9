"""The public port: what Graph sends, what others try, and what then is on Kafka."""

from typing import cast

import httpx2

from services.mail_ingest.domain.subscriptions import Subscription
from services.mail_ingest.store import Store as IngestStore
from services.mail_ingest.webhook import Notification, Ours
from shared.events import Kind
from shared.topics import GRAPH_NOTIFICATIONS

from .world import World, eventually


async def hinted(world: World) -> list[tuple[tuple[str, ...], str]]:
    return [
        (message.key, getattr(message.value, "item", ""))
        for message in await world.table(GRAPH_NOTIFICATIONS).all()
    ]


async def test_the_handshake_answers_the_decoded_token_as_plain_text(world: World) -> None:
    for path in ("/graph/notifications", "/graph/lifecycle"):
        answer = httpx2.post(
            f"{world.ingest.webhook}{path}?validationToken=Validation%3A+Testing+%3Cb%3E+reachability"
        )
        assert (answer.status_code, answer.text) == (200, "Validation: Testing <b> reachability")
        assert answer.headers["content-type"].startswith("text/plain")


async def test_only_what_is_ours_goes_on_and_the_good_around_the_bad_arrives(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    good = world.notification

    statuses, _ = await world.post(
        [
            good(item="one"),
            {"subscriptionId": 7},
            "no notification",
            good(item="two", clientState="wrong"),
            good(item="three", subscriptionId="00000000-0000-0000-0000-000000000001"),
            good(item="four", clientState=None),
            {**good(item="five"), "resource": "Users/somebody-else/Messages/five", "tenantId": "another"},
        ]
    )

    assert statuses == [202]
    key = (world.tenant.id, ann)
    assert await hinted(world) == [(key, "one"), (key, "five")]
    assert world.ingest.metric("notifications_dropped_total") == 5


async def test_what_is_no_notification_is_refused(world: World) -> None:
    url = f"{world.ingest.webhook}/graph/notifications"

    assert httpx2.post(url, content=b"{not json").status_code == 400
    assert httpx2.post(url, json={"values": []}).status_code == 400
    assert httpx2.post(url, json={"value": "x"}).status_code == 400
    assert httpx2.post(url, content=b"[" * 100_000).status_code == 400
    large = [b"x" * 1024] * (5 * 1024)
    assert httpx2.post(url, content=b"".join(large)).status_code == 413
    assert httpx2.post(url, content=iter(large)).status_code == 413  # in chunks, its length not said
    assert httpx2.post(f"{world.ingest.webhook}/mailboxes").status_code == 404
    assert httpx2.get(f"{world.ingest.webhook}/health/live").status_code == 404
    assert await hinted(world) == []


async def test_a_subscription_that_is_named_while_we_look_is_recognised() -> None:
    """Not yet by its id, and no longer among those that wait for one: between two looks Graph has answered."""
    named = Subscription(key="1", owner="contoso/ann", kind=Kind.EMAIL, client_state="secret", graph_id="s1")

    class Store:
        looks = iter([None, named])

        async def subscription(self, _graph_id: str) -> Subscription | None:
            return next(self.looks)

        async def pending(self) -> list[Subscription]:
            return []

    ours = Ours(cast("IngestStore", Store()))
    assert await ours.find([Notification.model_validate({"subscriptionId": "s1"})]) == {"s1": [named]}


async def test_a_notification_before_graph_has_named_the_subscription_is_recognised(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    world.change_documents("subscriptions", {"kind": "email"}, {"graph_id": None})

    statuses, _ = await world.post([world.notification(item="early", subscriptionId="not-named-yet")])

    assert statuses == [202]
    await eventually(lambda: world.hinted("early"))
