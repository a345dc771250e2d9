"""The HTTP client of Graph: tokens, retries, rate limit, pages, errors. Only this module uses httpx2.

Every request prefers immutable ids and UTC. At most three requests are in flight for a mailbox, and
`Retry-After` is obeyed.
"""

import asyncio
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from services.mail_ingest.domain.activities import Payload
from services.mail_ingest.metrics import GRAPH_ERRORS, GRAPH_REQUESTS, GRAPH_THROTTLED
from services.mail_ingest.settings import IngestSettings
from shared.keys import MailboxKey

from .errors import GraphUnavailableError, refusal
from .tokens import TokenSource

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 3
"""Outlook serves four requests at once for an application and a mailbox; one is left in reserve."""
MAX_WAIT = timedelta(seconds=10)
"""A shorter wait is waited out here; a longer one becomes a GraphUnavailableError."""
MAX_ATTEMPTS = 4
RESPONSE_TIMEOUT = timedelta(seconds=20)
PREFER = 'IdType="ImmutableId", outlook.timezone="UTC"'
TEMPORARY_STATUSES = {408, 429, 500, 502, 503, 504, 509}
RETRY_AFTER_FIELDS = ("retryAfterSeconds", "retryAfter", "Retry-After", "retry-after")
"""Fields of an error's body that may hold the wait."""


@dataclass(slots=True)
class _MailboxLimit:
    """The requests in flight for a mailbox, and the time before which Graph accepts no other."""

    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_IN_FLIGHT))
    not_before: float = 0.0

    async def wait(self) -> None:
        """Waits until Graph accepts a request; raises GraphUnavailableError when that takes long."""
        while (seconds := self.not_before - time.monotonic()) > 0:
            if seconds > MAX_WAIT.total_seconds():
                raise GraphUnavailableError("throttled", timedelta(seconds=seconds), throttled=True)
            await asyncio.sleep(seconds)

    def pause(self, wait: timedelta) -> None:
        """Holds back all requests of the mailbox for this time."""
        self.not_before = max(self.not_before, time.monotonic() + wait.total_seconds())


