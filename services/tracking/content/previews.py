"""Client of mail-ingest's internal port: the text of one item."""

from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

import httpx2
from pydantic import BaseModel, SecretStr, ValidationError

from shared.errors import RetryableError
from shared.events import Activity

PREVIEW_TIMEOUT = timedelta(seconds=15)
"""Graph answers in about a second; mail-ingest waits out a short throttling."""
UNAVAILABLE_STATUSES = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE})
"""The statuses whose problem details name the reason in `code`."""


class TextUnavailableError(Exception):
    """There is no text now.

    Attributes:
        reason: a word for programs: `gone`, or why the mailbox is blocked.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _TextBody(BaseModel):
    text: str
    html: bool = False
    cut: bool = False


class _ProblemBody(BaseModel):
    code: str


@dataclass(frozen=True, slots=True)
class Text:
    """A private body, for its owner alone.

    Attributes:
        html: the text is HTML.
        cut: the text was longer and is cut.
    """

    text: str
    html: bool
    cut: bool


class PreviewsClient:
    """Reads previews from mail-ingest.

    Args:
        url: mail-ingest's internal port.
        token: the credential of that port.
        transport: replaces the network in tests.
    """

    def __init__(
        self, url: str, token: SecretStr, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
        self._http = httpx2.AsyncClient(
            base_url=url, headers=headers, timeout=PREVIEW_TIMEOUT.total_seconds(), transport=transport
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def fetch_text(self, activity: Activity) -> Text:
        """The text of an item.

        Raises:
            TextUnavailableError: the item is gone, or its mailbox is blocked.
            RetryableError: mail-ingest or Graph is unavailable.
        """
        item = {
            "tenant": activity.tenant,
            "mailbox": activity.mailbox,
            "item": activity.item,
            "kind": activity.kind.value,
        }
        try:
            response = await self._http.post("/previews", json=item)
        except httpx2.HTTPError as error:
            raise RetryableError(f"mail-ingest does not answer: {type(error).__name__}") from None
        try:
            if response.status_code == HTTPStatus.OK:
                body = _TextBody.model_validate_json(response.content)
                return Text(body.text, body.html, body.cut)
            if response.status_code in UNAVAILABLE_STATUSES:
                raise TextUnavailableError(_ProblemBody.model_validate_json(response.content).code)
        except ValidationError:
            pass
        raise RetryableError(f"mail-ingest answered {response.status_code}")
