"""The credential of the internal port, and when it is closed."""

from typing import Any, cast

import httpx2
import pytest
from pydantic import SecretStr

from services.mail_ingest.administration.api import create_api
from services.mail_ingest.recovery.gate import StoreGate
from tests.mail_ingest.gates import open_gate

TOKEN = "the-credential-of-the-service"


class StubAdministration:
    """The administration of no mailbox."""

    async def list_mailboxes(self, *_: object) -> list[dict[str, object]]:
        return []


@pytest.mark.parametrize(
    "configured, given, status",
    [
        (TOKEN, f"Bearer {TOKEN}", 200),
        (TOKEN, f"Bearer {TOKEN[:-1]}", 401),
        (TOKEN, "Bearer another-credential-than-ours", 401),
        (TOKEN, None, 401),
        ("", "Bearer ", 401),
        ("", "Bearer any", 401),
    ],
)
async def test_only_the_service_token_opens_the_internal_port(
    configured: str, given: str | None, status: int
) -> None:
    assert (await list_mailboxes(open_gate(), configured, given)).status_code == status


async def test_internal_port_names_the_reason_while_the_database_is_recovered() -> None:
    gate = open_gate()
    gate.close("the database is recovered from the topics: message_newer")

    response = await list_mailboxes(gate, TOKEN, f"Bearer {TOKEN}")

    assert response.status_code == 503
    assert response.json()["detail"] == gate.reason


async def list_mailboxes(gate: StoreGate, configured: str, given: str | None) -> httpx2.Response:
    administration, previews = cast("Any", StubAdministration()), cast("Any", None)
    app = create_api(administration, previews, SecretStr(configured), lambda: None, gate)
    headers = {"Authorization": given} if given else {}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://internal") as client:
        return await client.get("/mailboxes", headers=headers)
