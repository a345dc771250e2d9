"""The HTTP client of Graph: tokens, retries, rate limit, pages, errors. Only this module uses httpx2.

Every request prefers immutable ids and UTC. At most three requests are in flight for a mailbox (`Lane`), and
`Retry-After` is obeyed. `answers.py` decides which responses are answers.
"""

import asyncio
import base64
import json
import logging
import random
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from services.mail_ingest.domain.activities import Payload
from services.mail_ingest.metrics import GRAPH_ERRORS, GRAPH_REQUESTS, GRAPH_THROTTLED
from services.mail_ingest.settings import IngestSettings
from shared.keys import MailboxKey

from .answers import Form, error_details, read_answer, retry_after
from .errors import EXTENSION_ERROR, FailureReason, GraphUnavailableError, ItemNotFoundError, refusal
from .permissions import needed_permission
from .tokens import TokenSource

log = logging.getLogger(__name__)


class Lane(Enum):
    """Who waits for a request."""

    SYNC = auto()  # the holder of the mailbox's lease
    PERSON = auto()  # a user; across replicas `content/item_texts.py` sends one at a time


MAX_IN_FLIGHT = {Lane.SYNC: 2, Lane.PERSON: 1}
"""Outlook serves four requests at once for an application and a mailbox; one is left in reserve."""
MAX_WAIT = timedelta(seconds=10)
"""A shorter wait is waited out here; a longer one becomes a GraphUnavailableError."""
MAX_ATTEMPTS = 4
RESPONSE_TIMEOUT = timedelta(seconds=20)
"""Between two parts of a response."""
REQUEST_DEADLINE = timedelta(minutes=1)
"""For a whole response, however slowly its parts come."""
MAX_PAGES = 1000
"""A collection with more pages is not read to its end: a window has at most some hundred."""
PREFER = 'IdType="ImmutableId", outlook.timezone="UTC"'
TEMPORARY_STATUSES = {408, 429, 500, 502, 503, 504, 509}
INSUFFICIENT_CLAIMS = 'error="insufficient_claims"'
CLAIMS = re.compile(r'[ ,]claims="([^"]*)"')
"""The claims of a challenge, in Base64."""


