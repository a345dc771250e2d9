"""The main job, once: from a mail in Outlook to the event that dashboards read, and every way back.

Ann and Ben sell for Contoso. Carla, of Fabrikam, is the contact of a deal that both may read.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy.local.stack import LocalStack
from shared.events import ActivityTracked, ActivityUntracked
from shared.topics import ACTIVITIES, TRACKED_ACTIVITIES

from .world import User, World, a_world, on, until

pytestmark = pytest.mark.timeout(300)  # a whole system starts first, on a machine that may be busy

CARLA, EVE = "carla@fabrikam.example", "eve@adatum.example"
DEAL = ("opportunity", "renewal")


@dataclass
class Office:
    """The two of them, and what the CRM holds."""

    world: World
    ann: User
    ben: User
    versions: int = field(default=1)

    async def deal(self, **links: Any) -> None:
        """Upstream, the deal changes."""
        self.versions += 1
        await self.world.publish_first(
            {
                "type": DEAL[0],
                "id": DEAL[1],
                "name": "Fleet renewal",
                "version": self.versions,
                "contact_id": "carla",
                **links,
            }
        )

    async def mail(self, subject: str, sender: str = CARLA, text: str = "Hello Ann", **more: Any) -> str:
        """A mail to Ann; answers its item."""
        [(_, _, item)] = await self.world.send(sender, self.ann, subject=subject, text=text, **more)
        return item

    async def shows(self, user: User, subject: str, state: str | None) -> None:
        """Until her timeline has that suggestion in that state; None: until it has none such."""

        async def so() -> bool:
            return dict((await user.sees(*DEAL))[0]).get(subject) == state

        await until(so, otherwise=lambda: f"{subject} never was {state}")

    async def is_tracked(self, subject: str) -> dict[str, Any]:
        """Until it is tracked on the deal, for Ann as for Ben; the tile."""
        for user in (self.ann, self.ben):

            async def so(user: User = user) -> bool:
                return subject in (await user.sees(*DEAL))[1]

            await until(so, otherwise=lambda: f"{subject} was not tracked")
        [tile] = [
            tile
            for tile in (await self.ben.timeline(*DEAL))["tracked"]
            if tile["activity"]["subject"] == subject
        ]
        return dict(tile)

    async def track(self, item: str, **body: Any) -> int:
        return (await self.ann.ask("POST", on(*DEAL, item, "track"), json=body)).status_code

    async def said(self, activity: str) -> list[Any]:
        """All that dashboards were ever told of a tracked activity."""
        await self.world.at_rest()
        await self.world.bus.read_up()
        return [
            message.value
            for message in self.world.bus.said(TRACKED_ACTIVITIES)
            if message.key == (self.world.tenant.id, activity)
        ]


@pytest.fixture(scope="module")
async def office(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    async with a_world(stack, tmp_path_factory.mktemp("system")) as world:
        ann, ben = (
            await world.user("ann@contoso.example", name="Ann"),
            await world.user("ben@contoso.example", name="Ben"),
        )
        await world.publish(
            {"type": "contact", "id": "carla", "emails": [CARLA]},
            {"type": "contact", "id": "eve", "emails": [EVE]},
        )
        office = Office(world, ann, ben)
        await office.deal()
        yield office


async def test_a_mail_is_suggested_tracked_and_announced(office: Office) -> None:
    item = await office.mail("Our numbers", text="Forty vans, delivered in March.")
    tile = await office.ann.tile(*DEAL, "Our numbers")
    assert (tile["item"], tile["state"], tile["why"]) == (
        item,
        "untracked",
        [f"From: {CARLA} is the contact of this opportunity"],
    )
    assert await office.ben.sees(*DEAL) == ([], [])

    # mail-ingest is held up, so that pending is to be seen.
    ingest = office.world.system["mail-ingest"]
    ingest.signal(signal.SIGSTOP)
    assert await office.track(item) == 202
    assert dict((await office.ann.sees(*DEAL))[0]) == {"Our numbers": "pending"}
    assert await office.ben.sees(*DEAL) == ([], []), "pending is for her who asked"
    ingest.signal(signal.SIGCONT)

    tracked = await office.is_tracked("Our numbers")
    assert (await office.ann.sees(*DEAL))[0] == []
    content = (await office.ben.ask("GET", f"/records/{DEAL[0]}/{DEAL[1]}/tracked/{tracked['id']}")).json()[
        "content"
    ]
    assert "Forty vans, delivered in March." in content["text"]
    [event] = await office.said(tracked["id"])
    assert isinstance(event, ActivityTracked)
    assert (event.subject, event.owner, event.kind, event.direction) == (
        "Our numbers",
        office.ann.oid,
        "email",
        "incoming",
    )
    [entry] = event.regarding
    assert (entry.type, entry.id, entry.name, entry.by, entry.readers) == (
        *DEAL,
        "Fleet renewal",
        office.ann.oid,
        ("*",),
    )
    assert "Forty vans" not in event.model_dump_json()
    assert CARLA not in event.model_dump_json()


async def test_a_record_change_brings_older_mail_and_takes_it_away(office: Office) -> None:
    await office.mail("Terms I would ask for", sender=EVE)
    await until(lambda: any(("contact", "eve") in records for records in office.world.suggestions().values()))
    assert "Terms I would ask for" not in dict((await office.ann.sees(*DEAL))[0])
    await office.deal(stakeholder_ids=["eve"])
    await office.shows(office.ann, "Terms I would ask for", "untracked")
    await office.deal()
    await office.shows(office.ann, "Terms I would ask for", None)


async def test_untracked_it_is_a_suggestion_again_and_dashboards_forget_it(office: Office) -> None:
    item = await office.mail("Shared too early")
    await office.shows(office.ann, "Shared too early", "untracked")
    await office.track(item)
    tracked = await office.is_tracked("Shared too early")
    path = f"/records/{DEAL[0]}/{DEAL[1]}/tracked/{tracked['id']}"

    assert (await office.ben.ask("DELETE", path)).status_code == 404, "it is Ann's entry"
    assert (await office.ann.ask("DELETE", path)).status_code == 204

    await office.shows(office.ann, "Shared too early", "untracked")
    assert "Shared too early" not in (await office.ben.sees(*DEAL))[1]
    assert (await office.ben.ask("GET", path)).status_code == 404
    first, last, tombstone = await office.said(tracked["id"])
    assert isinstance(first, ActivityTracked)
    assert isinstance(last, ActivityUntracked)
    assert tombstone is None
    assert last.revision > first.revision
    assert (office.world.tenant.id, tracked["id"]) not in office.world.bus.live(TRACKED_ACTIVITIES)


async def test_dismissed_it_stays_away_until_that_is_undone(office: Office) -> None:
    item = await office.mail("Not about this")
    await office.shows(office.ann, "Not about this", "untracked")
    assert (await office.ann.ask("PUT", on(*DEAL, item, "dismissal"))).status_code == 204
    await office.shows(office.ann, "Not about this", None)
    await office.deal(stakeholder_ids=["eve"])  # a re-match does not bring it back
    await office.world.at_rest()
    assert "Not about this" not in dict((await office.ann.sees(*DEAL))[0])
    assert (await office.ann.ask("DELETE", on(*DEAL, item, "dismissal"))).status_code == 204
    await office.shows(office.ann, "Not about this", "untracked")


async def test_the_owner_alone_may_read_the_text_and_nothing_keeps_it(office: Office) -> None:
    text = "Between you and me: the fleet manager leaves in May."
    item = await office.mail("In confidence", text=text)
    await office.shows(office.ann, "In confidence", "untracked")
    shown = await office.ann.ask("GET", on(*DEAL, item, "text"))
    assert shown.status_code == 200
    assert text in shown.json()["text"]
    assert shown.headers["cache-control"] == "no-store"
    assert (await office.ben.ask("GET", on(*DEAL, item, "text"))).status_code == 404

    await office.world.bus.read_up()
    assert text.encode() not in b"".join(
        record.value or b"" for log in office.world.bus.log.values() for record in log
    )
    for name in ("mail_ingest", "tracking"):
        database = office.world.database(name)
        assert not any(
            "fleet manager" in str(document)
            for collection in database.list_collection_names()
            for document in database[collection].find()
        )
    for process in office.world.system:
        assert "fleet manager" not in process.background.log.read_text()


async def test_what_is_private_is_shared_only_when_asked_once_more(office: Office) -> None:
    item = await office.mail("Personal", sensitivity="private")
    await office.shows(office.ann, "Personal", "untracked")
    assert await office.track(item) == 409
    assert await office.track(item, confirm_private=True) == 202
    await office.is_tracked("Personal")


async def test_what_is_deleted_in_outlook_is_suggested_no_more(office: Office) -> None:
    item = await office.mail("Deleted unread")
    await office.shows(office.ann, "Deleted unread", "untracked")
    await asyncio.to_thread(office.world.tenant.delete, office.ann.oid, item)
    await office.shows(office.ann, "Deleted unread", None)
    await until(
        lambda: (office.world.tenant.id, office.ann.oid, item) not in office.world.bus.live(ACTIVITIES)
    )
    assert await office.track(item) == 409


async def test_what_is_deleted_while_track_waits_cannot_be_shared(office: Office) -> None:
    item = await office.mail("Gone in between")
    await office.shows(office.ann, "Gone in between", "untracked")
    await asyncio.to_thread(office.world.tenant.delete, office.ann.oid, item, hard=True)
    status = await office.track(item)
    await office.world.at_rest()
    assert status in {202, 409}
    assert "Gone in between" not in (await office.ben.sees(*DEAL))[1]


async def test_a_meeting_is_suggested_changed_and_withdrawn_when_it_is_cancelled(office: Office) -> None:
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=20)
    booked = await asyncio.to_thread(
        office.world.tenant.book,
        office.ann.recipient,
        [{"name": "Carla", "address": CARLA}],
        start.isoformat(),
        end=(start + timedelta(hours=1)).isoformat(),
        subject="Walk through the offer",
        text="We meet at the depot.",
    )
    tile = await office.ann.tile(*DEAL, "Walk through the offer")
    assert (tile["activity"]["kind"], tile["activity"]["start"]) == (
        "meeting",
        start.isoformat().replace("+00:00", "Z"),
    )
    assert tile["why"] == [f"Required: {CARLA} is the contact of this opportunity"]

    later = start + timedelta(hours=2)
    await asyncio.to_thread(
        office.world.tenant.change_meeting,
        booked["uid"],
        start=later.isoformat(),
        subject="Walk through the new offer",
    )
    tile = await office.ann.tile(*DEAL, "Walk through the new offer")
    assert tile["activity"]["start"] == later.isoformat().replace("+00:00", "Z")
    assert "Walk through the offer" not in dict((await office.ann.sees(*DEAL))[0])

    assert await office.track(tile["item"]) == 202
    tracked = await office.is_tracked("Walk through the new offer")
    [event] = await office.said(tracked["id"])
    assert (event.kind, event.start) == ("meeting", later)

    other = await asyncio.to_thread(
        office.world.tenant.book,
        office.ann.recipient,
        [{"name": "Carla", "address": CARLA}],
        start.isoformat(),
        subject="It will not take place",
    )
    await office.shows(office.ann, "It will not take place", "untracked")
    await asyncio.to_thread(office.world.tenant.cancel, other["uid"])
    await office.shows(office.ann, "It will not take place", None)


async def test_two_copies_of_one_mail_are_one_tracked_activity(office: Office) -> None:
    await office.world.send(CARLA, office.ann, office.ben, subject="To both of you", text="Hello both")
    hers, his = await office.ann.tile(*DEAL, "To both of you"), await office.ben.tile(*DEAL, "To both of you")
    assert hers["item"] != his["item"]
    both = await asyncio.gather(
        *(
            user.ask("POST", on(*DEAL, tile["item"], "track"))
            for user, tile in ((office.ann, hers), (office.ben, his))
        )
    )
    assert [answer.status_code for answer in both] == [202, 202]
    tile = await office.is_tracked("To both of you")
    await office.world.at_rest()
    tile = await office.is_tracked("To both of you")
    assert {entry["by"] for entry in tile["regarding"]} == {office.ann.oid, office.ben.oid}
    for user in (office.ann, office.ben):
        assert "To both of you" not in dict((await user.sees(*DEAL))[0])


async def test_a_colleague_never_saw_anything_of_this_untracked(office: Office) -> None:
    subjects = [tile["activity"]["subject"] for tile in (await office.ann.timeline(*DEAL))["suggestions"]]
    assert len(subjects) >= 3
    bens = await office.ben.timeline(*DEAL)
    assert not bens["suggestions"]
    assert not {tile["activity"]["subject"] for tile in bens["tracked"]} & set(subjects)
    counts = {
        record["id"]: record["suggestions"]
        for record in (await office.ben.ask("GET", "/records")).json()["records"]
    }
    assert counts[DEAL[1]] == 0
