"""What a salesperson does on her timelines, over HTTP, on the real MongoDB."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from services.tracking.app import create_app
from services.tracking.settings import TrackingSettings
from services.tracking.signin import AuthorityKeys
from shared.events import Direction, Kind, MailboxStatus, Sensitivity

from .authority import URL, Authority
from .conftest import Time, World
from .worlds import ACCOUNT, ADA, ANN, BEN, DAY, HOUR, NOW, RENEWAL, asks, content, email, meeting, tracked

INTERFACE: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs/openapi.json").read_text())
ON = "/records/opportunity/renewal"
MAIL = f"{ON}/suggestions/mail-1"


@pytest.fixture
async def office(world: World) -> World:
    """Ann's mail about the renewal, which both she and Ben may read."""
    await world.record(RENEWAL, "Fleet renewal")
    await world.record(ACCOUNT, "Fabrikam")
    for user in (ANN, BEN):
        await world.mailbox(user)
    await world.suggest(email(), RENEWAL, ACCOUNT)
    return world


# -- the interface document -----------------------------------------------------------------------


def of_the_app(routes: list[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for route in routes:
        if hasattr(route, "original_router"):
            yield from of_the_app(route.original_router.routes, prefix)
        else:
            yield from ((method, prefix + re.sub(r":\w+}", "}", route.path)) for method in route.methods)


async def test_the_interface_document_has_every_route_and_no_other(world: World) -> None:
    app = world.service.http[0][2]
    described = {
        (method.upper(), path) for path, operations in INTERFACE["paths"].items() for method in operations
    }
    assert described == {
        (method, path) for method, path in of_the_app(app.routes) if path.startswith("/api/")
    }


def said_by_the_document(method: str, path: str) -> dict[str, Any] | None:
    """The answers that the document names for a request; None where it knows no such route."""
    for known, operations in INTERFACE["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", known), path) and method.lower() in operations:
            return dict(operations[method.lower()]["responses"])
    return None


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, or what it refers to."""
    while "$ref" in part:
        found: Any = INTERFACE
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part


async def is_as_described(answer: httpx2.Response) -> None:
    """Every answer in this file is one that the document names for its route, with the fields that it names."""
    described = said_by_the_document(
        answer.request.method, answer.request.url.raw_path.decode().partition("?")[0]
    )
    if described is None:
        return
    assert str(answer.status_code) in described, (
        f"{answer.request.method} {answer.request.url.path}: {answer.status_code}"
    )
    content = resolved(described[str(answer.status_code)]).get("content", {})
    await answer.aread()
    assert bool(content) == bool(answer.content)
    if "application/json" in content:
        schema = resolved(content["application/json"]["schema"])
        assert set(schema["required"]) <= answer.json().keys() <= schema["properties"].keys()


@pytest.fixture(autouse=True)
def answers_are_described(request: pytest.FixtureRequest) -> None:
    if "world" in request.fixturenames:
        request.getfixturevalue("world").client.event_hooks["response"].append(is_as_described)


def states(timeline: dict[str, Any]) -> list[tuple[str, str]]:
    return [(tile["item"], tile["state"]) for tile in timeline["suggestions"]]


# -- reading --------------------------------------------------------------------------------------


async def test_a_suggestion_shows_who_when_and_why(office: World) -> None:
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


async def test_mail_and_meetings_are_mixed_newest_first_and_leave_with_their_windows(office: World) -> None:
    await office.suggest(meeting(), RENEWAL)
    assert [tile["item"] for tile in (await office.timeline(ANN, RENEWAL))["suggestions"]] == [
        "meeting-1",
        "mail-1",
    ]
    office.time.now = NOW + 3 * DAY
    assert [tile["item"] for tile in (await office.timeline(ANN, RENEWAL))["suggestions"]] == ["meeting-1"]
    office.time.now = NOW + 4 * DAY
    assert (await office.timeline(ANN, RENEWAL))["suggestions"] == []


async def test_filters_choose_by_kind_and_direction(office: World) -> None:
    await office.suggest(meeting(), RENEWAL)
    await office.suggest(email(item="mail-2", identity="sent", direction=Direction.OUTGOING), RENEWAL)
    await office.store.tracked.put(
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


async def test_fifty_of_three_hundred_suggestions_are_shown_the_hidden_ones_not_counted(
    office: World,
) -> None:
    for number in range(300):
        await office.suggest(
            email(item=f"m-{number}", identity=f"i-{number}", at=NOW - timedelta(minutes=number + 1)), RENEWAL
        )
    for number in range(220):
        await office.store.tracked.put(
            tracked(email(BEN, item=f"b-{number}", identity=f"i-{number}"), (BEN, RENEWAL)), None
        )
    timeline = await office.timeline(ANN, RENEWAL)
    assert [tile["item"] for tile in timeline["suggestions"]] == [
        "mail-1",
        *(f"m-{number}" for number in range(220, 269)),
    ]
    assert timeline["has_more"]
    [record] = (await office.ask(ANN, "GET", "/records?q=fleet")).json()["records"]
    assert record["suggestions"] == 81


async def test_tracked_ones_page_without_limit(office: World) -> None:
    for number in range(7):
        # Pairs share their time, so that a page ends between two of the same moment.
        await office.store.tracked.put(
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
async def test_an_empty_timeline_says_why(
    world: World, status: MailboxStatus | None, reason: str | None, empty: str
) -> None:
    await world.record(RENEWAL)
    if status:
        await world.mailbox(ANN, status, reason)
    assert (await world.timeline(ANN, RENEWAL))["empty"] == {"why": empty, "reason": reason}


async def test_a_removed_mailbox_has_no_suggestions_whatever_is_stored(office: World) -> None:
    await office.mailbox(ANN, MailboxStatus.REMOVED)
    assert (await office.timeline(ANN, RENEWAL))["suggestions"] == []
    assert (await office.ask(ANN, "GET", f"{MAIL}/text")).status_code == 404
    assert (await office.ask(ANN, "POST", f"{MAIL}/track")).status_code == 404
    assert [
        record["suggestions"] for record in (await office.ask(ANN, "GET", "/records")).json()["records"]
    ] == [0, 0]


async def test_a_refused_or_deleted_record_is_not_there(office: World) -> None:
    await office.record(RENEWAL, gone=True)
    assert (await office.ask(ANN, "GET", f"{ON}/timeline")).status_code == 404
    assert [record["name"] for record in (await office.ask(ANN, "GET", "/records")).json()["records"]] == [
        "Fabrikam"
    ]


async def test_the_list_begins_with_the_records_of_her_newest_suggestions(world: World) -> None:
    keys = {
        name: (ANN.tenant, "project", name)
        for name in ("Last modified", "Also modified", "Newest", "Older", "Not hers", "Dismissed")
    }
    for name in ("Not hers", "Newest", "Older", "Dismissed", "Also modified", "Last modified"):
        await world.record(keys[name], name, ("group:others",) if name == "Not hers" else None)
    await world.mailbox(ANN)
    await world.suggest(
        email(item="1", at=NOW - 2 * HOUR, identity="<1>"), keys["Older"], keys["Last modified"]
    )
    await world.suggest(email(item="2", identity="<2>"), keys["Not hers"], keys["Newest"])
    await world.suggest(email(item="3", at=NOW - HOUR / 2, identity="<3>"), keys["Dismissed"])
    await world.ask(ANN, "PUT", "/records/project/Dismissed/suggestions/3/dismissal")

    async def found(user: Any, **params: Any) -> list[tuple[str, int]]:
        return [
            (record["name"], record["suggestions"])
            for record in (await world.ask(user, "GET", "/records", params=params)).json()["records"]
        ]

    assert (await found(ANN))[:3] == [("Newest", 1), ("Older", 1), ("Last modified", 1)]
    assert sorted((await found(ANN))[3:]) == [("Also modified", 0), ("Dismissed", 0)]
    assert await found(ANN, limit=2) == [("Newest", 1), ("Older", 1)]
    assert {count for _, count in await found(BEN)} == {0}
    assert await found(ANN, q="modified") == [("Also modified", 0), ("Last modified", 1)]


async def test_records_are_found_by_their_beginning_first_then_by_any_part(world: World) -> None:
    for number, (name, readers) in enumerate(
        {
            "Renewal A": None,
            "Fleet RENEWAL": ("*",),
            "Renewal B": ("group:sales",),
            "Other": None,
            "a.*b": None,
        }.items()
    ):
        await world.record((ANN.tenant, "project", str(number)), name, readers)
    in_sales = replace(ANN, groups=frozenset({"sales"}))

    async def found(user: Any, q: str, limit: int = 20) -> list[str]:
        return [
            record["name"]
            for record in (await world.ask(user, "GET", "/records", params={"q": q, "limit": limit})).json()[
                "records"
            ]
        ]

    assert await found(ANN, "renewal") == ["Renewal A", "Fleet RENEWAL"]
    assert await found(in_sales, "RENEW") == ["Renewal A", "Renewal B", "Fleet RENEWAL"]
    assert await found(in_sales, "renew", 2) == ["Renewal A", "Renewal B"]
    assert await found(ANN, ".*") == ["a.*b"]
    assert len(await found(ANN, "")) == 4


# -- text -----------------------------------------------------------------------------------------


async def test_the_text_of_her_own_item_comes_from_mail_ingest_and_is_kept_nowhere(office: World) -> None:
    answer = await office.ask(ANN, "GET", f"{MAIL}/text")
    assert answer.json() == {"text": "Dear all", "html": False, "cut": False}
    assert answer.headers["Cache-Control"] == "no-store"
    [asked] = office.ingest.asked
    assert asked.url.path == "/previews"
    assert asked.headers["Authorization"] == "Bearer credential-of-the-internal-port"


@pytest.mark.parametrize(
    "status,body,answered",
    [
        (404, {"reason": "gone"}, (409, "gone")),
        (409, {"reason": "access_policy"}, (409, "access_policy")),
        (503, {}, (503, "unavailable")),
    ],
)
async def test_a_text_that_cannot_be_had_says_why(
    office: World, status: int, body: dict[str, str], answered: tuple[int, str]
) -> None:
    office.ingest.status, office.ingest.body = status, body
    answer = await office.ask(ANN, "GET", f"{MAIL}/text")
    assert (answer.status_code, answer.json()["error"]) == answered


# -- track ----------------------------------------------------------------------------------------


async def test_track_is_pending_for_ten_minutes_and_for_her_alone(office: World) -> None:
    answer = await office.ask(ANN, "POST", f"{MAIL}/track")
    assert answer.status_code == 202
    assert answer.json() == {"state": "pending", "until": "2026-11-24T12:10:00Z", "tracked": None}
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "pending")]
    assert states(await office.timeline(ANN, ACCOUNT)) == [("mail-1", "untracked")]
    ben = await office.timeline(BEN, RENEWAL)
    assert (ben["suggestions"], ben["tracked"]) == ([], [])
    office.time.now = NOW + timedelta(minutes=10)
    [tile] = (await office.timeline(ANN, RENEWAL))["suggestions"]
    assert (tile["state"], tile["reason"]) == ("failed", "no_answer")


async def test_two_clicks_and_two_tabs_are_one_claim_with_the_same_answer(office: World) -> None:
    answers = await asyncio.gather(*(office.ask(ANN, "POST", f"{MAIL}/track") for _ in range(8)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(202, answers[0].text)}
    assert (await office.store.claims.open(), await office.store.claims.unsent()) == (1, 1)
    [claim] = await office.store.claims.on(f"{ANN.tenant}/{ANN.oid}", RENEWAL)
    assert len(claim.asks) == 1


async def test_track_on_a_second_record_joins_the_open_claim(office: World) -> None:
    await office.ask(ANN, "POST", f"{MAIL}/track")
    await office.ask(ANN, "POST", "/records/account/fabrikam/suggestions/mail-1/track")
    assert await office.store.claims.open() == 1
    assert states(await office.timeline(ANN, ACCOUNT)) == [("mail-1", "pending")]


async def test_a_late_claim_is_not_joined_but_asked_anew(office: World) -> None:
    await office.ask(ANN, "POST", f"{MAIL}/track")
    office.time.now = NOW + timedelta(minutes=11)
    await office.ask(ANN, "POST", f"{MAIL}/track")
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "pending")]
    assert len(await office.store.claims.on(f"{ANN.tenant}/{ANN.oid}", RENEWAL)) == 2


@pytest.mark.parametrize("sensitivity", [Sensitivity.PRIVATE, Sensitivity.CONFIDENTIAL, Sensitivity.PERSONAL])
async def test_a_private_item_asks_once_more(office: World, sensitivity: Sensitivity) -> None:
    await office.suggest(email(sensitivity=sensitivity), RENEWAL, count=2)
    answer = await office.ask(ANN, "POST", f"{MAIL}/track", json={"confirm_private": False})
    assert (answer.status_code, answer.json()["error"]) == (409, "private")
    assert await office.store.claims.open() == 0
    assert (await office.ask(ANN, "POST", f"{MAIL}/track", json={"confirm_private": True})).status_code == 202


async def test_track_on_what_is_no_longer_visible_is_a_409_that_says_so(office: World) -> None:
    await office.suggest(email(), ACCOUNT, count=2)
    answer = await office.ask(ANN, "POST", f"{MAIL}/track")
    assert (answer.status_code, answer.json()["error"]) == (409, "no_longer_visible")
    await office.suggest(email(), count=3)
    assert (await office.ask(ANN, "POST", f"{MAIL}/track")).status_code == 409
    await office.suggest(email(), RENEWAL, count=4)
    office.time.now = NOW + 3 * DAY
    assert (await office.ask(ANN, "POST", f"{MAIL}/track")).status_code == 409


async def test_filters_choose_among_what_is_pending_too(office: World) -> None:
    await office.ask(ANN, "POST", f"{MAIL}/track")
    for of, pending in (
        ({"kind": "email"}, 1),
        ({"kind": "meeting"}, 0),
        ({"direction": "incoming"}, 1),
        ({"direction": "outgoing"}, 0),
    ):
        assert len((await office.timeline(ANN, RENEWAL, **of))["suggestions"]) == pending, of


async def test_a_match_withdrawn_while_pending_changes_nothing(office: World) -> None:
    first = await office.ask(ANN, "POST", f"{MAIL}/track")
    await office.suggest(email(), count=2)
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "pending")]
    assert (await office.ask(ANN, "POST", f"{MAIL}/track")).text == first.text


async def test_what_a_colleague_tracked_here_is_tracked_and_no_second_suggestion(office: World) -> None:
    await office.store.tracked.put(tracked(email(BEN, item="of-ben"), (BEN, RENEWAL)), None)
    timeline = await office.timeline(ANN, RENEWAL)
    assert timeline["suggestions"] == []
    assert [(entry["by"], entry["by_name"]) for entry in timeline["tracked"][0]["regarding"]] == [
        ("oid-ben", "Ben Roy")
    ]
    assert states(await office.timeline(ANN, ACCOUNT)) == [("mail-1", "untracked")]


@pytest.mark.parametrize("reading", ["among", "on"])
async def test_what_is_tracked_while_the_timeline_is_read_is_there_once(
    office: World, monkeypatch: pytest.MonkeyPatch, reading: str
) -> None:
    """Between two readings of the database a tile is neither lost nor there twice: the page would drop it with its focus."""
    store = type(office.store.tracked)
    read = getattr(store, reading)

    async def tracked_just_before(*args: Any) -> Any:
        await office.store.tracked.put(tracked(email(), (ANN, RENEWAL)), None)
        return await read(*args)

    monkeypatch.setattr(store, reading, tracked_just_before)
    timeline = await office.timeline(ANN, RENEWAL)
    assert (len(timeline["suggestions"]), len(timeline["tracked"])) == (0, 1)


async def test_track_on_what_she_has_tracked_says_so_and_asks_nobody(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL))
    await office.store.tracked.put(shared, None)
    answer = await office.ask(ANN, "POST", f"{MAIL}/track")
    assert (answer.status_code, answer.json()) == (
        202,
        {"state": "tracked", "until": None, "tracked": shared.id},
    )
    assert await office.store.claims.open() == 0


# -- tracked --------------------------------------------------------------------------------------


async def test_a_tracked_activity_shows_its_stored_content_to_all_who_read_the_record(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL))
    await office.store.tracked.put(shared, None)
    answer = (await office.ask(BEN, "GET", f"{ON}/tracked/{shared.id}")).json()
    assert answer["content"] == {"text": content(email()).text, "html": False, "cut": False}
    assert answer["tracked"]["owner"] == "oid-ann"
    assert (await office.ask(BEN, "GET", f"/records/account/fabrikam/tracked/{shared.id}")).status_code == 404


async def test_untrack_is_one_s_own_and_with_the_last_entry_it_is_a_suggestion_again(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL), (BEN, RENEWAL))
    await office.store.tracked.put(shared, None)
    path = f"{ON}/tracked/{shared.id}"
    assert (await office.ask(ANN, "DELETE", path, params={"by": "oid-ben"})).status_code == 404
    assert (await office.ask(ANN, "DELETE", path)).status_code == 204
    assert (await office.ask(ANN, "DELETE", path)).status_code == 404
    assert (await office.timeline(ANN, RENEWAL))["suggestions"] == []
    assert (await office.ask(BEN, "DELETE", path)).status_code == 204
    timeline = await office.timeline(ANN, RENEWAL)
    assert (states(timeline), timeline["tracked"]) == ([("mail-1", "untracked")], [])
    gone = await office.store.tracked.one(ANN.tenant, shared.id)
    assert gone
    assert gone.content is None


async def test_an_administrator_untracks_anyone_s(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL))
    await office.store.tracked.put(shared, None)
    assert (
        await office.ask(ADA, "DELETE", f"{ON}/tracked/{shared.id}", params={"by": "oid-ann"})
    ).status_code == 204
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "untracked")]


async def test_two_who_untrack_at_once_both_do(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL), (BEN, RENEWAL))
    await office.store.tracked.put(shared, None)
    answers = await asyncio.gather(
        *(office.ask(user, "DELETE", f"{ON}/tracked/{shared.id}") for user in (ANN, BEN))
    )
    assert [answer.status_code for answer in answers] == [204, 204]
    assert (await office.timeline(ANN, RENEWAL))["tracked"] == []


async def test_a_deleted_record_s_entry_says_so_and_can_be_taken_off(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL), (ANN, ACCOUNT))
    await office.store.tracked.put(shared, None)
    await office.record(ACCOUNT, gone=True)
    [tile] = (await office.timeline(BEN, RENEWAL))["tracked"]
    assert [(entry["id"], entry["name"], entry["deleted"]) for entry in tile["regarding"]] == [
        ("renewal", "Fleet renewal", False),
        ("fabrikam", None, True),
    ]
    assert (
        await office.ask(ANN, "DELETE", f"/records/account/fabrikam/tracked/{shared.id}")
    ).status_code == 204


# -- dismiss --------------------------------------------------------------------------------------


async def test_dismissed_on_one_record_it_stays_so_through_every_re_match_until_undone(office: World) -> None:
    assert (await office.ask(ANN, "PUT", f"{MAIL}/dismissal")).status_code == 204
    await office.suggest(email(), count=2)
    await office.suggest(email(), RENEWAL, ACCOUNT, count=3)
    assert states(await office.timeline(ANN, RENEWAL)) == []
    assert states(await office.timeline(ANN, ACCOUNT)) == [("mail-1", "untracked")]
    assert (await office.ask(ANN, "DELETE", f"{MAIL}/dismissal")).status_code == 204
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "untracked")]
    assert (await office.ask(ANN, "DELETE", f"{MAIL}/dismissal")).status_code == 204


async def test_a_dismissal_can_be_undone_when_its_match_is_withdrawn(office: World) -> None:
    await office.ask(ANN, "PUT", f"{MAIL}/dismissal")
    await office.suggest(email(), count=2)
    assert (await office.ask(ANN, "DELETE", f"{MAIL}/dismissal")).status_code == 204
    await office.suggest(email(), RENEWAL, count=3)
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "untracked")]


async def test_track_undoes_a_dismissal(office: World) -> None:
    await office.ask(ANN, "PUT", f"{MAIL}/dismissal")
    assert (await office.ask(ANN, "POST", f"{MAIL}/track")).status_code == 202
    [claim] = await office.store.claims.on(f"{ANN.tenant}/{ANN.oid}", RENEWAL)
    assert claim.asks == asks((ANN, RENEWAL))
    assert await office.store.dismissals.on(f"{ANN.tenant}/{ANN.oid}", [RENEWAL]) == set()


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
async def test_a_bad_request_is_told_which_part_is_wrong_and_never_what_stood_there(
    office: World, method: str, path: str, more: dict[str, Any], status: int, field: str | None
) -> None:
    answer = await office.ask(ANN, method, path, **more)
    assert answer.status_code == status
    if field:
        assert answer.json()["error"] == "invalid"
        assert field in answer.json()["field"]
    for secret in ("perhaps", "not-a-cursor", "phone call", "sideways", "xxx"):
        assert secret not in answer.text


async def test_ids_with_slashes_spaces_and_dollars_are_just_ids(office: World) -> None:
    await office.suggest(email(item="AAMk/+ =$x", identity="$odd", subject="$where"), RENEWAL)
    assert (await office.ask(ANN, "GET", f"{ON}/suggestions/AAMk%2F%2B%20%3D%24x/text")).status_code == 200
    assert "$where" in [
        tile["activity"]["subject"]
        for tile in (await office.timeline(ANN, RENEWAL, kind=Kind.EMAIL.value))["suggestions"]
    ]


async def test_where_mongodb_is_away_it_is_a_503_within_two_seconds(settings: TrackingSettings) -> None:
    authority, time = Authority(), Time()
    nowhere = settings.model_copy(
        update={"mongodb_uri": SecretStr("mongodb://127.0.0.1:9/?directConnection=true")}
    )
    service = await create_app(nowhere, time, keys=AuthorityKeys(URL, time, transport=authority.transport))
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(service.http[0][2]), base_url="http://tracking"
    ) as client:
        async with asyncio.timeout(2):
            answer = await client.get("/api/v1/me", headers=authority.bearer(ANN))
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
