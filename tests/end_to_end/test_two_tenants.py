"""Two tenants and three users: no user sees another user's suggestions or mailbox, or another tenant's data.

Both tenants have the same record ids, the same customer and mails of the same subjects; only the tenant
distinguishes them.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import pytest

from deploy.local.programs import TENANT
from deploy.local.stack import LocalStack
from shared.keys import ItemKey
from shared.topics import ACTIVITIES, MATCHES, TOPICS, TRACKED_ACTIVITIES

from .waiting import wait_until
from .world import User, World, running_world, suggestion_path

pytestmark = pytest.mark.timeout(300)  # a whole system starts first, on a busy machine

FABRIKAM = str(uuid4())
CARLA = "carla@customer.example"
DEAL = ("opportunity", "renewal")
HIDDEN = ("opportunity", "hidden")

ON_RECORD = "/records/{type}/{id}"
ROUTES = {
    ("GET", f"{ON_RECORD}/timeline"): False,
    ("GET", f"{ON_RECORD}/stream"): False,
    ("GET", f"{ON_RECORD}/suggestions/{{item}}/text"): True,
    ("POST", f"{ON_RECORD}/suggestions/{{item}}/track"): True,
    ("PUT", f"{ON_RECORD}/suggestions/{{item}}/dismissal"): True,
    ("DELETE", f"{ON_RECORD}/suggestions/{{item}}/dismissal"): True,
    ("GET", f"{ON_RECORD}/tracked/{{activity}}"): False,
    ("DELETE", f"{ON_RECORD}/tracked/{{activity}}"): True,
}
"""(method, path) of the routes below a record -> whether a colleague who may read the record gets a 404.

tests/tracking checks that the table of such routes is complete.
"""


@dataclass(frozen=True)
class Office:
    """Three signed-in users: Ann and Ben of Contoso, Fay of Fabrikam."""

    world: World
    ann: User
    ben: User
    fay: User

    @property
    def users(self) -> list[User]:
        return [self.ann, self.ben, self.fay]


def records(tenant: str, name: str, reader: str) -> list[dict[str, object]]:
    return [
        {"tenant": tenant, "type": "contact", "id": "carla", "name": f"Carla of {name}", "emails": [CARLA]},
        {
            "tenant": tenant,
            "type": DEAL[0],
            "id": DEAL[1],
            "name": f"Renewal of {name}",
            "contact_id": "carla",
        },
        {
            "tenant": tenant,
            "type": HIDDEN[0],
            "id": HIDDEN[1],
            "name": f"Secret of {name}",
            "contact_id": "carla",
            "readers": [f"user:{reader}"],
        },
    ]


@pytest.fixture(scope="module")
async def office(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    async with running_world(stack, tmp_path_factory.mktemp("system"), tenants=[TENANT, FABRIKAM]) as world:
        fabrikam = world.simulator.tenant(FABRIKAM, domain="fabrikam.example")
        ann, ben = (
            await world.add_user("ann@contoso.example", name="Ann"),
            await world.add_user("ben@contoso.example", name="Ben"),
        )
        fay = await world.add_user("fay@fabrikam.example", fabrikam, name="Fay")
        await world.publish_and_wait(
            *records(TENANT, "Contoso", ann.oid), *records(FABRIKAM, "Fabrikam", fay.oid)
        )
        yield Office(world, ann, ben, fay)


@pytest.fixture(scope="module")
async def mails(office: Office) -> dict[str, list[ItemKey]]:
    """Two mails of each user, by the user's oid: a private one, and one that the user has tracked."""
    found: dict[str, list[ItemKey]] = {}
    for user, name in zip(office.users, ("Ann", "Ben", "Fay"), strict=True):
        text = f"For the eyes of {name}"
        found[user.oid] = [*await office.world.send_mail(CARLA, user, subject=f"Private {name}", text=text)]
        found[user.oid] += await office.world.send_mail(
            CARLA, user, subject=f"Shared {name}", text=f"For the team of {name}"
        )
    for user, name in zip(office.users, ("Ann", "Ben", "Fay"), strict=True):
        tile = await user.wait_for_suggestion(*DEAL, f"Shared {name}")
        await user.wait_for_suggestion(*DEAL, f"Private {name}")
        assert (await user.request("POST", suggestion_path(*DEAL, tile["item"], "track"))).status_code == 202
    await wait_until(lambda: len(office.world.topics.table(TRACKED_ACTIVITIES)) == 3)
    await office.world.wait_until_idle()
    return found


async def test_users_see_own_suggestions_and_tracked_activities_of_own_tenant(
    office: Office, mails: dict[str, list[ItemKey]]
) -> None:
    assert await office.ann.tiles(*DEAL) == ([("Private Ann", "untracked")], ["Shared Ann", "Shared Ben"])
    assert await office.ben.tiles(*DEAL) == ([("Private Ben", "untracked")], ["Shared Ann", "Shared Ben"])
    assert await office.fay.tiles(*DEAL) == ([("Private Fay", "untracked")], ["Shared Fay"])
    names = {
        user.oid: [record["name"] for record in (await user.request("GET", "/records")).json()["records"]]
        for user in office.users
    }
    assert {oid: sorted(found) for oid, found in names.items()} == {
        office.ann.oid: ["Carla of Contoso", "Renewal of Contoso", "Secret of Contoso"],
        office.ben.oid: ["Carla of Contoso", "Renewal of Contoso"],
        office.fay.oid: ["Carla of Fabrikam", "Renewal of Fabrikam", "Secret of Fabrikam"],
    }
    answers = [(await user.request("GET", "/me")).json() for user in office.users]
    assert [(me["tenant"], me["oid"], me["mailbox"]["status"]) for me in answers] == [
        (user.tenant.id, user.oid, "enrolled") for user in office.users
    ]


