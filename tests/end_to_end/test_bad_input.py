"""Bad input at every interface gets a clear answer, and good input around it arrives."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from aiokafka import AIOKafkaProducer

from deploy.local.stack import LocalStack
from shared.topics import (
    ACTIVITIES,
    CONTENT,
    CONTENT_REQUESTS,
    GRAPH_NOTIFICATIONS,
    MAILBOXES,
    MATCHES,
    RECORDS,
    Topic,
)
from simulator.entra.tokens import INVALID_TOKEN_KINDS
from tests.support import forks

from .waiting import wait_until
from .world import PLAIN_HTTP, User, World, running_world, suggestion_path

pytestmark = pytest.mark.timeout(300)  # a whole system starts first, on a busy machine

CARLA = "carla@fabrikam.example"
DEAL = ("opportunity", "renewal")
SECRET = "text that may not appear elsewhere"


@dataclass
class Office:
    """Ann, whose mail from Carla is regarding the deal."""

    world: World
    ann: User
    producer: AIOKafkaProducer
    _sent: int = 0

    async def write(
        self, topic: Topic[Any, Any], key: bytes | None, value: bytes | None, **headers: bytes
    ) -> None:
        """Writes a message to one of our topics, as a foreign client."""
        name = self.world.system.prefix + topic.name
        await self.producer.send_and_wait(
            name, value, key=key, headers=list(headers.items()), partition=0 if key is None else None
        )

    async def check_mail_arrives(self) -> None:
        """Sends a mail from Carla, and waits until it is a suggestion on the deal."""
        self._sent += 1
        subject = f"Good mail no. {self._sent}"
        await self.world.send_mail(CARLA, self.ann, subject=subject, text="Hello")
        await self.ann.wait_for_suggestion(*DEAL, subject)

    async def post(self, body: bytes) -> httpx2.Response:
        """Posts to the public port, as a stranger."""
        async with httpx2.AsyncClient(**PLAIN_HTTP) as client:
            port = self.world.system["mail-ingest"].ports["MAIL_INGEST_WEBHOOK_LISTEN"]
            return await client.post(
                f"http://127.0.0.1:{port}/graph/notifications",
                content=body,
                headers={"content-type": "application/json"},
            )

    async def count_dropped(self, reason: str) -> float:
        """The number of notifications that mail-ingest has dropped for this reason."""
        metrics = (await asyncio.to_thread(self.world.system["mail-ingest"].get, "/metrics")).text
        found = re.search(rf'^notifications_dropped_total{{reason="{reason}"}} (\S+)$', metrics, re.MULTILINE)
        return float(found[1]) if found else 0.0


@pytest.fixture(scope="module")
async def office(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    async with running_world(
        stack, tmp_path_factory.mktemp("system"), env_of={"mail-ingest": {"MAIL_INGEST_RECONCILE": "false"}}
    ) as world:
        await world.publish_and_wait(
            {"type": "contact", "id": "carla", "name": "Carla", "emails": [CARLA]},
            {"type": DEAL[0], "id": DEAL[1], "name": "Fleet renewal", "contact_id": "carla"},
        )
        async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap) as producer:
            yield Office(world, await world.add_user("ann@contoso.example"), producer)


# -- the webhook ----------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"value": 1}', b"\xff\xfe"])
async def test_malformed_body_is_a_400(office: Office, body: bytes) -> None:
    assert (await office.post(body)).status_code == 400
    await office.check_mail_arrives()


async def test_foreign_notifications_are_dropped_and_own_ones_accepted(office: Office) -> None:
    world, ann = office.world, office.ann
    [sent] = await world.send_mail(CARLA, ann, subject="Named twice", text="Hello")
    await ann.wait_for_suggestion(*DEAL, "Named twice")
    subscription = world.database("mail_ingest").subscriptions.find_one(
        {"owner": f"{world.tenant.id}/{ann.oid}", "kind": "email"}
    )
    assert subscription
    good = {
        "subscriptionId": subscription["graph_id"],
        "clientState": subscription["client_state"],
        "changeType": "created",
        "resourceData": {"id": sent.item},
    }
    bad = {
        "wrong client state": good | {"clientState": "guessed", "resourceData": {"id": "A"}},
        "unknown subscription": good | {"subscriptionId": "guessed", "resourceData": {"id": "B"}},
        "malformed": {"subscriptionId": 7, "resourceData": {"id": "C"}},
        "no item": {name: value for name, value in good.items() if name != "resourceData"},
    }
    before = {reason: await office.count_dropped(reason) for reason in bad}
    await world.wait_until_idle()  # Graph also notifies of the first update of a message
    await world.topics.catch_up()
    published = len(world.topics.log[GRAPH_NOTIFICATIONS.name])

    response = await office.post(json.dumps({"value": [*bad.values(), good]}).encode())

    assert response.status_code == 202, "a caller who guesses learns nothing"
    dropped = {reason: await office.count_dropped(reason) - before[reason] for reason in bad}
    assert dropped == dict.fromkeys(bad, 1)
    await world.topics.catch_up()
    [notification] = world.topics.log[GRAPH_NOTIFICATIONS.name][published:]
    assert json.loads(notification.value or b"")["item"] == sent.item, "only the good one is on Kafka"
    await office.check_mail_arrives()


# -- records --------------------------------------------------------------------------------------

GOOD = {"type": "account", "id": "good", "name": SECRET}


@pytest.mark.parametrize(
    "key, change, field",
    [
        ("{tenant}/account/bad", None, ""),
        ("{tenant}/account/bad", {}, "id"),
        ("{tenant}/lead/good", {}, "type"),
        ("another/account/good", {}, "tenant"),
        ("{tenant}/account/good", {"emails": ["a@b.example", 7]}, "emails.1"),
        ("{tenant}/account/good", {"primary_contact_id": "a/b"}, "primary_contact_id"),
        ("no key at all", {}, "key"),
    ],
)
async def test_bad_record_is_dead_lettered_and_good_ones_around_it_arrive(
    office: Office, key: str, change: dict[str, object] | None, field: str
) -> None:
    world = office.world
    tenant = world.tenant.id
    value = (
        b'{"type": "account", ' + SECRET.encode()
        if change is None
        else json.dumps({"tenant": tenant, **GOOD, **change}).encode()
    )
    letters = len(world.topics.dead_letters(RECORDS))
    around = [f"before-{letters}", f"after-{letters}"]

    await world.publish({"type": "project", "id": around[0], "name": "Before"})
    await office.write(RECORDS, key.format(tenant=tenant).encode(), value)
    await world.publish({"type": "project", "id": around[1], "name": "After"})

    await wait_until(lambda: len(world.topics.dead_letters(RECORDS)) > letters)
    assert await dead_letter_field(office, RECORDS, key.format(tenant=tenant).encode(), value) == field
    for id_ in around:
        await wait_until(lambda id_=id_: has_record(office, id_))  # type: ignore[misc]
    await office.check_mail_arrives()


async def has_record(office: Office, id_: str) -> bool:
    return (await office.ann.request("GET", f"/records/project/{id_}/timeline")).status_code == 200


async def dead_letter_field(office: Office, topic: Topic[Any, Any], key: bytes, value: bytes | None) -> str:
    """Checks the last dead letter of a topic. Returns the field that it names."""
    topics = office.world.topics
    await topics.catch_up()
    key_there, value_there, headers = topics.dead_letters(topic)[-1]
    original = [record for record in topics.log[topic.name] if (record.key, record.value) == (key, value)][-1]
    assert (key_there, value_there) == (key, value if topic is not CONTENT else None)
    assert headers["dead_letter_topic"] == original.topic
    assert (int(headers["dead_letter_partition"]), int(headers["dead_letter_offset"])) == (
        original.partition,
        original.offset,
    )
    assert headers["dead_letter_error"]
    assert SECRET not in repr(headers), "no header holds a value"
    return headers["dead_letter_field"]


# -- our own topics -------------------------------------------------------------------------------


def _owner(office: Office) -> bytes:
    return f"{office.world.tenant.id}/{office.ann.oid}".encode()


BROKEN = b'{"subject": "%s", ' % SECRET.encode()
OWN_TOPICS: dict[Topic[Any, Any], tuple[str, Callable[[Office], bytes]]] = {
    GRAPH_NOTIFICATIONS: ("autocapture.item.notified", _owner),
    ACTIVITIES: ("autocapture.activity.captured", lambda office: _owner(office) + b"/item"),
    MATCHES: ("autocapture.activity.matched", lambda office: _owner(office) + b"/item"),
    MAILBOXES: ("autocapture.mailbox.changed", _owner),
    CONTENT_REQUESTS: ("autocapture.content.fetch", _owner),
    CONTENT: ("autocapture.content.answered", _owner),
}
"""Topic -> the type that its broken message declares, and the function that returns its key."""


@pytest.mark.parametrize("topic", OWN_TOPICS, ids=lambda topic: topic.name)
async def test_broken_message_is_dead_lettered_and_good_ones_around_it_arrive(
    office: Office, topic: Topic[Any, Any]
) -> None:
    world = office.world
    kind, key_of = OWN_TOPICS[topic]
    await office.check_mail_arrives()
    for value, ce_type, field in ((BROKEN, kind.encode(), ""), (b"{}", b"autocapture.nothing", "ce_type")):
        letters = len(world.topics.dead_letters(topic))
        await office.write(topic, key_of(office), value, ce_type=ce_type)
        await wait_until(lambda before=letters: len(world.topics.dead_letters(topic)) > before)  # type: ignore[misc]
        assert await dead_letter_field(office, topic, key_of(office), value) == field
    await office.check_mail_arrives()
    await check_track_succeeds(office)
    assert all(
        dict(record.headers).get("dead_letter_error") for record in world.topics.log[topic.dead_letters]
    )


async def check_track_succeeds(office: Office) -> None:
    """Tracks one of Ann's mails: this sends a content request and a content."""
    [tile, *_] = [
        tile for tile in (await office.ann.timeline(*DEAL))["suggestions"] if tile["state"] == "untracked"
    ]
    before = (await office.ann.tiles(*DEAL))[1]
    response = await office.ann.request("POST", suggestion_path(*DEAL, tile["item"], "track"))
    assert response.status_code == 202

    async def is_tracked() -> bool:
        return len((await office.ann.tiles(*DEAL))[1]) == len(before) + 1

    await wait_until(is_tracked)