class GraphClient:
    """Requests to Graph, as an application.

    Args:
        settings: address of Graph, the application's credential.
        transport: replaces the network.
        tokens: replaces the sign-in authority.
    """

    def __init__(
        self,
        settings: IngestSettings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        tokens: TokenSource | None = None,
    ) -> None:
        self._url = str(settings.graph_url).rstrip("/")
        self._tokens = tokens or TokenSource(settings)
        self._limits: dict[MailboxKey, _MailboxLimit] = {}
        self._http = httpx2.AsyncClient(
            verify=ssl.create_default_context(cafile=settings.authority_ca_file),
            transport=transport,
            timeout=RESPONSE_TIMEOUT.total_seconds(),
            limits=httpx2.Limits(
                max_connections=MAX_IN_FLIGHT * settings.workers + 20,
                max_keepalive_connections=MAX_IN_FLIGHT * settings.workers,
            ),
            headers={"Prefer": PREFER, "Accept": "application/json"},
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def pages(
        self, label: str, mailbox: MailboxKey, path: str, options: Mapping[str, str]
    ) -> AsyncIterator[Payload]:
        """The values of all pages of a collection; the errors are those of `request`."""
        page = await self.request(label, mailbox, "GET", path, options)
        while True:
            for value in page.get("value") or ():
                yield value
            link = page.get("@odata.nextLink")
            if not link:
                return
            if urlsplit(link)[:2] != urlsplit(self._url)[:2]:
                # The token must not go to another host.
                raise GraphUnavailableError("the next page is on another host than Graph")
            page = await self.request(label, mailbox, "GET", link)

    async def request(
        self,
        label: str,
        mailbox: MailboxKey,
        method: str,
        path: str,
        options: Mapping[str, str] | None = None,
        *,
        body: Any = None,
        missing_is_item: bool = False,
        refusal_is_temporary: bool = False,
    ) -> Any:
        """Sends a request, with retries, and returns the JSON of the response; `{}` for an empty one.

        Args:
            label: of the metric; it decides nothing.
            mailbox: whose rate limit applies, and whose tenant's token is used.
            method: of HTTP.
            path: below the address of Graph, or the whole address of a page.
            options: the query.
            body: the request's JSON.
            missing_is_item: see `errors.refusal`.
            refusal_is_temporary: see `errors.refusal`.

        Raises:
            GraphUnavailableError: Graph or the authority does not answer now.
            ItemNotFoundError: Graph does not have the item.
            SubscriptionExistsError: Graph answers 409.
            MailboxBlockedError: Graph or the authority refuses the mailbox.
        """
        url = path if path.startswith("https://") else f"{self._url}/{path}"
        request = self._http.build_request(method, url, params=options, json=body)
        limit = self._limits.setdefault(mailbox, _MailboxLimit())
        refused_token: str | None = None
        async with limit.slots:
            for attempt in range(1, MAX_ATTEMPTS + 1):
                await limit.wait()
                token = await self._tokens.get(mailbox.tenant)
                try:
                    request.headers["Authorization"] = f"Bearer {token}"
                    response = await self._http.send(request)
                    GRAPH_REQUESTS.labels(label).inc()
                    if response.status_code < 400:
                        return response.json() if response.content else {}
                except (httpx2.TransportError, ValueError) as error:
                    log.info(
                        "Graph request failed, retrying",
                        extra={"request": label, "error": type(error).__name__, "attempt": attempt},
                    )
                    await asyncio.sleep(_backoff_seconds(attempt))
                    continue
                details = _error_details(response)
                code = str(details.get("code") or "")
                GRAPH_ERRORS.labels(response.status_code, code[:60]).inc()
                if response.status_code in TEMPORARY_STATUSES:
                    await self._wait_for_retry(limit, response, details, attempt)
                elif response.status_code == 401 and refused_token is None:
                    refused_token = token
                    await self._tokens.replace(mailbox.tenant, refused_token, _claims_challenge(response))
                else:
                    raise refusal(
                        response.status_code,
                        code,
                        missing_is_item=missing_is_item,
                        refusal_is_temporary=refusal_is_temporary,
                    )
        raise GraphUnavailableError("Graph does not answer")

    async def _wait_for_retry(
        self, limit: _MailboxLimit, response: httpx2.Response, details: Mapping[str, Any], attempt: int
    ) -> None:
        """Waits until the next attempt, or raises GraphUnavailableError where there is none."""
        wait, throttled = _retry_after(response, details), response.status_code == 429
        if throttled:
            GRAPH_THROTTLED.inc()
        if wait is not None:
            limit.pause(wait)
        if attempt == MAX_ATTEMPTS or (wait is not None and wait > MAX_WAIT):
            raise GraphUnavailableError(f"Graph answers {response.status_code}", wait, throttled=throttled)
        if wait is None:
            await asyncio.sleep(_backoff_seconds(attempt))


def quote_segment(text: str) -> str:
    """A text as one segment of a path."""
    return quote(text, safe="")


def _error_details(response: httpx2.Response) -> dict[str, Any]:
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {"code": str(error)}


def _retry_after(response: httpx2.Response, details: Mapping[str, Any]) -> timedelta | None:
    """The wait of the header, or of the body, where some responses have it instead."""
    inner = details.get("innerError") if isinstance(details.get("innerError"), dict) else {}
    in_body = (part.get(name) for part in (details, inner or {}) for name in RETRY_AFTER_FIELDS)
    for text in (response.headers.get("Retry-After"), *in_body):
        if text is None:
            continue
        try:
            return timedelta(seconds=max(0.0, float(text)))
        except ValueError:
            try:
                return max(timedelta(), parsedate_to_datetime(str(text)) - datetime.now(UTC))
            except (TypeError, ValueError):
                continue
    return None


def _claims_challenge(response: httpx2.Response) -> str | None:
    """The claims challenge of Continuous Access Evaluation, if there is one."""
    challenge = response.headers.get("WWW-Authenticate", "")
    _, found, rest = challenge.partition('claims="')
    return rest.partition('"')[0] if found else None


def _backoff_seconds(attempt: int) -> float:
    """Full jitter, doubling from a second."""
    return random.uniform(0, min(MAX_WAIT.total_seconds(), 2.0 ** (attempt - 1)))
