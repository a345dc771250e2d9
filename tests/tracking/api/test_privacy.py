"""Two tenants and their users against every route: data of others is always the same 404."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fastapi import FastAPI

from services.tracking.domain.visibility import User
from shared.keys import RecordKey
from tests.tracking.conftest import World
from tests.tracking.streams import first_event
from tests.tracking.worlds import ADA, ANN, BEN, CONTOSO, EVE, FABRIKAM, RENEWAL, email, tracked

SECRET = RecordKey(CONTOSO, "opportunity", "secret")
GONE = RecordKey(CONTOSO, "project", "gone")
HIDDEN, SHARED, OWN, SILENT = "hidden", "shared", "own", "silent"


@dataclass(frozen=True)
class Route:
    """A route, and what it returns to a colleague who may read the record and owns nothing on it.

    Attributes:
        colleague: HIDDEN: the 404. SHARED: what is tracked, and nothing of Ann's own. OWN: own data alone.
            SILENT: events without data.
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
"""Public: the page's files, and its configuration for the sign-in."""
HEALTH = {("GET", "/health/live"), ("GET", "/health/ready"), ("GET", "/metrics"), ("GET", "/status")}
ON_RECORDS = [route for route in TABLE if route.path.startswith(ON_RECORD)]


def _routes(routes: list[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for route in routes:
        if hasattr(route, "original_router"):
            yield from _routes(route.original_router.routes, prefix)
        else:
            yield from ((method, prefix + route.path) for method in route.methods if method != "HEAD")


def test_every_route_of_the_app_is_in_the_table(world: World) -> None:
    app: FastAPI = world.service.http[0].app
    assert set(_routes(app.routes)) == {(route.method, route.path) for route in TABLE} | PAGE | HEALTH


@pytest.fixture
async def filled(world: World) -> World:
    """Ann has an untracked and a tracked mail on an open and a secret opportunity; Ben and Eve have none."""
    await world.add_record(RENEWAL, "Fleet renewal", ("*",))
    await world.add_record(SECRET, "Hostile bid", ("user:oid-ann",))
    for user in (ANN, BEN, EVE):
        await world.set_mailbox(user)
    await world.suggest(email(subject="Between us"), RENEWAL, SECRET)
    shared = tracked(
        email(item="mail-2", identity="shared", subject="For all"), (ANN, RENEWAL), (ANN, SECRET)
    )
    await world.store.tracked_activities.replace_if_unchanged(shared, None)
    return world


ACTIVITY = tracked(email(item="mail-2", identity="shared"), (ANN, RENEWAL)).id


async def call(
    world: World, user: User, route: Route, record: RecordKey, item: str = "mail-1", activity: str = ACTIVITY
) -> tuple[int, bytes]:
    path = (
        route.path.removeprefix("/api/v1")
        .replace("{item:path}", "{item}")
        .format(type=record[1], id=record[2], item=item, activity=activity)
    )
    if route.colleague == SILENT:
        return await first_event(world, user, path)
    response = await world.request(user, route.method, path)
    return response.status_code, response.content


async def not_found(world: World) -> tuple[int, bytes]:
    nowhere = await world.request(ANN, "GET", "/records/opportunity/unknown/timeline")
    return nowhere.status_code, nowhere.content


@pytest.mark.parametrize("route", ON_RECORDS, ids=lambda route: f"{route.method} {route.path}")
async def test_data_of_others_is_the_same_404(filled: World, route: Route) -> None:
    missing = await not_found(filled)
    assert missing[0] == 404
    before = await filled.timeline(ANN, RENEWAL), await filled.timeline(ANN, SECRET)

    assert await call(filled, EVE, route, RENEWAL) == missing, "another tenant's user"
    assert await call(filled, replace(EVE, oid=ANN.oid), route, RENEWAL) == missing, (
        "another tenant's user of the same id"
    )
    assert await call(filled, BEN, route, SECRET) == missing, "a colleague who may not read the record"
    assert await call(filled, ADA, route, SECRET) == missing, "an administrator who may not read the record"
    if route.colleague == HIDDEN:
        assert await call(filled, BEN, route, RENEWAL) == missing, "a colleague who owns nothing there"
    else:
        status, body = await call(filled, BEN, route, RENEWAL)
        assert status == 200
        assert (b"For all" in body) is (route.colleague == SHARED)
        for private in (b"Between us", b"mail-1", b"secret", b"Hostile bid"):
            assert private not in body

    assert (await filled.timeline(ANN, RENEWAL), await filled.timeline(ANN, SECRET)) == before, (
        "nothing was changed"
    )


@pytest.mark.parametrize("route", ON_RECORDS, ids=lambda route: f"{route.method} {route.path}")
async def test_missing_data_is_the_same_404(filled: World, route: Route) -> None:
    missing = await not_found(filled)
    assert await call(filled, ANN, route, RecordKey(CONTOSO, "opportunity", "no-such-record")) == missing
    if not route.path.endswith(("timeline", "stream")):
        assert (
            await call(filled, ANN, route, RENEWAL, item="no-such-item", activity="no-such-activity")
            == missing
        )


@pytest.mark.parametrize(
    "route", [route for route in TABLE if route.colleague == OWN], ids=lambda route: route.path
)
async def test_routes_without_a_record_return_own_data_alone(filled: World, route: Route) -> None:
    for user, sees in ((ANN, True), (BEN, False), (EVE, False)):
        response = await filled.request(user, route.method, route.path.removeprefix("/api/v1"))
        assert response.status_code == 200
        assert (b"Hostile bid" in response.content) is (sees and route.path.endswith("records"))
        assert b"oid-ann" not in response.content or user is ANN
    assert (await filled.request(EVE, "GET", "/records")).json()["records"] == []
    counts = {
        record["name"]: record["suggestions"]
        for record in (await filled.request(ANN, "GET", "/records")).json()["records"]
    }
    assert counts == {"Fleet renewal": 1, "Hostile bid": 1}
    assert [
        record["suggestions"] for record in (await filled.request(BEN, "GET", "/records")).json()["records"]
    ] == [0]


async def test_tile_hides_records_that_the_user_may_not_read(filled: World) -> None:
    [ann] = (await filled.timeline(ANN, RENEWAL))["tracked"]
    [ben] = (await filled.timeline(BEN, RENEWAL))["tracked"]
    assert [entry["name"] for entry in ann["regarding"]] == ["Fleet renewal", "Hostile bid"]
    assert [entry["name"] for entry in ben["regarding"]] == ["Fleet renewal"]


@pytest.fixture
async def unknown(filled: World) -> World:
    """All that is known of a record is that it is deleted; its entry and its suggestion are older."""
    await filled.delete_record(GONE)
    await filled.suggest(email(item="mail-3", identity="on a record that is gone"), GONE)
    shared = tracked(email(item="mail-4", identity="also there"), (ANN, RENEWAL), (ANN, GONE))
    await filled.store.tracked_activities.replace_if_unchanged(shared, None)
    return filled


ON_GONE = tracked(email(item="mail-4", identity="also there"), (ANN, GONE)).id


@pytest.mark.parametrize("route", ON_RECORDS, ids=lambda route: f"{route.method} {route.path}")
async def test_record_that_is_only_known_as_deleted_is_closed_to_everybody(
    unknown: World, route: Route
) -> None:
    missing = await not_found(unknown)
    for user in (ANN, BEN, ADA):
        own_entry = user is ANN and (route.method, route.path) == (
            "DELETE",
            f"{ON_RECORD}/tracked/{{activity}}",
        )
        called = await call(unknown, user, route, GONE, item="mail-3", activity=ON_GONE)
        assert called == ((204, b"") if own_entry else missing), user


async def test_record_that_is_only_known_as_deleted_is_named_nowhere_until_it_comes(unknown: World) -> None:
    async def named_to(user: User) -> tuple[list[str], list[str]]:
        [tile] = [
            tile for tile in (await unknown.timeline(user, RENEWAL))["tracked"] if tile["id"] == ON_GONE
        ]
        listed = (await unknown.request(user, "GET", "/records")).json()["records"]
        return [entry["id"] for entry in tile["regarding"]], [each["id"] for each in listed]

    for user in (ANN, BEN, ADA):
        entries, listed = await named_to(user)
        assert (entries, GONE.id in listed) == ([RENEWAL.id], False)
    await unknown.add_record(GONE, "Known again")
    for user in (ANN, BEN, ADA):
        entries, listed = await named_to(user)
        assert (entries, GONE.id in listed) == ([RENEWAL.id, GONE.id], True)


async def test_same_item_id_in_another_mailbox_is_another_item(filled: World) -> None:
    await filled.suggest(email(BEN, subject="Ben's own", identity="another"), RENEWAL)
    assert [tile["activity"]["subject"] for tile in (await filled.timeline(BEN, RENEWAL))["suggestions"]] == [
        "Ben's own"
    ]
    assert [tile["activity"]["subject"] for tile in (await filled.timeline(ANN, RENEWAL))["suggestions"]] == [
        "Between us"
    ]
    assert (
        await filled.request(BEN, "GET", "/records/opportunity/renewal/suggestions/mail-1/text")
    ).status_code == 200
    assert b'"oid-ben"' in filled.mail_ingest.requests[0].content


async def test_same_record_key_in_another_tenant_is_another_record(filled: World) -> None:
    theirs = RecordKey(FABRIKAM, RENEWAL.type, RENEWAL.id)
    await filled.add_record(theirs, "Theirs")
    assert (await filled.timeline(EVE, theirs))["record"]["name"] == "Theirs"
    assert (await filled.timeline(EVE, theirs))["tracked"] == []
