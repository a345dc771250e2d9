"""Bad input at every door: each is answered clearly, and the good ones around it arrive."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import httpx2
import pytest
from aiokafka import AIOKafkaProducer
from shared.bus import header

from deploy.local.stack import LocalStack
from deploy.local.system import ROOT
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

from .world import User, World, a_world, on, until

pytestmark = pytest.mark.timeout(300)  # a whole system starts first, on a machine that may be busy

CARLA = "carla@fabrikam.example"
DEAL = ("opportunity", "renewal")
SECRET = "what nobody else may read"


@dataclass
class Office:
    """Ann, whose every mail from Carla belongs to the deal."""

    world: World
    ann: User
    producer: AIOKafkaProducer
    _sent: int = 0

    async def write(self, topic: Topic, key: bytes | None, value: bytes | None, **headers: bytes) -> None:
        """Somebody writes this onto a topic of ours."""
        name = self.world.system.prefix + topic.name
        await self.producer.send_and_wait(
            name, value, key=key, headers=list(headers.items()), partition=0 if key is None else None
        )

    async def mail_arrives(self) -> None:
        """A mail from Carla becomes a suggestion on the deal."""
        self._sent += 1
        subject = f"Good mail no. {self._sent}"
        await self.world.send(CARLA, self.ann, subject=subject, text="Hello")
        await self.ann.tile(*DEAL, subject)

    async def post(self, body: bytes) -> httpx2.Response:
        """Somebody posts to the public port."""
        async with httpx2.AsyncClient(trust_env=False) as client:
            port = self.world.system["mail-ingest"].ports["WEBHOOK_PORT"]
            return await client.post(
                f"http://127.0.0.1:{port}/graph/notifications",
                content=body,
                headers={"content-type": "application/json"},
            )

    async def dropped(self, reason: str) -> float:
        """How many notifications mail-ingest has dropped for this reason."""
        metrics = (await asyncio.to_thread(self.world.system["mail-ingest"].get, "/metrics")).text
        found = re.search(rf'^notifications_dropped_total{{reason="{reason}"}} (\S+)$', metrics, re.MULTILINE)
        return float(found[1]) if found else 0.0


@pytest.fixture(scope="module")
async def office(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    async with a_world(
        stack, tmp_path_factory.mktemp("system"), env_of={"mail-ingest": {"RECONCILE": "false"}}
    ) as world:
        await world.publish_first(
            {"type": "contact", "id": "carla", "name": "Carla", "emails": [CARLA]},
            {"type": DEAL[0], "id": DEAL[1], "name": "Fleet renewal", "contact_id": "carla"},
        )
        async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap) as producer:
            yield Office(world, await world.user("ann@contoso.example"), producer)


# -- Graph's door ---------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"value": 1}', b"\xff\xfe"])
async def test_what_is_no_notification_is_a_400(office: Office, body: bytes) -> None:
    assert (await office.post(body)).status_code == 400
    await office.mail_arrives()


async def test_notifications_that_are_not_ours_are_dropped_beside_those_that_are(office: Office) -> None:
    world, ann = office.world, office.ann
    [made] = await world.send(CARLA, ann, subject="Named twice", text="Hello")
    await ann.tile(*DEAL, "Named twice")
    ours = world.database("mail_ingest").subscriptions.find_one(
        {"owner": f"{world.tenant.id}/{ann.oid}", "kind": "email"}
    )
    assert ours
    good = {
        "subscriptionId": ours["graph_id"],
        "clientState": ours["client_state"],
        "changeType": "created",
        "resourceData": {"id": made[2]},
    }
    bad = {
        "wrong client state": good | {"clientState": "guessed", "resourceData": {"id": "A"}},
        "unknown subscription": good | {"subscriptionId": "guessed", "resourceData": {"id": "B"}},
        "malformed": {"subscriptionId": 7, "resourceData": {"id": "C"}},
        "says nothing": {name: value for name, value in good.items() if name != "resourceData"},
    }
    before = {reason: await office.dropped(reason) for reason in bad}
    told = len(world.bus.log[GRAPH_NOTIFICATIONS.name])

    answer = await office.post(json.dumps({"value": [*bad.values(), good]}).encode())

    assert answer.status_code == 202, "whoever guesses learns nothing"
    assert {reason: await office.dropped(reason) - before[reason] for reason in bad} == dict.fromkeys(bad, 1)
    await world.bus.read_up()
    [hint] = world.bus.log[GRAPH_NOTIFICATIONS.name][told:]
    assert json.loads(hint.value or b"")["item"] == made[2], "only the good one is on Kafka"
    await office.mail_arrives()


# -- upstream's door ------------------------------------------------------------------------------

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
async def test_a_bad_record_is_dead_lettered_and_the_good_ones_around_it_arrive(
    office: Office, key: str, change: dict[str, object] | None, field: str
) -> None:
    world = office.world
    tenant = world.tenant.id
    value = (
        b'{"type": "account", ' + SECRET.encode()
        if change is None
        else json.dumps({"tenant": tenant, **GOOD, **change}).encode()
    )
    letters = len(world.bus.dead_letters(RECORDS))
    around = [f"before-{letters}", f"after-{letters}"]

    await world.publish({"type": "project", "id": around[0], "name": "Before"})
    await office.write(RECORDS, key.format(tenant=tenant).encode(), value)
    await world.publish({"type": "project", "id": around[1], "name": "After"})

    await until(lambda: len(world.bus.dead_letters(RECORDS)) > letters)
    assert await where_refused(office, RECORDS, key.format(tenant=tenant).encode(), value) == field
    for id_ in around:
        await until(lambda id_=id_: has_record(office, id_))  # type: ignore[misc]
    await office.mail_arrives()


async def has_record(office: Office, id_: str) -> bool:
    return (await office.ann.ask("GET", f"/records/project/{id_}/timeline")).status_code == 200


async def where_refused(office: Office, topic: Topic, key: bytes, value: bytes | None) -> str:
    """The field that the last dead letter names; all else about it is as it must be."""
    bus = office.world.bus
    await bus.read_up()
    kept_key, kept_value, headers = bus.dead_letters(topic)[-1]
    [original] = [record for record in bus.log[topic.name] if (record.key, record.value) == (key, value)][-1:]
    assert (kept_key, kept_value) == (key, value if topic is not CONTENT else None)
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
OURS: dict[Topic, tuple[str, Callable[[Office], bytes]]] = {
    GRAPH_NOTIFICATIONS: ("autocapture.item.hinted", _owner),
    ACTIVITIES: ("autocapture.activity.captured", lambda office: _owner(office) + b"/item"),
    MATCHES: ("autocapture.activity.matched", lambda office: _owner(office) + b"/item"),
    MAILBOXES: ("autocapture.mailbox.changed", _owner),
    CONTENT_REQUESTS: ("autocapture.content.fetch", _owner),
    CONTENT: ("autocapture.content.answered", _owner),
}
"""What each topic's broken message claims to be, and whose it is."""


