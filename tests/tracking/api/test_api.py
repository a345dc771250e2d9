"""What a user does on timelines, over HTTP, on the real MongoDB."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from services.tracking.app import create_app
from services.tracking.settings import TrackingSettings
from services.tracking.signin import AuthorityKeys
from shared.events import ActivityKind, Direction, MailboxStatus, Sensitivity
from shared.keys import RecordKey
from shared.problems import Problem
from tests.tracking.authority import URL, Authority
from tests.tracking.conftest import SettableClock, World
from tests.tracking.worlds import (
    ACCOUNT,
    ADA,
    ANN,
    BEN,
    DAY,
    HOUR,
    NOW,
    RENEWAL,
    content,
    email,
    meeting,
    regarding,
    tracked,
)

INTERFACE: dict[str, Any] = json.loads((Path(__file__).parents[3] / "docs/openapi.json").read_text())
ON = "/records/opportunity/renewal"
MAIL = f"{ON}/suggestions/mail-1"


@pytest.fixture
async def office(world: World) -> World:
    """Ann's mail about the renewal, which both Ann and Ben may read."""
    await world.add_record(RENEWAL, "Fleet renewal")
    await world.add_record(ACCOUNT, "Fabrikam")
    for user in (ANN, BEN):
        await world.set_mailbox(user)
    await world.suggest(email(), RENEWAL, ACCOUNT)
    return world


# -- the interface document -----------------------------------------------------------------------


def app_routes(routes: list[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for route in routes:
        if hasattr(route, "original_router"):
            yield from app_routes(route.original_router.routes, prefix)
        else:
            yield from ((method, prefix + re.sub(r":\w+}", "}", route.path)) for method in route.methods)


async def test_openapi_document_has_exactly_the_routes_of_the_app(world: World) -> None:
    app = world.service.http[0][2]
    described = {
        (method.upper(), path) for path, operations in INTERFACE["paths"].items() for method in operations
    }
    assert described == {
        (method, path) for method, path in app_routes(app.routes) if path.startswith("/api/")
    }


def described_responses(method: str, path: str) -> dict[str, Any] | None:
    """The responses that the document describes for a request; None when it has no such route."""
    for known, operations in INTERFACE["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", known), path) and method.lower() in operations:
            return dict(operations[method.lower()]["responses"])
    return None


def resolve(part: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, with its reference followed."""
    while "$ref" in part:
        found: Any = INTERFACE
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part


async def check_described(response: httpx2.Response) -> None:
    """Checks that the OpenAPI document describes this response, with its fields and media type."""
    path = response.request.url.raw_path.decode().partition("?")[0]
    described = described_responses(response.request.method, path)
    if described is None:
        return
    assert str(response.status_code) in described, (
        f"{response.request.method} {response.request.url.path}: {response.status_code}"
    )
    content = resolve(described[str(response.status_code)]).get("content", {})
    await response.aread()
    assert bool(content) == bool(response.content)
    media_type = response.headers.get("content-type", "").partition(";")[0]
    assert set(content) <= {media_type}
    if content:
        schema = resolve(content[media_type]["schema"])
        assert set(schema["required"]) <= response.json().keys() <= schema["properties"].keys()


@pytest.fixture(autouse=True)
def responses_are_described(request: pytest.FixtureRequest) -> None:
    if "world" in request.fixturenames:
        request.getfixturevalue("world").client.event_hooks["response"].append(check_described)


def problem(status: int, code: str) -> dict[str, Any]:
    """A problem of mail-ingest's internal port."""
    return Problem(title="?", status=status, detail="?", code=code).model_dump(exclude_none=True)


def states(timeline: dict[str, Any]) -> list[tuple[str, str]]:
    return [(tile["item"], tile["state"]) for tile in timeline["suggestions"]]


# -- reading --------------------------------------------------------------------------------------


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


async def test_removed_mailbox_has_no_suggestions(office: World) -> None:
    await office.set_mailbox(ANN, MailboxStatus.REMOVED)
    assert (await office.timeline(ANN, RENEWAL))["suggestions"] == []
    assert (await office.request(ANN, "GET", f"{MAIL}/text")).status_code == 404
    assert (await office.request(ANN, "POST", f"{MAIL}/track")).status_code == 404
    assert [
        record["suggestions"] for record in (await office.request(ANN, "GET", "/records")).json()["records"]
    ] == [0, 0]


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


# -- track ----------------------------------------------------------------------------------------


async def test_track_is_pending_for_ten_minutes_for_its_owner_alone(office: World) -> None:
    response = await office.request(ANN, "POST", f"{MAIL}/track")
    assert response.status_code == 202
    assert response.json() == {"state": "pending", "until": "2096-11-24T12:10:00Z", "tracked": None}
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "pending")]
    assert states(await office.timeline(ANN, ACCOUNT)) == [("mail-1", "untracked")]
    ben = await office.timeline(BEN, RENEWAL)
    assert (ben["suggestions"], ben["tracked"]) == ([], [])
    office.clock.now = NOW + timedelta(minutes=10)
    [tile] = (await office.timeline(ANN, RENEWAL))["suggestions"]
    assert (tile["state"], tile["reason"]) == ("failed", "no_answer")


