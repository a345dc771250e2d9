"""While MongoDB hangs, each route of both interfaces answers 503 within a second."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx2
from pydantic import SecretStr

from services.mail_ingest.app import create_app
from services.mail_ingest.settings import IngestSettings
from tests.support.hung_mongodb import assert_unavailable_at_once, hung_mongodb, routes

from .graphs import create_graph

TOKEN = "a-service-token-for-tests"
MAILBOX = {"tenant": "t", "mailbox": "00000000-0000-0000-0000-000000000001"}
BODIES: dict[str, Any] = {
    "/previews": {**MAILBOX, "item": "i", "kind": "email"},
    "/mailboxes": MAILBOX,
    "/mailboxes/batch": {"tenant": "t", "mailboxes": [MAILBOX["mailbox"]]},
    "/stuck-items/retry": MAILBOX,
    "/stuck-items/drop": MAILBOX,
}
NOTIFICATION = {
    "subscriptionId": "s",
    "clientState": "secret",
    "changeType": "created",
    "resource": "Users/u/Messages/m",
    "resourceData": {"id": "m"},
}


async def refuse(_: httpx2.Request) -> httpx2.Response:
    raise AssertionError("no request to Graph is needed")


async def test_every_route_is_unavailable_at_once(mongodb_uri: str, mongodb_database: str) -> None:
    settings = IngestSettings(
        mongodb_uri=SecretStr(mongodb_uri), mongodb_database=mongodb_database, service_token=SecretStr(TOKEN)
    )
    service = await create_app(settings, lambda: datetime.now(UTC), graph=create_graph(refuse))
    internal, webhook = (interface.app for interface in service.http)
    assert service.resources
    async with service.resources():
        check = service.health.readiness["mongodb"]
        assert await check() is None
        with hung_mongodb(mongodb_uri):
            _, _, answer = await asyncio.gather(
                assert_unavailable_at_once(
                    internal, routes(internal, MAILBOX), BODIES, {"Authorization": f"Bearer {TOKEN}"}
                ),
                assert_unavailable_at_once(
                    webhook,
                    routes(webhook, {}),
                    {path: {"value": [NOTIFICATION]} for _, path in routes(webhook, {})},
                ),
                check(),
            )
            assert answer == "MongoDB does not answer"
        assert await check() is None
