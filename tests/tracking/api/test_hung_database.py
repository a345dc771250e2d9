"""While MongoDB hangs, each route of the API answers 503 within a second."""

import time
from urllib.parse import quote

from services.tracking.app import check_mongodb
from services.tracking.store import Store
from tests.support.hung_mongodb import LONGEST_ANSWER, assert_unavailable_at_once, hung_mongodb, routes
from tests.tracking.conftest import World
from tests.tracking.worlds import ANN, RENEWAL

PARAMETERS = {
    "type": RENEWAL.type,
    "id": RENEWAL.id,
    "item": quote("mail-1"),
    "activity": "a",
    "name": "style.css",
}
WITHOUT_DATABASE = {"/", "/config.json", "/page/style.css", "/api/v1/stream"}
"""The page's files, and a stream that first needs MongoDB when something has changed."""


async def test_every_route_is_unavailable_at_once(office: World, mongodb_uri: str) -> None:
    app = office.service.http[0].app
    requests = [each for each in routes(app, PARAMETERS) if each[1] not in WITHOUT_DATABASE]
    headers = office.authority.bearer(ANN)
    with hung_mongodb(mongodb_uri):
        await assert_unavailable_at_once(app, [*requests, ("GET", "/health/ready")], {}, headers)
    assert (await office.timeline(ANN, RENEWAL))["suggestions"]


async def test_service_is_not_ready_while_the_database_hangs(store: Store, mongodb_uri: str) -> None:
    assert await check_mongodb(store) is None
    with hung_mongodb(mongodb_uri):
        begun = time.monotonic()
        assert await check_mongodb(store)
        assert time.monotonic() - begun < LONGEST_ANSWER
    assert await check_mongodb(store) is None