async def test_every_route_answers_the_same_404_for_data_of_others(
    office: Office, mails: dict[str, list[ItemKey]]
) -> None:
    nowhere = await office.ann.request("GET", "/records/opportunity/was-never-there/timeline")
    assert nowhere.status_code == 404
    tracked = {user.oid: (await user.timeline(*DEAL))["tracked"] for user in office.users}
    before = [await user.timeline(*DEAL) for user in office.users]
    requests = 0
    for user, other in itertools.permutations(office.users, 2):
        other_tenant = user.tenant.id != other.tenant.id
        [activity] = [entry["id"] for entry in tracked[other.oid] if entry["owner"] == other.oid]
        for (method, path), closed in ROUTES.items():
            for record, (_, _, item) in itertools.product((DEAL, HIDDEN), mails[other.oid]):
                of_another = "{item}" in path or "{activity}" in path
                refused = (
                    other_tenant or closed or record == HIDDEN
                    if of_another
                    else record == HIDDEN and user is office.ben
                )
                if not refused:
                    continue
                url = path.format(type=record[0], id=record[1], item=item, activity=activity)
                response = await user.request(method, url)
                assert (response.status_code, response.content) == (404, nowhere.content), (
                    f"{user.address}: {method} {url}"
                )
                requests += 1
    assert requests > 40
    assert [await user.timeline(*DEAL) for user in office.users] == before, (
        "a refused request changed something"
    )


async def test_no_topic_mixes_tenants(office: Office, mails: dict[str, list[ItemKey]]) -> None:
    topics = office.world.topics
    await topics.catch_up()
    written: set[str] = set()
    for topic in TOPICS:
        for record in topics.log[topic.name]:
            tenant = (record.key or b"").split(b"/")[0].decode()
            assert tenant in {TENANT, FABRIKAM}, topic.name
            body = (record.value or b"").decode()
            for secret in foreign(office, tenant):
                assert secret not in body, f"{topic.name} of {tenant} contains {secret}"
            written.add(f"{topic.name} {tenant}")
        assert not topics.dead_letters(topic), topic.name
    assert written == {f"{topic.name} {tenant}" for topic in TOPICS for tenant in (TENANT, FABRIKAM)}, (
        "each topic was looked at for each"
    )


def foreign(office: Office, tenant: str) -> list[str]:
    """Texts of the other tenant, which no message of this tenant may contain."""
    if tenant == TENANT:
        return [FABRIKAM, office.fay.oid, "Fabrikam", "Fay", office.fay.address]
    return [
        TENANT,
        office.ann.oid,
        office.ben.oid,
        "Contoso",
        "Ann",
        "Ben",
        office.ann.address,
        office.ben.address,
    ]


async def test_equal_record_ids_of_two_tenants_do_not_mix(
    office: Office, mails: dict[str, list[ItemKey]]
) -> None:
    world = office.world
    related = {("contact", "carla"), DEAL, HIDDEN}
    expected = {item: related for items in mails.values() for item in items}
    assert world.topics.table(ACTIVITIES).keys() == expected.keys()
    assert world.topics.matches() == world.suggestions() == expected

    # Fabrikam removes Carla from its deal; Contoso's deal does not change.
    published = len(world.topics.log[MATCHES.name])
    await world.publish({"tenant": FABRIKAM, "type": DEAL[0], "id": DEAL[1], "name": "Renewal of Fabrikam"})
    changed = {item: related - {DEAL} if item[0] == FABRIKAM else related for item in expected}
    await wait_until(lambda: world.topics.matches() == world.suggestions() == changed)
    await world.wait_until_idle()
    assert {record.key.split(b"/")[0].decode() for record in world.topics.log[MATCHES.name][published:]} == {
        FABRIKAM
    }
    assert [len((await user.timeline(*DEAL))["suggestions"]) for user in office.users] == [1, 1, 0]

    # Fabrikam deletes the deal; Contoso's deal does not change.
    await world.upstream.delete([{"tenant": FABRIKAM, "type": DEAL[0], "id": DEAL[1]}])

    async def is_not_found() -> bool:
        return (await office.fay.request("GET", f"/records/{DEAL[0]}/{DEAL[1]}/timeline")).status_code == 404

    await wait_until(is_not_found)
    await asyncio.gather(*(user.timeline(*DEAL) for user in (office.ann, office.ben)))


async def test_removing_a_mailbox_affects_its_own_tenant_only(
    office: Office, mails: dict[str, list[ItemKey]]
) -> None:
    world = office.world
    async with world.ingest_client() as client:
        assert (await client.delete(f"/mailboxes/{FABRIKAM}/{office.ann.oid}")).status_code == 404, (
            "Ann is no user of Fabrikam"
        )
        (await client.delete(f"/mailboxes/{TENANT}/{office.ben.oid}")).raise_for_status()
    await wait_until(lambda: not any(item[1] == office.ben.oid for item in world.suggestions()))
    await world.wait_until_idle()
    assert {item[1] for item in world.suggestions()} == {office.ann.oid, office.fay.oid}
    assert (await office.ben.timeline(*DEAL))["suggestions"] == []
    assert (await office.ann.tiles(*DEAL))[0] == [("Private Ann", "untracked")]
