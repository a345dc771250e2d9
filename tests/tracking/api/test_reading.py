"""What a user reads over HTTP: timelines, lists of records and texts; on the real MongoDB."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.tracking.domain.source_update import update_source
from shared.events import ActivityKind, Direction, KindRefused, MailboxStatus
from shared.keys import RecordKey
from shared.problems import Problem
from tests.tracking.conftest import World
from tests.tracking.worlds import ACCOUNT, ANN, BEN, DAY, HOUR, NOW, RENEWAL, content, email, meeting, tracked

from .timelines import MAIL, ON

pytestmark = pytest.mark.usefixtures("responses_are_described")


async def test_suggestion_shows_participants_and_reasons(office: World) -> None:
    timeline = await office.timeline(ANN, RENEWAL)
    [tile] = timeline["suggestions"]
    assert timeline["record"] == {"type": "opportunity", "id": "renewal", "name": "Fleet renewal"}
    assert timeline["mailbox"]["status"] == "enrolled"
    assert tile["why"] == ["Cc: ann@fabrikam.com is a stakeholder of this opportunity"]
    assert tile["web_link"] == "https://outlook.example/mail-1"
    assert [person["address"] for person in tile["activity"]["participants"]] == [
        "joe@fabrikam.com",
        "team@contoso.com",
        "ann@fabrikam.com",
    ]
    assert (await office.timeline(ANN, ACCOUNT))["suggestions"][0]["why"] == [
        "Cc: ann@fabrikam.com is an address of this account"
    ]


async def test_mail_and_meetings_are_newest_first_and_leave_with_their_windows(office: World) -> None:
    await office.suggest(meeting(), RENEWAL)
    assert [tile["item"] for tile in (await office.timeline(ANN, RENEWAL))["suggestions"]] == [
        "meeting-1",
        "mail-1",
    ]
    office.clock.now = NOW + 3 * DAY
    assert [tile["item"] for tile in (await office.timeline(ANN, RENEWAL))["suggestions"]] == ["meeting-1"]
    office.clock.now = NOW + 4 * DAY
    assert (await office.timeline(ANN, RENEWAL))["suggestions"] == []


async def test_filters_select_by_kind_and_direction(office: World) -> None:
    await office.suggest(meeting(), RENEWAL)
    await office.suggest(email(item="mail-2", identity="sent", direction=Direction.OUTGOING), RENEWAL)
    await office.store.tracked_activities.replace_if_unchanged(
        tracked(email(BEN, item="x", identity="theirs", direction=Direction.OUTGOING), (BEN, RENEWAL)), None
    )
    for query, items, shared in (
        ({"kind": "meeting"}, ["meeting-1"], 0),
        ({"kind": "email"}, ["mail-2", "mail-1"], 1),
        ({"direction": "incoming"}, ["mail-1"], 0),
        ({"direction": "outgoing"}, ["mail-2"], 1),
    ):
        timeline = await office.timeline(ANN, RENEWAL, **query)
        assert ([tile["item"] for tile in timeline["suggestions"]], len(timeline["tracked"])) == (
            items,
            shared,
        )


async def test_fifty_of_three_hundred_suggestions_are_shown_without_hidden_ones(
    office: World,
) -> None:
    for number in range(300):
        await office.suggest(
            email(item=f"m-{number}", identity=f"i-{number}", at=NOW - timedelta(minutes=number + 1)), RENEWAL
        )
    for number in range(220):
        await office.store.tracked_activities.replace_if_unchanged(
            tracked(email(BEN, item=f"b-{number}", identity=f"i-{number}"), (BEN, RENEWAL)), None
        )
    timeline = await office.timeline(ANN, RENEWAL)
    assert [tile["item"] for tile in timeline["suggestions"]] == [
        "mail-1",
        *(f"m-{number}" for number in range(220, 269)),
    ]
    assert timeline["has_more"]
    [record] = (await office.request(ANN, "GET", "/records?q=fleet")).json()["records"]
    assert record["suggestions"] == 81


async def test_tracked_activities_page_without_limit(office: World) -> None:
    for number in range(7):
        # Pairs share their time, so that a page ends between two of the same moment.
        await office.store.tracked_activities.replace_if_unchanged(
            tracked(
                email(BEN, item=f"b-{number}", identity=f"i-{number}", at=NOW - (number // 2) * HOUR),
                (BEN, RENEWAL),
            ),
            None,
        )
    seen: list[str] = []
    before: str | None = None
    while True:
        page = await office.timeline(ANN, RENEWAL, limit=2, **({"before": before} if before else {}))
        assert (page["suggestions"] == []) is (before is not None)
        seen += [tile["id"] for tile in page["tracked"]]
        before = page["next"]
        if before is None:
            break
    assert len(seen) == len(set(seen)) == 7


@pytest.mark.parametrize(
    "status,reason,empty",
    [
        (None, None, "not_enrolled"),
        (MailboxStatus.REMOVED, None, "not_enrolled"),
        (MailboxStatus.BLOCKED, "access_policy", "blocked"),
        (MailboxStatus.PAUSED, None, "paused"),
        (MailboxStatus.ENROLLED, None, "nothing_in_three_days"),
    ],
)
async def test_empty_timeline_has_a_reason(
    world: World, status: MailboxStatus | None, reason: str | None, empty: str
) -> None:
    await world.add_record(RENEWAL)
    if status:
        await world.set_mailbox(ANN, status, reason)
    assert (await world.timeline(ANN, RENEWAL))["empty"] == {"why": empty, "reason": reason}


async def test_caller_alone_gets_what_is_refused_of_the_mailbox(world: World) -> None:
    await world.add_record(RENEWAL)
    refused = KindRefused(kind=ActivityKind.MEETING, reason="permission:Calendars.Read", since=NOW)
    await world.set_mailbox(ANN, refused_kinds=(refused,), no_notifications="webhook")
    await world.set_mailbox(BEN)

    anns = (await world.timeline(ANN, RENEWAL))["mailbox"]
    bens = (await world.timeline(BEN, RENEWAL))["mailbox"]

    assert anns["no_notifications"] == "webhook"
    [kind] = anns["refused_kinds"]
    assert (kind["kind"], kind["reason"]) == ("meeting", "permission:Calendars.Read")
    assert datetime.fromisoformat(kind["since"]) == NOW
    assert (bens["refused_kinds"], bens["no_notifications"]) == ([], None)
    assert (await world.request(ANN, "GET", "/me")).json()["mailbox"] == anns


async def test_removed_mailbox_has_no_suggestions(office: World) -> None:
    await office.set_mailbox(ANN, MailboxStatus.REMOVED)
    assert (await office.timeline(ANN, RENEWAL))["suggestions"] == []
    assert (await office.request(ANN, "GET", f"{MAIL}/text")).status_code == 404
    assert (await office.request(ANN, "POST", f"{MAIL}/track")).status_code == 404
    assert [
        record["suggestions"] for record in (await office.request(ANN, "GET", "/records")).json()["records"]
    ] == [0, 0]


async def test_copies_in_one_mailbox_are_one_tile_and_count_once(office: World) -> None:
    async def shown() -> tuple[int, int]:
        timeline = (await office.request(ANN, "GET", f"{ON}/timeline")).json()
        records = (await office.request(ANN, "GET", "/records")).json()["records"]
        [count] = [record["suggestions"] for record in records if record["id"] == RENEWAL.id]
        return len(timeline["suggestions"]), count

    others, _ = await shown()
    for item in ("sent", "received"):
        await office.suggest(email(item=item, identity="to-the-sender"), RENEWAL)
    assert await shown() == (others + 1, others + 1)


async def test_deleted_record_is_not_found(office: World) -> None:
    await office.delete_record(RENEWAL)
    assert (await office.request(ANN, "GET", f"{ON}/timeline")).status_code == 404
    assert [
        record["name"] for record in (await office.request(ANN, "GET", "/records")).json()["records"]
    ] == ["Fabrikam"]


async def test_record_list_begins_with_records_of_the_newest_suggestions(world: World) -> None:
    keys = {
        name: RecordKey(ANN.tenant, "project", name)
        for name in ("Last modified", "Also modified", "Newest", "Older", "Hidden", "Dismissed")
    }
    for name in ("Hidden", "Newest", "Older", "Dismissed", "Also modified", "Last modified"):
        await world.add_record(keys[name], name, ("group:others",) if name == "Hidden" else None)
    await world.set_mailbox(ANN)
    await world.suggest(
        email(item="1", at=NOW - 2 * HOUR, identity="<1>"), keys["Older"], keys["Last modified"]
    )
    await world.suggest(email(item="2", identity="<2>"), keys["Hidden"], keys["Newest"])
    await world.suggest(email(item="3", at=NOW - HOUR / 2, identity="<3>"), keys["Dismissed"])
    await world.request(ANN, "PUT", "/records/project/Dismissed/suggestions/3/dismissal")

    async def found(user: Any, **params: Any) -> list[tuple[str, int]]:
        return [
            (record["name"], record["suggestions"])
            for record in (await world.request(user, "GET", "/records", params=params)).json()["records"]
        ]

    assert (await found(ANN))[:3] == [("Newest", 1), ("Older", 1), ("Last modified", 1)]
    assert sorted((await found(ANN))[3:]) == [("Also modified", 0), ("Dismissed", 0)]
    assert await found(ANN, limit=2) == [("Newest", 1), ("Older", 1)]
    assert {count for _, count in await found(BEN)} == {0}
    assert await found(ANN, q="modified") == [("Also modified", 0), ("Last modified", 1)]


async def test_record_search_finds_beginnings_before_other_parts(world: World) -> None:
    for number, (name, readers) in enumerate(
        {
            "Renewal A": None,
            "Fleet RENEWAL": ("*",),
            "Renewal B": ("group:sales",),
            "Other": None,
            "a.*b": None,
        }.items()
    ):
        await world.add_record(RecordKey(ANN.tenant, "project", str(number)), name, readers)
    in_sales = replace(ANN, groups=frozenset({"sales"}))

    async def found(user: Any, q: str, limit: int = 20) -> list[str]:
        return [
            record["name"]
            for record in (
                await world.request(user, "GET", "/records", params={"q": q, "limit": limit})
            ).json()["records"]
        ]

    assert await found(ANN, "renewal") == ["Renewal A", "Fleet RENEWAL"]
    assert await found(in_sales, "RENEW") == ["Renewal A", "Renewal B", "Fleet RENEWAL"]
    assert await found(in_sales, "renew", 2) == ["Renewal A", "Renewal B"]
    assert await found(ANN, ".*") == ["a.*b"]
    assert len(await found(ANN, "")) == 4


# -- text -----------------------------------------------------------------------------------------


def problem(status: int, code: str) -> dict[str, Any]:
    """A problem of mail-ingest's internal port."""
    return Problem(title="?", status=status, detail="?", code=code).model_dump(exclude_none=True)