async def test_concurrent_tracks_are_one_request_with_one_response(office: World) -> None:
    responses = await asyncio.gather(*(office.request(ANN, "POST", f"{MAIL}/track") for _ in range(8)))
    assert {(response.status_code, response.text) for response in responses} == {(202, responses[0].text)}
    assert (
        await office.store.track_requests.count_open(),
        await office.store.track_requests.count_publish_pending(),
    ) == (1, 1)
    [stored] = await office.store.track_requests.find_for_record(ANN.mailbox_key, RENEWAL)
    assert len(stored.regarding) == 1


async def test_track_on_a_second_record_joins_the_open_request(office: World) -> None:
    await office.request(ANN, "POST", f"{MAIL}/track")
    await office.request(ANN, "POST", "/records/account/fabrikam/suggestions/mail-1/track")
    assert await office.store.track_requests.count_open() == 1
    assert states(await office.timeline(ANN, ACCOUNT)) == [("mail-1", "pending")]


async def test_track_after_the_deadline_opens_a_new_request(office: World) -> None:
    await office.request(ANN, "POST", f"{MAIL}/track")
    office.clock.now = NOW + timedelta(minutes=11)
    await office.request(ANN, "POST", f"{MAIL}/track")
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "pending")]
    assert len(await office.store.track_requests.find_for_record(ANN.mailbox_key, RENEWAL)) == 2


@pytest.mark.parametrize("sensitivity", [Sensitivity.PRIVATE, Sensitivity.CONFIDENTIAL, Sensitivity.PERSONAL])
async def test_private_item_is_shared_after_the_owner_agrees(office: World, sensitivity: Sensitivity) -> None:
    await office.suggest(email(sensitivity=sensitivity), RENEWAL, sequence=2)
    response = await office.request(ANN, "POST", f"{MAIL}/track", json={"confirm_private": False})
    assert (response.status_code, response.json().get("code")) == (409, "private")
    assert await office.store.track_requests.count_open() == 0
    assert (
        await office.request(ANN, "POST", f"{MAIL}/track", json={"confirm_private": True})
    ).status_code == 202


async def test_track_of_an_item_that_is_no_longer_visible_is_a_conflict(office: World) -> None:
    await office.suggest(email(), ACCOUNT, sequence=2)
    response = await office.request(ANN, "POST", f"{MAIL}/track")
    assert (response.status_code, response.json()["code"]) == (409, "no_longer_visible")
    await office.suggest(email(), sequence=3)
    assert (await office.request(ANN, "POST", f"{MAIL}/track")).status_code == 409
    await office.suggest(email(), RENEWAL, sequence=4)
    office.clock.now = NOW + 3 * DAY
    assert (await office.request(ANN, "POST", f"{MAIL}/track")).status_code == 409


async def test_filters_apply_to_pending_items(office: World) -> None:
    await office.request(ANN, "POST", f"{MAIL}/track")
    for query, pending in (
        ({"kind": "email"}, 1),
        ({"kind": "meeting"}, 0),
        ({"direction": "incoming"}, 1),
        ({"direction": "outgoing"}, 0),
    ):
        assert len((await office.timeline(ANN, RENEWAL, **query))["suggestions"]) == pending, query


async def test_match_withdrawn_while_pending_changes_nothing(office: World) -> None:
    first = await office.request(ANN, "POST", f"{MAIL}/track")
    await office.suggest(email(), sequence=2)
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "pending")]
    assert (await office.request(ANN, "POST", f"{MAIL}/track")).text == first.text


async def test_item_tracked_by_a_colleague_is_not_suggested_again(office: World) -> None:
    await office.store.tracked_activities.replace_if_unchanged(
        tracked(email(BEN, item="of-ben"), (BEN, RENEWAL)), None
    )
    timeline = await office.timeline(ANN, RENEWAL)
    assert timeline["suggestions"] == []
    assert [(entry["by"], entry["by_name"]) for entry in timeline["tracked"][0]["regarding"]] == [
        ("oid-ben", "Ben Roy")
    ]
    assert states(await office.timeline(ANN, ACCOUNT)) == [("mail-1", "untracked")]


