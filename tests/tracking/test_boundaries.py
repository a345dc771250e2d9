"""Two tenants and their users against every route: whatever is not hers is the same 404."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fastapi import FastAPI

from services.tracking.domain.visibility import User
from shared.records import RecordKey

from .conftest import World
from .streams import beginning
from .worlds import ADA, ANN, BEN, CONTOSO, EVE, FABRIKAM, RENEWAL, email, tracked

SECRET = (CONTOSO, "opportunity", "secret")
HIDDEN, SHARED, OWN, SILENT = "hidden", "shared", "own", "silent"


@dataclass(frozen=True)
class Route:
    """A route, and what a colleague finds there who may read the record and owns nothing on it.

    HIDDEN: the 404. SHARED: what is tracked, and nothing of Ann's own. OWN: her own things, wherever she is.
    SILENT: that it is there, and no word of what is on it.
    """

    method: str
    path: str
    colleague: str


ON_RECORD = "/api/v1/records/{type}/{id}"
TABLE = (
    Route("GET", "/api/v1/me", OWN),
    Route("GET", "/api/v1/records", OWN),
    Route("GET", "/api/v1/stream", SILENT),
    Route("GET", f"{ON_RECORD}/timeline", SHARED),
    Route("GET", f"{ON_RECORD}/stream", SILENT),
    Route("GET", f"{ON_RECORD}/suggestions/{{item:path}}/text", HIDDEN),
    Route("POST", f"{ON_RECORD}/suggestions/{{item:path}}/track", HIDDEN),
    Route("PUT", f"{ON_RECORD}/suggestions/{{item:path}}/dismissal", HIDDEN),
    Route("DELETE", f"{ON_RECORD}/suggestions/{{item:path}}/dismissal", HIDDEN),
    Route("GET", f"{ON_RECORD}/tracked/{{activity}}", SHARED),
    Route("DELETE", f"{ON_RECORD}/tracked/{{activity}}", HIDDEN),
)
PAGE = {("GET", "/"), ("GET", "/config.json"), ("GET", "/page/{name}")}
"""For everybody: the page's files, and where it signs people in."""
HEALTH = {("GET", "/health/live"), ("GET", "/health/ready"), ("GET", "/metrics"), ("GET", "/status")}
ON_RECORDS = [route for route in TABLE if route.path.startswith(ON_RECORD)]


