"""Two tenants and three users: whatever they do, nobody sees anything of another's suggestions, mailbox or tenant.

Both tenants have the same record ids, the same customer and mails of the same subjects; what tells them
apart is the tenant alone.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import pytest

from deploy.local.stack import LocalStack
from deploy.local.system import TENANT
from shared.topics import ACTIVITIES, MATCHES, TOPICS, TRACKED_ACTIVITIES

from .world import Item, User, World, a_world, on, until

pytestmark = pytest.mark.timeout(300)  # a whole system starts first, on a machine that may be busy

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
"""The routes that name a record, and whether they are closed to a colleague who may read it.

That none is missing is seen to where the API is tested alone, in tests/tracking.
"""


@dataclass(frozen=True)
class Office:
    """Ann and Ben work for Contoso; Fay works for Fabrikam."""

    world: World
    ann: User
    ben: User
    fay: User

    @property
    def everybody(self) -> list[User]:
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
    async with a_world(stack, tmp_path_factory.mktemp("system"), tenants=[TENANT, FABRIKAM]) as world:
        fabrikam = world.simulator.tenant(FABRIKAM, domain="fabrikam.example")
        ann, ben = (
            await world.user("ann@contoso.example", name="Ann"),
            await world.user("ben@contoso.example", name="Ben"),
        )
        fay = await world.user("fay@fabrikam.example", fabrikam, name="Fay")
        await world.publish_first(
            *records(TENANT, "Contoso", ann.oid), *records(FABRIKAM, "Fabrikam", fay.oid)
        )
        yield Office(world, ann, ben, fay)


@pytest.fixture(scope="module")
async def mails(office: Office) -> dict[str, list[Item]]:
    """Each of the three has two mails: one that she keeps to herself, and one that she has tracked."""
    found: dict[str, list[Item]] = {}
    for user, name in zip(office.everybody, ("Ann", "Ben", "Fay"), strict=True):
        text = f"For the eyes of {name}"
        found[user.oid] = [*await office.world.send(CARLA, user, subject=f"Private {name}", text=text)]
        found[user.oid] += await office.world.send(
            CARLA, user, subject=f"Shared {name}", text=f"For the team of {name}"
        )
    for user, name in zip(office.everybody, ("Ann", "Ben", "Fay"), strict=True):
        tile = await user.tile(*DEAL, f"Shared {name}")
        await user.tile(*DEAL, f"Private {name}")
        assert (await user.ask("POST", on(*DEAL, tile["item"], "track"))).status_code == 202
    await until(lambda: len(office.world.bus.live(TRACKED_ACTIVITIES)) == 3)
    await office.world.at_rest()
    return found


async def test_each_sees_her_own_suggestions_and_her_own_teams_tracked_ones(
    office: Office, mails: dict[str, list[Item]]
) -> None:
    assert await office.ann.sees(*DEAL) == ([("Private Ann", "untracked")], ["Shared Ann", "Shared Ben"])
    assert await office.ben.sees(*DEAL) == ([("Private Ben", "untracked")], ["Shared Ann", "Shared Ben"])
    assert await office.fay.sees(*DEAL) == ([("Private Fay", "untracked")], ["Shared Fay"])
    names = {
        user.oid: [record["name"] for record in (await user.ask("GET", "/records")).json()["records"]]
        for user in office.everybody
    }
    assert {oid: sorted(found) for oid, found in names.items()} == {
        office.ann.oid: ["Carla of Contoso", "Renewal of Contoso", "Secret of Contoso"],
        office.ben.oid: ["Carla of Contoso", "Renewal of Contoso"],
        office.fay.oid: ["Carla of Fabrikam", "Renewal of Fabrikam", "Secret of Fabrikam"],
    }
    who = [(await user.ask("GET", "/me")).json() for user in office.everybody]
    assert [(me["tenant"], me["oid"], me["mailbox"]["status"]) for me in who] == [
        (user.tenant.id, user.oid, "enrolled") for user in office.everybody
    ]


async def test_whatever_is_not_hers_is_the_same_404_on_every_route(
    office: Office, mails: dict[str, list[Item]]
) -> None:
    nowhere = await office.ann.ask("GET", "/records/opportunity/was-never-there/timeline")
    assert nowhere.status_code == 404
    tracked = {user.oid: (await user.timeline(*DEAL))["tracked"] for user in office.everybody}
    before = [await user.timeline(*DEAL) for user in office.everybody]
    asked = 0
    for user, other in itertools.permutations(office.everybody, 2):
        strangers = user.tenant.id != other.tenant.id
        [activity] = [entry["id"] for entry in tracked[other.oid] if entry["owner"] == other.oid]
        for (method, path), closed in ROUTES.items():
            for record, (_, _, item) in itertools.product((DEAL, HIDDEN), mails[other.oid]):
                of_another = "{item}" in path or "{activity}" in path
                refused = (
                    strangers or closed or record == HIDDEN
                    if of_another
                    else record == HIDDEN and user is office.ben
                )
                if not refused:
                    continue
                where = path.format(type=record[0], id=record[1], item=item, activity=activity)
                answer = await user.ask(method, where)
                assert (answer.status_code, answer.content) == (404, nowhere.content), (
                    f"{user.address}: {method} {where}"
                )
                asked += 1
    assert asked > 40
    assert [await user.timeline(*DEAL) for user in office.everybody] == before, "and nothing was changed"


async def test_on_every_topic_each_tenant_has_its_own_keys_and_no_word_of_the_other(
    office: Office, mails: dict[str, list[Item]]
) -> None:
    bus = office.world.bus
    await bus.read_up()
    spoken: set[str] = set()
    for topic in TOPICS:
        for record in bus.log[topic.name]:
            tenant = (record.key or b"").split(b"/")[0].decode()
            assert tenant in {TENANT, FABRIKAM}, topic.name
            body = (record.value or b"").decode()
            for secret in foreign(office, tenant):
                assert secret not in body, f"{topic.name} of {tenant} says {secret}"
            spoken.add(f"{topic.name} {tenant}")
        assert not bus.dead_letters(topic), topic.name
    assert spoken == {f"{topic.name} {tenant}" for topic in TOPICS for tenant in (TENANT, FABRIKAM)}, (
        "each topic was looked at for each"
    )


def foreign(office: Office, tenant: str) -> list[str]:
    """What no message of this tenant may hold."""
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


async def test_the_same_record_ids_do_not_mix(office: Office, mails: dict[str, list[Item]]) -> None:
    world = office.world
    related = {("contact", "carla"), DEAL, HIDDEN}
    expected = {item: related for items in mails.values() for item in items}
    assert world.bus.live(ACTIVITIES).keys() == expected.keys()
    assert world.bus.matches() == world.suggestions() == expected

    # Carla leaves Fabrikam's deal; Contoso's stays as it is.
    said = len(world.bus.log[MATCHES.name])
    await world.publish({"tenant": FABRIKAM, "type": DEAL[0], "id": DEAL[1], "name": "Renewal of Fabrikam"})
    changed = {item: related - {DEAL} if item[0] == FABRIKAM else related for item in expected}
    await until(lambda: world.bus.matches() == world.suggestions() == changed)
    await world.at_rest()
    assert {record.key.split(b"/")[0].decode() for record in world.bus.log[MATCHES.name][said:]} == {FABRIKAM}
    assert [len((await user.timeline(*DEAL))["suggestions"]) for user in office.everybody] == [1, 1, 0]

    # Its deletion in one tenant leaves the other's untouched.
    await world.upstream.delete([{"tenant": FABRIKAM, "type": DEAL[0], "id": DEAL[1]}])

    async def gone() -> bool:
        return (await office.fay.ask("GET", f"/records/{DEAL[0]}/{DEAL[1]}/timeline")).status_code == 404

    await until(gone)
    await asyncio.gather(*(user.timeline(*DEAL) for user in (office.ann, office.ben)))


async def test_a_mailbox_that_is_removed_is_removed_in_its_own_tenant_alone(
    office: Office, mails: dict[str, list[Item]]
) -> None:
    world = office.world
    async with world.ingest() as ingest:
        assert (await ingest.delete(f"/mailboxes/{FABRIKAM}/{office.ann.oid}")).status_code == 404, (
            "Ann is nobody there"
        )
        (await ingest.delete(f"/mailboxes/{TENANT}/{office.ben.oid}")).raise_for_status()
    await until(lambda: not any(item[1] == office.ben.oid for item in world.suggestions()))
    await world.at_rest()
    assert {item[1] for item in world.suggestions()} == {office.ann.oid, office.fay.oid}
    assert (await office.ben.timeline(*DEAL))["suggestions"] == []
    assert (await office.ann.sees(*DEAL))[0] == [("Private Ann", "untracked")]