@pytest.mark.parametrize("reading", ["find_identities", "find_page"])
async def test_item_tracked_while_the_timeline_is_read_is_shown_once(
    office: World, monkeypatch: pytest.MonkeyPatch, reading: str
) -> None:
    # A tile that is missing for one reading, or there twice, would lose the page its focus.
    collection = type(office.store.tracked_activities)
    read = getattr(collection, reading)

    async def tracked_just_before(*args: Any) -> Any:
        await office.store.tracked_activities.replace_if_unchanged(tracked(email(), (ANN, RENEWAL)), None)
        return await read(*args)

    monkeypatch.setattr(collection, reading, tracked_just_before)
    timeline = await office.timeline(ANN, RENEWAL)
    assert (len(timeline["suggestions"]), len(timeline["tracked"])) == (0, 1)


async def test_track_of_a_tracked_item_returns_it_without_a_request(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL))
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    response = await office.request(ANN, "POST", f"{MAIL}/track")
    assert (response.status_code, response.json()) == (
        202,
        {"state": "tracked", "until": None, "tracked": shared.id},
    )
    assert await office.store.track_requests.count_open() == 0


# -- tracked --------------------------------------------------------------------------------------


async def test_tracked_content_is_readable_for_readers_of_the_record(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL))
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    response = (await office.request(BEN, "GET", f"{ON}/tracked/{shared.id}")).json()
    assert response["content"] == {"text": content(email()).text, "html": False, "cut": False}
    assert response["tracked"]["owner"] == "oid-ann"
    assert (
        await office.request(BEN, "GET", f"/records/account/fabrikam/tracked/{shared.id}")
    ).status_code == 404


async def test_untrack_removes_own_entry_and_the_last_one_restores_the_suggestion(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL), (BEN, RENEWAL))
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    path = f"{ON}/tracked/{shared.id}"
    assert (await office.request(ANN, "DELETE", path, params={"by": "oid-ben"})).status_code == 404
    assert (await office.request(ANN, "DELETE", path)).status_code == 204
    assert (await office.request(ANN, "DELETE", path)).status_code == 404
    assert (await office.timeline(ANN, RENEWAL))["suggestions"] == []
    assert (await office.request(BEN, "DELETE", path)).status_code == 204
    timeline = await office.timeline(ANN, RENEWAL)
    assert (states(timeline), timeline["tracked"]) == ([("mail-1", "untracked")], [])
    untracked = await office.store.tracked_activities.find_by_key(shared.key)
    assert untracked
    assert untracked.content is None


async def test_user_cannot_remove_entries_of_others(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL))
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    path = f"{ON}/tracked/{shared.id}"
    for query in ({"by": ANN.oid}, {}):
        assert (await office.request(BEN, "DELETE", path, params=query)).status_code == 404
    [tile] = (await office.timeline(BEN, RENEWAL))["tracked"]
    assert [entry["by"] for entry in tile["regarding"]] == [ANN.oid]
    assert (await office.request(ANN, "DELETE", path, params={"by": ANN.oid})).status_code == 204


async def test_administrator_untracks_entries_of_others(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL))
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    assert (
        await office.request(ADA, "DELETE", f"{ON}/tracked/{shared.id}", params={"by": "oid-ann"})
    ).status_code == 204
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "untracked")]


async def test_concurrent_untracks_both_succeed(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL), (BEN, RENEWAL))
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    responses = await asyncio.gather(
        *(office.request(user, "DELETE", f"{ON}/tracked/{shared.id}") for user in (ANN, BEN))
    )
    assert [response.status_code for response in responses] == [204, 204]
    assert (await office.timeline(ANN, RENEWAL))["tracked"] == []


async def test_entry_of_a_deleted_record_is_marked_and_can_be_removed(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL), (ANN, ACCOUNT))
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    await office.delete_record(ACCOUNT)
    [tile] = (await office.timeline(BEN, RENEWAL))["tracked"]
    assert [(entry["id"], entry["name"], entry["deleted"]) for entry in tile["regarding"]] == [
        ("renewal", "Fleet renewal", False),
        ("fabrikam", None, True),
    ]
    assert (
        await office.request(ANN, "DELETE", f"/records/account/fabrikam/tracked/{shared.id}")
    ).status_code == 204


# -- dismiss --------------------------------------------------------------------------------------


async def test_dismissal_is_per_record_and_survives_every_rematch_until_undone(office: World) -> None:
    assert (await office.request(ANN, "PUT", f"{MAIL}/dismissal")).status_code == 204
    await office.suggest(email(), sequence=2)
    await office.suggest(email(), RENEWAL, ACCOUNT, sequence=3)
    assert states(await office.timeline(ANN, RENEWAL)) == []
    assert states(await office.timeline(ANN, ACCOUNT)) == [("mail-1", "untracked")]
    assert (await office.request(ANN, "DELETE", f"{MAIL}/dismissal")).status_code == 204
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "untracked")]
    assert (await office.request(ANN, "DELETE", f"{MAIL}/dismissal")).status_code == 204