@pytest.mark.parametrize(
    "topic, field", [(ACTIVITIES, "item"), (MATCHES, "activity.item")], ids=["activities", "matches"]
)
async def test_message_whose_key_and_body_disagree_is_dead_lettered(
    office: Office, topic: Topic[Any, Any], field: str
) -> None:
    world = office.world
    await office.check_mail_arrives()
    good = next(
        record
        for record in reversed(world.topics.log[topic.name])
        if record.value not in {None, BROKEN, b"{}"}
    )
    letters, key = len(world.topics.dead_letters(topic)), _owner(office) + b"/another-item"
    await office.write(topic, key, good.value, **dict(good.headers))
    await wait_until(lambda: len(world.topics.dead_letters(topic)) > letters)
    assert await dead_letter_field(office, topic, key, good.value) == field
    await office.check_mail_arrives()


# -- the API and the internal port ----------------------------------------------------------------


@pytest.mark.parametrize("kind", [*INVALID_TOKEN_KINDS, "none", "nonsense", "basic"])
async def test_invalid_token_is_a_401(office: Office, kind: str) -> None:
    if kind in INVALID_TOKEN_KINDS:
        token = await asyncio.to_thread(office.world.tenant.mint, office.ann.address, kind)
        headers = {"Authorization": f"Bearer {token}"}
    else:
        headers = {
            "none": {},
            "nonsense": {"Authorization": "Bearer a.b.c"},
            "basic": {"Authorization": "Basic YW5uOmFubg=="},
        }[kind]
    async with httpx2.AsyncClient(
        base_url=office.world.system["tracking"].url, headers=headers, **PLAIN_HTTP
    ) as stranger:
        for path in (
            "/me",
            f"/records/{DEAL[0]}/{DEAL[1]}/timeline",
            "/records/opportunity/was-never-there/timeline",
        ):
            response = await stranger.get(f"/api/v1{path}")
            assert response.status_code == 401, f"{response.status_code} {response.text}"
            assert response.json()["code"] == "unauthorized"
            assert response.headers["www-authenticate"].startswith("Bearer")
    assert (await office.ann.request("GET", "/me")).status_code == 200


