"""The text of her own item, from mail-ingest's internal port; kept nowhere, logged nowhere."""

from dataclasses import dataclass
from datetime import timedelta

import httpx2
from pydantic import BaseModel, SecretStr, ValidationError

from shared.errors import Transient
from shared.events import Activity

ANSWER = timedelta(seconds=15)
"""Graph takes a second; mail-ingest waits out a short throttling."""


class NoText(Exception):
    """The text cannot be had, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Text(BaseModel):
    text: str
    html: bool = False
    cut: bool = False


class _Why(BaseModel):
    reason: str


@dataclass(frozen=True, slots=True)
class Text:
    """A private body on its way to its owner."""

    text: str
    html: bool
    cut: bool


class Previews:
    """mail-ingest's previews.

    Args:
        url: its internal port.
        token: our credential there.
        transport: another way there, for tests.
    """

    def __init__(
        self, url: str, token: SecretStr, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
        self._http = httpx2.AsyncClient(
            base_url=url, headers=headers, timeout=ANSWER.total_seconds(), transport=transport
        )

    async def close(self) -> None:
        """Hangs up."""
        await self._http.aclose()

    async def text(self, activity: Activity) -> Text:
        """The text of an item.

        Raises:
            NoText: it is gone, or its mailbox is blocked.
            Transient: mail-ingest or Graph is away.
        """
        asked = {
            "tenant": activity.tenant,
            "mailbox": activity.mailbox,
            "item": activity.item,
            "kind": activity.kind.value,
        }
        try:
            answer = await self._http.post("/previews", json=asked)
        except httpx2.HTTPError as away:
            raise Transient(f"mail-ingest does not answer: {type(away).__name__}") from None
        try:
            if answer.status_code == 200:
                found = _Text.model_validate_json(answer.content)
                return Text(found.text, found.html, found.cut)
            if answer.status_code in {404, 409, 410}:
                raise NoText(_Why.model_validate_json(answer.content).reason)
        except ValidationError:
            pass
        raise Transient(f"mail-ingest answered {answer.status_code}")
