"""Invalid requests, odd ids and an outage of MongoDB."""

from time import monotonic
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from services.tracking.app import create_app
from services.tracking.settings import TrackingSettings
from services.tracking.signin import AuthorityKeys
from shared.events import ActivityKind
from shared.store_wait import with_bounded_store_wait
from tests.tracking.authority import URL, Authority
from tests.tracking.conftest import SettableClock, World
from tests.tracking.worlds import ANN, RENEWAL, email

from .timelines import MAIL, ON


@pytest.mark.usefixtures("responses_are_described")
@pytest.mark.parametrize(
    "method,path,more,status,field",
    [
        ("POST", f"{MAIL}/track", {"content": b"{"}, 422, "body"),
        ("POST", f"{MAIL}/track", {"json": {"confirm_private": "perhaps"}}, 422, "confirm_private"),
        ("POST", f"{MAIL}/track", {"json": {"confirm_privat": True}}, 422, "body.*"),
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


@pytest.mark.usefixtures("responses_are_described")
async def test_ids_may_contain_slashes_spaces_and_dollars(office: World) -> None:
    await office.suggest(email(item="AAMk/+ =$x", identity="$odd", subject="$where"), RENEWAL)
    assert (
        await office.request(ANN, "GET", f"{ON}/suggestions/AAMk%2F%2B%20%3D%24x/text")
    ).status_code == 200
    assert "$where" in [
        tile["activity"]["subject"]
        for tile in (await office.timeline(ANN, RENEWAL, kind=ActivityKind.EMAIL.value))["suggestions"]
    ]


async def test_mongodb_outage_is_a_503_within_a_second(settings: TrackingSettings) -> None:
    authority, clock = Authority(), SettableClock()
    nowhere = settings.model_copy(
        update={"mongodb_uri": SecretStr("mongodb://127.0.0.1:9/?directConnection=true")}
    )
    keys = AuthorityKeys(URL, clock, transport=authority.transport)
    service = await create_app(nowhere, clock, keys=keys, in_use=True)
    durations = []
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(with_bounded_store_wait(service.http[0].app)),
        base_url="http://tracking",
    ) as client:
        for _ in range(3):  # a machine under load delays one answer or another, but not each of three
            began = monotonic()
            response = await client.get("/api/v1/me", headers=authority.bearer(ANN))
            durations.append(monotonic() - began)
            assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert min(durations) < 1, durations