@dataclass(slots=True)
class _MailboxLimit:
    """The requests in flight for a mailbox, and the time before which Graph accepts no other."""

    slots: Mapping[Lane, asyncio.Semaphore] = field(
        default_factory=lambda: {lane: asyncio.Semaphore(count) for lane, count in MAX_IN_FLIGHT.items()}
    )
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
        backoff: seconds until the next attempt, by the number of the last one.
    """

    def __init__(
        self,
        settings: IngestSettings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        tokens: TokenSource | None = None,
        backoff: Callable[[int], float] | None = None,
    ) -> None:
        self._url = str(settings.graph_url).rstrip("/")
        self._tokens = tokens or TokenSource(settings)
        self._backoff = backoff or _backoff_seconds
        self._limits: dict[MailboxKey, _MailboxLimit] = {}
        self._http = httpx2.AsyncClient(
            verify=ssl.create_default_context(cafile=settings.authority_ca_file),
            transport=transport,
            timeout=RESPONSE_TIMEOUT.total_seconds(),
            limits=httpx2.Limits(
                max_connections=sum(MAX_IN_FLIGHT.values()) * settings.workers + 20,
                max_keepalive_connections=sum(MAX_IN_FLIGHT.values()) * settings.workers,
            ),
            headers={"Prefer": PREFER, "Accept": "application/json"},
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def pages(
        self,
        label: str,
        mailbox: MailboxKey,
        path: str,
        options: Mapping[str, str],
        *,
        immutable_ids: bool = False,
        lane: Lane = Lane.SYNC,
    ) -> AsyncIterator[Payload]:
        """The values of all pages of a collection; an empty page may have a next one.

        Raises:
            GraphUnavailableError: the collection cannot be read to its end now.
            MailboxBlockedError: see `request`.
        """
        form = Form.IMMUTABLE_PAGE if immutable_ids else Form.PAGE
        request = self._http.build_request("GET", f"{self._url}/{path}", params=options)
        seen: set[str] = set()
        while True:
            try:
                page = await self._send(label, mailbox, request, form, lane)
            except ItemNotFoundError:
                # No item was requested: what is missing is the collection.
                raise GraphUnavailableError("a collection is missing", reason="graph_404") from None
            for value in page["value"]:
                yield value
            link = page.get("@odata.nextLink")
            if not link:
                return
            if link in seen or len(seen) >= MAX_PAGES:
                raise GraphUnavailableError("the pages have no end", reason=FailureReason.UNUSABLE_ANSWER)
            seen.add(link)
            request = self._next_page(link)

    def _next_page(self, link: str) -> httpx2.Request:
        try:
            is_on_graph = urlsplit(link)[:2] == urlsplit(self._url)[:2]
            if is_on_graph:  # the token must not go to another host
                return self._http.build_request("GET", link)
        except (ValueError, httpx2.InvalidURL):
            pass
        raise GraphUnavailableError("the next page is not one of Graph", reason=FailureReason.UNUSABLE_ANSWER)

    async def request(
        self,
        label: str,
        mailbox: MailboxKey,
        method: str,
        path: str,
        options: Mapping[str, str] | None = None,
        *,
        body: Any = None,
        immutable_ids: bool = False,
        missing_is_item: bool = False,
        lane: Lane = Lane.SYNC,
    ) -> Any:
        """Sends a request, with retries, and returns the JSON object with an id that Graph answers.

        Args:
            label: of the metric; it decides nothing.
            mailbox: whose rate limit applies, and whose tenant's token is used.
            method: of HTTP; after DELETE nothing is returned.
            path: below the address of Graph.
            options: the query.
            body: the request's JSON.
            immutable_ids: an answer with other ids is none.
            missing_is_item: see `errors.refusal`.
            lane: who waits for the answer.

        Raises:
            GraphUnavailableError: Graph or the authority does not answer now, or with nothing that is an
                answer.
            ItemNotFoundError: Graph does not have the item.
            SubscriptionExistsError: Graph answers 409.
            MailboxBlockedError: Graph or the authority refuses the mailbox.
        """
        form = Form.IMMUTABLE_ENTITY if immutable_ids else Form.ENTITY
        return await self._send(
            label,
            mailbox,
            self._http.build_request(method, f"{self._url}/{path}", params=options, json=body),
            Form.NOTHING if method == "DELETE" else form,
            lane,
            missing_is_item=missing_is_item,
        )

    async def _send(
        self,
        label: str,
        mailbox: MailboxKey,
        request: httpx2.Request,
        form: Form,
        lane: Lane,
        *,
        missing_is_item: bool = False,
    ) -> dict[str, Any]:
        limit = self._limits.setdefault(mailbox, _MailboxLimit())
        is_token_new = False
        failure = FailureReason.NO_ANSWER
        async with limit.slots[lane]:
            for attempt in range(1, MAX_ATTEMPTS + 1):
                await limit.wait()
                token = await self._tokens.get(mailbox.tenant)
                request.headers["Authorization"] = f"Bearer {token}"
                try:
                    async with asyncio.timeout(REQUEST_DEADLINE.total_seconds()):
                        response = await self._http.send(request)
                except (httpx2.RequestError, TimeoutError) as error:
                    failure = FailureReason.NO_ANSWER
                    await self._pause(label, type(error).__name__, attempt)
                    continue
                GRAPH_REQUESTS.labels(label).inc()
                if response.status_code < 400:
                    answer = read_answer(response.status_code, response.headers, response.content, form)
                    if answer is not None:
                        return answer
                    failure = FailureReason.UNUSABLE_ANSWER
                    GRAPH_ERRORS.labels(response.status_code, failure).inc()
                    await self._pause(label, failure, attempt)
                    continue
                details = error_details(response.content)
                code = str(details.get("code") or "")
                GRAPH_ERRORS.labels(response.status_code, code[:60]).inc()
                if response.status_code in TEMPORARY_STATUSES:
                    await self._wait_for_retry(limit, response, details, attempt)
                elif (
                    response.status_code == 401
                    and code != EXTENSION_ERROR
                    and not is_token_new
                    and await self._tokens.replace(mailbox.tenant, token, _claims_challenge(response))
                ):
                    is_token_new = True
                else:
                    raise refusal(
                        response.status_code,
                        code,
                        str(details.get("message") or ""),
                        permission=needed_permission(request.url.path),
                        missing_is_item=missing_is_item,
                    )
        raise GraphUnavailableError("Graph does not answer", reason=failure)

    async def _pause(self, label: str, error: str, attempt: int) -> None:
        """Waits until the next attempt, if there is one."""
        log.info(
            "Graph request failed, retrying", extra={"request": label, "error": error, "attempt": attempt}
        )
        if attempt < MAX_ATTEMPTS:
            await asyncio.sleep(self._backoff(attempt))

    async def _wait_for_retry(
        self, limit: _MailboxLimit, response: httpx2.Response, details: Mapping[str, Any], attempt: int
    ) -> None:
        """Waits until the next attempt, or raises GraphUnavailableError where there is none."""
        wait, throttled = (
            retry_after(response.headers, details, datetime.now(UTC)),
            response.status_code == 429,
        )
        if throttled:
            GRAPH_THROTTLED.inc()
        if wait:
            limit.pause(wait)
        if attempt == MAX_ATTEMPTS or (wait and wait > MAX_WAIT):
            raise GraphUnavailableError(
                f"Graph answers {response.status_code}",
                wait,
                throttled=throttled,
                reason=f"graph_{response.status_code}",
            )
        if not wait:
            await asyncio.sleep(self._backoff(attempt))


def quote_segment(text: str) -> str:
    """A text as one segment of a path."""
    return quote(text, safe="")


def _claims_challenge(response: httpx2.Response) -> str | None:
    """The claims, as JSON, of a challenge of Continuous Access Evaluation; None where there is none."""
    challenge = response.headers.get("WWW-Authenticate", "")
    claims = CLAIMS.search(challenge)
    if claims is None or INSUFFICIENT_CLAIMS not in challenge:
        return None
    encoded = claims[1].rstrip("=")
    try:
        decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars="-_").decode()
        claims_of_token = json.loads(decoded)["access_token"]
    except (ValueError, KeyError, TypeError):
        return None
    return decoded if isinstance(claims_of_token, dict) else None


def _backoff_seconds(attempt: int) -> float:
    """Full jitter, doubling from a second."""
    return random.uniform(0, min(MAX_WAIT.total_seconds(), 2.0 ** (attempt - 1)))
