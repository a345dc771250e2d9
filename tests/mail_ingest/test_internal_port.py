"""The internal port: who is let in, and which texts it shows."""

from typing import Any, cast

import httpx2
import pytest
from pydantic import SecretStr
from services.mail_ingest.api import create_api
from services.mail_ingest.documents import Mailbox
from services.mail_ingest.previews import NotShown, Previews

from shared.events import Kind, MailboxStatus

from .graphs import NOW

TOKEN = "the-credential-of-the-service"


class Empty:
    """No mailbox, or one that has captured nothing; Graph has a text under every id."""

    async def every(self, _tenant: str | None) -> list[dict[str, object]]:
        return []

    async def mailbox(self, _key: str) -> Mailbox:
        return Mailbox("contoso", "ann", MailboxStatus.ENROLLED, 1, NOW)

    async def known(self, *_: Any) -> dict[str, Any]:
        return {}

    async def content(self, *_: Any) -> Any:
        raise AssertionError("the text of an item that is not captured is read")


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
async def test_a_wrong_token_is_refused(configured: str, given: str | None, status: int) -> None:
    app = create_api(cast("Any", Empty()), cast("Any", None), SecretStr(configured), lambda: None)
    headers = {"Authorization": given} if given else {}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://internal") as client:
        assert (await client.get("/mailboxes", headers=headers)).status_code == status


async def test_the_text_of_an_item_that_is_not_captured_is_not_shown() -> None:
    previews = Previews(cast("Any", Empty()), cast("Any", Empty()))
    with pytest.raises(NotShown, match="gone"):
        await previews.show("contoso", "ann", Kind.EMAIL, "i")