async def test_own_text_comes_from_mail_ingest_and_is_not_cached(office: World) -> None:
    response = await office.request(ANN, "GET", f"{MAIL}/text")
    assert response.json() == {"text": "Dear all", "html": False, "cut": False}
    assert response.headers["Cache-Control"] == "no-store"
    [request] = office.mail_ingest.requests
    assert request.url.path == "/previews"
    assert request.headers["Authorization"] == "Bearer credential-of-the-internal-port"


@pytest.mark.parametrize(
    "status,body,expected",
    [
        (404, problem(404, "gone"), (409, "gone")),
        (409, problem(409, "access_policy"), (409, "access_policy")),
        (503, {}, (503, "unavailable")),
    ],
)
async def test_unavailable_text_has_a_reason(
    office: World, status: int, body: dict[str, str], expected: tuple[int, str]
) -> None:
    office.mail_ingest.status, office.mail_ingest.body = status, body
    response = await office.request(ANN, "GET", f"{MAIL}/text")
    assert (response.status_code, response.json()["code"]) == expected


async def test_what_became_of_a_tracked_item_is_shown(office: World) -> None:
    before = tracked(meeting(), (ANN, RENEWAL))
    await office.store.tracked_activities.replace_if_unchanged(before, None)
    cancelled = update_source(before, meeting().key, 2, content(meeting(cancelled=True)), NOW)
    gone = update_source(cancelled, meeting().key, 3, None, NOW)
    shown = []
    for state, previous in ((before, None), (cancelled, before), (gone, cancelled)):
        if previous:
            await office.store.tracked_activities.replace_if_unchanged(state, previous)
        [tile] = (await office.timeline(BEN, RENEWAL))["tracked"]
        shown.append((tile["activity"]["cancelled"], tile["source_gone"]))
        assert tile["revision"] == state.revision
    assert shown == [(False, False), (True, False), (True, True)]