@pytest.mark.parametrize("topic", OURS, ids=lambda topic: topic.name)
async def test_a_broken_message_is_dead_lettered_and_the_good_ones_around_it_arrive(
    office: Office, topic: Topic
) -> None:
    world = office.world
    kind, key_of = OURS[topic]
    await office.mail_arrives()
    for number, (value, headers) in enumerate(
        [(BROKEN, {"ce_type": kind.encode()}), (b"{}", {"ce_type": b"autocapture.nothing"})], 1
    ):
        letters = len(world.bus.dead_letters(topic))
        await office.write(topic, key_of(office), value, **headers)
        await until(lambda before=letters: len(world.bus.dead_letters(topic)) > before)  # type: ignore[misc]
        assert await where_refused(office, topic, key_of(office), value) == ("" if number == 1 else "ce_type")
    await office.mail_arrives()
    await it_tracks(office)
    assert all(header(record, "dead_letter_error") for record in world.bus.log[topic.dead_letters])


async def it_tracks(office: Office) -> None:
    """A mail of Ann's is tracked: requests and content go their way."""
    [tile, *_] = [
        tile for tile in (await office.ann.timeline(*DEAL))["suggestions"] if tile["state"] == "untracked"
    ]
    before = (await office.ann.sees(*DEAL))[1]
    assert (await office.ann.ask("POST", on(*DEAL, tile["item"], "track"))).status_code == 202

    async def tracked() -> bool:
        return len((await office.ann.sees(*DEAL))[1]) == len(before) + 1

    await until(tracked)