async def test_dismissal_of_a_withdrawn_match_can_be_undone(office: World) -> None:
    await office.request(ANN, "PUT", f"{MAIL}/dismissal")
    await office.suggest(email(), sequence=2)
    assert (await office.request(ANN, "DELETE", f"{MAIL}/dismissal")).status_code == 204
    await office.suggest(email(), RENEWAL, sequence=3)
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "untracked")]


async def test_track_undoes_a_dismissal(office: World) -> None:
    await office.request(ANN, "PUT", f"{MAIL}/dismissal")
    assert (await office.request(ANN, "POST", f"{MAIL}/track")).status_code == 202
    [stored] = await office.store.track_requests.find_for_record(ANN.mailbox_key, RENEWAL)
    assert stored.regarding == regarding((ANN, RENEWAL))
    assert await office.store.dismissals.find_identities(ANN.mailbox_key, [RENEWAL]) == set()


# -- bad requests ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method,path,more,status,field",
    [
        ("POST", f"{MAIL}/track", {"content": b"{"}, 422, "body"),
        ("POST", f"{MAIL}/track", {"json": {"confirm_private": "perhaps"}}, 422, "confirm_private"),
        ("POST", f"{MAIL}/track", {"json": {"confirm_privat": True}}, 422, "confirm_privat"),
        ("POST", f"{MAIL}/track", {"json": [1]}, 422, "body"),
        ("POST", f"{MAIL}/track", {"content": b" " * 5000}, 413, None),
        ("GET", f"{ON}/timeline", {"params": {"limit": 0}}, 422, "limit"),
        ("GET", f"{ON}/timeline", {"params": {"limit": 201}}, 422, "limit"),
        ("GET", f"{ON}/timeline", {"params": {"before": "not-a-cursor"}}, 422, "before"),
        ("GET", f"{ON}/timeline", {"params": {"before": "bnVsbA=="}}, 422, "before"),
        (
            "GET",
            f"{ON}/timeline",
            {"params": {"before": "WyIwMDAxLTAxLTAxVDAwOjAwOjAwKzE0OjAwIiwieCJd"}},
            422,
            "before",
        ),  # year 1, 14 hours east
        ("GET", f"{ON}/timeline", {"params": {"kind": "phone call"}}, 422, "kind"),
        ("GET", f"{ON}/timeline", {"params": {"direction": "sideways"}}, 422, "direction"),
        ("GET", "/records", {"params": {"q": "x" * 201}}, 422, "q"),
        ("GET", "/records", {"params": {"q": "a\0b"}}, 422, "q"),
        ("PUT", f"{MAIL}/track", {}, 405, None),
        ("GET", "/no-such-route", {}, 404, None),
    ],
)
async def test_invalid_request_names_the_field_and_never_its_value(
    office: World, method: str, path: str, more: dict[str, Any], status: int, field: str | None
) -> None:
    response = await office.request(ANN, method, path, **more)
    assert response.status_code == status
    if field:
        assert response.json()["code"] == "invalid"
        assert field in response.json()["field"]
    for secret in ("perhaps", "not-a-cursor", "phone call", "sideways", "xxx"):
        assert secret not in response.text


async def test_ids_may_contain_slashes_spaces_and_dollars(office: World) -> None:
    await office.suggest(email(item="AAMk/+ =$x", identity="$odd", subject="$where"), RENEWAL)
    assert (
        await office.request(ANN, "GET", f"{ON}/suggestions/AAMk%2F%2B%20%3D%24x/text")
    ).status_code == 200
    assert "$where" in [
        tile["activity"]["subject"]
        for tile in (await office.timeline(ANN, RENEWAL, kind=ActivityKind.EMAIL.value))["suggestions"]
    ]


async def test_mongodb_outage_is_a_503_within_two_seconds(settings: TrackingSettings) -> None:
    authority, clock = Authority(), SettableClock()
    nowhere = settings.model_copy(
        update={"mongodb_uri": SecretStr("mongodb://127.0.0.1:9/?directConnection=true")}
    )
    service = await create_app(nowhere, clock, keys=AuthorityKeys(URL, clock, transport=authority.transport))
    durations = []
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(service.http[0][2]), base_url="http://tracking"
    ) as client:
        for _ in range(3):  # a machine under load delays one answer or another, but not each of three
            began = monotonic()
            response = await client.get("/api/v1/me", headers=authority.bearer(ANN))
            durations.append(monotonic() - began)
            assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert min(durations) < 2, durations
