"""While MongoDB hangs, each route of the API answers 503 within a second."""

import time
from urllib.parse import quote

from services.tracking.app import check_mongodb
from services.tracking.store import Store
from tests.support.hung_mongodb import LONGEST_ANSWER, assert_unavailable_at_once, hung_mongodb, routes
from tests.tracking.conftest import World
from tests.tracking.worlds import ANN, RENEWAL

PARAMETERS = {"type": RENEWAL.type, "id": RENEWAL.id, "item": quote("mail-1"), "activity": "a"}
WITHOUT_DATABASE = {"/", "/config.json", "/page/{name}", "/api/v1/stream"}
"""The page's files, and a stream that first needs MongoDB when something has changed."""


async def test_every_route_is_unavailable_at_once(office: World, mongodb_uri: str) -> None:
    app = office.service.http[0].app
    requests = [
        request
        for request in routes(app, PARAMETERS | {"name": "{name}"})
        if request[1] not in WITHOUT_DATABASE | {"/health/live", "/metrics", "/status"}
    ]
    assert ("GET", "/health/ready") in requests
    headers = office.authority.bearer(ANN)
    with hung_mongodb(mongodb_uri):
        await assert_unavailable_at_once(app, requests, {}, headers)
    assert (await office.timeline(ANN, RENEWAL))["suggestions"]


async def test_service_is_not_ready_while_the_database_hangs(store: Store, mongodb_uri: str) -> None:
    assert await check_mongodb(store) is None
    with hung_mongodb(mongodb_uri):
        begun = time.monotonic()
        assert await check_mongodb(store)
        assert time.monotonic() - begun < LONGEST_ANSWER
    assert await check_mongodb(store) is None
