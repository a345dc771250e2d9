"""The credential of the internal port."""

from typing import Any, cast

import httpx2
import pytest
from pydantic import SecretStr

from services.mail_ingest.administration.api import create_api
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
    administration, previews = cast("Any", StubAdministration()), cast("Any", None)
    app = create_api(administration, previews, SecretStr(configured), lambda: None, open_gate())
    headers = {"Authorization": given} if given else {}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://internal") as client:
        assert (await client.get("/mailboxes", headers=headers)).status_code == status