@pytest.mark.parametrize("topic", [ACTIVITIES, MATCHES], ids=lambda topic: topic.name)
async def test_a_message_whose_key_and_body_disagree_is_dead_lettered(office: Office, topic: Topic) -> None:
    world = office.world
    await office.mail_arrives()
    good = next(
        record for record in reversed(world.bus.log[topic.name]) if record.value not in {None, BROKEN, b"{}"}
    )
    letters, key = len(world.bus.dead_letters(topic)), _owner(office) + b"/another-item"
    await office.write(topic, key, good.value, **dict(good.headers))
    await until(lambda: len(world.bus.dead_letters(topic)) > letters)
    assert await where_refused(office, topic, key, good.value) in {"key", "activity.item"}
    await office.mail_arrives()


# -- the users' door ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*INVALID_TOKEN_KINDS, "none", "nonsense", "basic"])
async def test_a_token_that_is_not_taken_is_a_401(office: Office, kind: str) -> None:
    if kind in INVALID_TOKEN_KINDS:
        given = {
            "Authorization": f"Bearer {await asyncio.to_thread(office.world.tenant.mint, office.ann.address, kind)}"
        }
    else:
        given = {
            "none": {},
            "nonsense": {"Authorization": "Bearer a.b.c"},
            "basic": {"Authorization": "Basic YW5uOmFubg=="},
        }[kind]
    async with httpx2.AsyncClient(
        base_url=office.world.system["tracking"].url, headers=given, trust_env=False
    ) as stranger:
        for path in (
            "/me",
            f"/records/{DEAL[0]}/{DEAL[1]}/timeline",
            "/records/opportunity/was-never-there/timeline",
        ):
            answer = await stranger.get(f"/api/v1{path}")
            assert answer.status_code == 401, f"{answer.status_code} {answer.text}"
            assert answer.json()["error"] == "unauthorized"
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert (await office.ann.ask("GET", "/me")).status_code == 200


async def test_the_internal_port_wants_the_services_credential(office: Office) -> None:
    asks: list[Callable[[httpx2.AsyncClient], Awaitable[httpx2.Response]]] = [
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
            base_url=office.world.system["mail-ingest"].url, headers=headers, trust_env=False
        ) as stranger:
            for ask in asks:
                assert (await ask(stranger)).status_code == 401
    await office.mail_arrives()


# -- the operator's door --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module, setting, value",
    [
        ("services.mail_ingest", "LEASE", "PT0S"),
        ("services.mail_ingest", "WORKERS", "0"),
        ("services.mail_ingest", "SERVICE_TOKEN", SECRET[:8]),
        ("services.matcher", "CHECK_EVERY", "PT0S"),
        ("services.matcher", "KAFKA_REPLICATION", "2"),
        ("services.matcher", "RULES_FILE", "/no/such/file.toml"),
        ("services.tracking", "PENDING_FOR", "P2D"),
        ("services.tracking", "TENANTS", SECRET),
        *(
            (module, "PORT", "70000")
            for module in ("services.mail_ingest", "services.matcher", "services.tracking")
        ),
    ],
)
async def test_a_setting_that_is_out_of_range_stops_the_start_by_its_name(
    module: str, setting: str, value: str
) -> None:
    env = os.environ | {setting: value}
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2, ran.stderr
    [line] = ran.stderr.splitlines()
    assert line.startswith(f"bad setting {setting}: ")
    assert SECRET[:8] not in line