async def test_internal_port_requires_the_service_token(office: Office) -> None:
    requests: list[Callable[[httpx2.AsyncClient], Awaitable[httpx2.Response]]] = [
        lambda client: client.get("/mailboxes"),
        lambda client: client.post(
            "/mailboxes", json={"tenant": office.world.tenant.id, "mailbox": office.ann.oid}
        ),
        lambda client: client.delete(f"/mailboxes/{office.world.tenant.id}/{office.ann.oid}"),
        lambda client: client.post(
            "/previews",
            json={"tenant": office.world.tenant.id, "mailbox": office.ann.oid, "item": "x", "kind": "email"},
        ),
    ]
    for headers in ({}, {"Authorization": "Bearer guessed"}, dict(office.ann.http.headers)):
        async with httpx2.AsyncClient(
            base_url=office.world.system["mail-ingest"].url, headers=headers, **PLAIN_HTTP
        ) as stranger:
            for request in requests:
                assert (await request(stranger)).status_code == 401
    await office.check_mail_arrives()


# -- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module, setting, value",
    [
        ("services.mail_ingest", "MAIL_INGEST_LEASE", "PT0S"),
        ("services.mail_ingest", "MAIL_INGEST_WORKERS", "0"),
        ("services.mail_ingest", "SERVICE_TOKEN", SECRET[:8]),
        ("services.matcher", "MATCHER_FOREIGN_WRITE_CHECK_EVERY", "PT0S"),
        ("services.matcher", "KAFKA_REPLICATION", "2"),
        ("services.matcher", "MATCHER_RULES_FILE", "/no/such/file.toml"),
        ("services.tracking", "TRACKING_PENDING_TIMEOUT", "P2D"),
        ("services.tracking", "TRACKING_TENANTS", SECRET),
        *(
            (module, "PORT", "70000")
            for module in ("services.mail_ingest", "services.matcher", "services.tracking")
        ),
    ],
)
async def test_setting_out_of_range_stops_the_start_and_is_named(
    module: str, setting: str, value: str
) -> None:
    env = os.environ | {setting: value}
    ran = await asyncio.to_thread(forks.run, module, env=env)
    assert ran.returncode == 2, ran.stderr
    [line] = ran.stderr.splitlines()
    assert line.startswith(f"bad setting {setting}: ")
    assert SECRET[:8] not in line