def _routes(routes: list[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for route in routes:
        if hasattr(route, "original_router"):
            yield from _routes(route.original_router.routes, prefix)
        else:
            yield from ((method, prefix + route.path) for method in route.methods if method != "HEAD")


def test_every_route_of_the_app_is_in_the_table(world: World) -> None:
    app: FastAPI = world.service.http[0][2]
    assert set(_routes(app.routes)) == {(route.method, route.path) for route in TABLE} | PAGE | HEALTH


@pytest.fixture
async def filled(world: World) -> World:
    """Ann has an untracked mail, and a tracked meeting, on an open opportunity and on a secret one; Ben and Eve have nothing."""
    await world.record(RENEWAL, "Fleet renewal", ("*",))
    await world.record(SECRET, "Hostile takeover", ("user:oid-ann",))
    for user in (ANN, BEN, EVE):
        await world.mailbox(user)
    await world.suggest(email(subject="Between us"), RENEWAL, SECRET)
    shared = tracked(
        email(item="mail-2", identity="shared", subject="For all"), (ANN, RENEWAL), (ANN, SECRET)
    )
    await world.store.tracked.put(shared, None)
    return world


ACTIVITY = tracked(email(item="mail-2", identity="shared"), (ANN, RENEWAL)).id


async def asked(
    world: World, user: User, route: Route, record: RecordKey, item: str = "mail-1", activity: str = ACTIVITY
) -> tuple[int, bytes]:
    path = (
        route.path.removeprefix("/api/v1")
        .replace("{item:path}", "{item}")
        .format(type=record[1], id=record[2], item=item, activity=activity)
    )
    if route.colleague == SILENT:
        return await beginning(world, user, path)
    answer = await world.ask(user, route.method, path)
    return answer.status_code, answer.content


async def the_404(world: World) -> tuple[int, bytes]:
    nowhere = await world.ask(ANN, "GET", "/records/opportunity/was-never-there/timeline")
    return nowhere.status_code, nowhere.content


@pytest.mark.parametrize("route", ON_RECORDS, ids=lambda route: f"{route.method} {route.path}")
async def test_what_is_not_hers_is_the_same_404(filled: World, route: Route) -> None:
    not_there = await the_404(filled)
    assert not_there[0] == 404
    before = await filled.timeline(ANN, RENEWAL), await filled.timeline(ANN, SECRET)

    assert await asked(filled, EVE, route, RENEWAL) == not_there, "another tenant's user"
    assert await asked(filled, replace(EVE, oid=ANN.oid), route, RENEWAL) == not_there, (
        "another tenant's user of the same id"
    )
    assert await asked(filled, BEN, route, SECRET) == not_there, "who may not read the record"
    assert await asked(filled, ADA, route, SECRET) == not_there, (
        "an administrator who may not read the record"
    )
    if route.colleague == HIDDEN:
        assert await asked(filled, BEN, route, RENEWAL) == not_there, "a colleague who owns nothing there"
    else:
        status, body = await asked(filled, BEN, route, RENEWAL)
        assert status == 200
        assert (b"For all" in body) is (route.colleague == SHARED)
        for private in (b"Between us", b"mail-1", b"secret", b"Hostile takeover"):
            assert private not in body

    assert (await filled.timeline(ANN, RENEWAL), await filled.timeline(ANN, SECRET)) == before, (
        "and nothing was changed"
    )


@pytest.mark.parametrize("route", ON_RECORDS, ids=lambda route: f"{route.method} {route.path}")
async def test_what_is_not_there_is_that_404_too(filled: World, route: Route) -> None:
    not_there = await the_404(filled)
    assert await asked(filled, ANN, route, (CONTOSO, "opportunity", "no-such-record")) == not_there
    if not route.path.endswith(("timeline", "stream")):
        assert (
            await asked(filled, ANN, route, RENEWAL, item="no-such-item", activity="no-such-activity")
            == not_there
        )


@pytest.mark.parametrize(
    "route", [route for route in TABLE if route.colleague == OWN], ids=lambda route: route.path
)
async def test_routes_without_a_record_answer_with_her_own_alone(filled: World, route: Route) -> None:
    for user, sees in ((ANN, True), (BEN, False), (EVE, False)):
        answer = await filled.ask(user, route.method, route.path.removeprefix("/api/v1"))
        assert answer.status_code == 200
        assert (b"Hostile takeover" in answer.content) is (sees and route.path.endswith("records"))
        assert b"oid-ann" not in answer.content or user is ANN
    assert (await filled.ask(EVE, "GET", "/records")).json()["records"] == []
    counts = {
        record["name"]: record["suggestions"]
        for record in (await filled.ask(ANN, "GET", "/records")).json()["records"]
    }
    assert counts == {"Fleet renewal": 1, "Hostile takeover": 1}
    assert [
        record["suggestions"] for record in (await filled.ask(BEN, "GET", "/records")).json()["records"]
    ] == [0]


async def test_a_tile_hides_the_records_that_she_may_not_read(filled: World) -> None:
    [hers], [his] = (
        (await filled.timeline(ANN, RENEWAL))["tracked"],
        (await filled.timeline(BEN, RENEWAL))["tracked"],
    )
    assert [entry["name"] for entry in hers["regarding"]] == ["Fleet renewal", "Hostile takeover"]
    assert [entry["name"] for entry in his["regarding"]] == ["Fleet renewal"]


async def test_the_same_item_id_in_another_mailbox_is_another_item(filled: World) -> None:
    await filled.suggest(email(BEN, subject="Ben's own", identity="another"), RENEWAL)
    assert [tile["activity"]["subject"] for tile in (await filled.timeline(BEN, RENEWAL))["suggestions"]] == [
        "Ben's own"
    ]
    assert [tile["activity"]["subject"] for tile in (await filled.timeline(ANN, RENEWAL))["suggestions"]] == [
        "Between us"
    ]
    assert (
        await filled.ask(BEN, "GET", "/records/opportunity/renewal/suggestions/mail-1/text")
    ).status_code == 200
    assert b'"oid-ben"' in filled.ingest.asked[0].content


async def test_the_same_record_key_in_another_tenant_is_another_record(filled: World) -> None:
    theirs = (FABRIKAM, *RENEWAL[1:])
    await filled.record(theirs, "Theirs")
    assert (await filled.timeline(EVE, theirs))["record"]["name"] == "Theirs"
    assert (await filled.timeline(EVE, theirs))["tracked"] == []
