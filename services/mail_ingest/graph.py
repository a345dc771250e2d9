"""Microsoft Graph and its sign-in authority; nothing else here knows HTTP.

Immutable ids and UTC are asked for on every request; at most three are in flight for a mailbox;
`Retry-After` is obeyed. What Graph refuses becomes `Unavailable` (passes by itself), `Gone` (this
item is not there) or `Blocked` (this mailbox, or its tenant, is not to be had, and why).
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

from shared.addresses import normalise
from shared.events import Kind

from .domain.capture import SENSITIVITY_PROPERTY, Payload
from .domain.folders import WELL_KNOWN, Folders, tree
from .domain.subscriptions import CHANGES, RESOURCES
from .errors import Blocked, Gone, Unavailable
from .metrics import FETCHES, GRAPH_ERRORS, THROTTLED
from .settings import IngestSettings
from .tokens import Tokens

log = logging.getLogger(__name__)

IN_FLIGHT = 3
"""Outlook serves four requests at once for an application and a mailbox; the fourth is left for luck."""
PATIENCE = timedelta(seconds=10)
"""A wait up to this is waited out here; a longer one is the caller's to plan."""
ATTEMPTS = 4
TIMEOUT = timedelta(seconds=20)
PAGE = 500
FOLDERS = 250

PREFER = 'IdType="ImmutableId", outlook.timezone="UTC"'
MESSAGE_FIELDS = "id,changeKey,parentFolderId,isDraft,subject,from,toRecipients,ccRecipients,receivedDateTime,sentDateTime,internetMessageId,conversationId,webLink"
EVENT_FIELDS = "id,changeKey,type,isDraft,subject,organizer,attendees,start,end,isAllDay,isCancelled,sensitivity,iCalUId,originalStart,seriesMasterId,webLink"
SENSITIVITY = f"singleValueExtendedProperties($filter=id eq '{SENSITIVITY_PROPERTY}')"
OPTIONS: Mapping[Kind, dict[str, str]] = {
    Kind.EMAIL: {"$select": MESSAGE_FIELDS, "$expand": SENSITIVITY},
    Kind.MEETING: {"$select": EVENT_FIELDS},
}
"""Just what an activity is made of: no body, no preview, no Bcc."""
COLLECTIONS = {Kind.EMAIL: "messages", Kind.MEETING: "events"}

NO_ITEM = {"erroritemnotfound", "itemnotfound", "errorinvalididmalformed", "errorinvalidid"}
"""Codes that speak of the item; every other 403 or 404 speaks of the mailbox."""
PASSING = {408, 429, 500, 502, 503, 504, 509}
BLOCKS = {
    (403, "erroraccessdenied"): "access_policy",
    (403, "authorization_requestdenied"): "permission",
    (404, "mailboxnotenabledforrestapi"): "no_mailbox",
    (404, "errorinvaliduser"): "no_mailbox",
    (404, "request_resourcenotfound"): "no_mailbox",
    (404, "resourcenotfound"): "no_mailbox",
    (404, "errornonexistentmailbox"): "no_mailbox",
}
"""Reasons by status and code; any other is `graph_` and the status."""


class _Conflict(Exception):
    """Graph has such a subscription already."""


@dataclass(frozen=True, slots=True)
class User:
    """Who a mailbox belongs to; addresses are normalised."""

    oid: str
    addresses: frozenset[str]


@dataclass(frozen=True, slots=True)
class Body:
    """An item with its text."""

    payload: Payload
    text: str
    html: bool


@dataclass(slots=True)
class _Gate:
    """What is in flight for a mailbox, and when Graph wants to be asked again."""

    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(IN_FLIGHT))
    not_before: float = 0.0

    async def open(self) -> None:
        """Until Graph may be asked; Unavailable where that is long."""
        while (wait := self.not_before - time.monotonic()) > 0:
            if wait > PATIENCE.total_seconds():
                raise Unavailable("throttled", timedelta(seconds=wait), throttled=True)
            await asyncio.sleep(wait)

    def close(self, wait: timedelta) -> None:
        """Nobody asks before."""
        self.not_before = max(self.not_before, time.monotonic() + wait.total_seconds())


class Graph:
    """Graph as an application sees it.

    Args:
        settings: where it is, and who we are.
        transport: stands in for the network.
        tokens: stands in for the authority.
    """

    def __init__(
        self,
        settings: IngestSettings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        tokens: "Tokens | None" = None,
    ) -> None:
        self._url = str(settings.graph_url).rstrip("/")
        self._webhook = str(settings.webhook_url).rstrip("/")
        self._tokens = tokens or Tokens(settings)
        self._gates: dict[tuple[str, str], _Gate] = {}
        self._http = httpx2.AsyncClient(
            verify=ssl.create_default_context(cafile=settings.ca_file),
            transport=transport,
            timeout=TIMEOUT.total_seconds(),
            limits=httpx2.Limits(
                max_connections=IN_FLIGHT * settings.workers + 20,
                max_keepalive_connections=IN_FLIGHT * settings.workers,
            ),
            headers={"Prefer": PREFER, "Accept": "application/json"},
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    # -- reading ---------------------------------------------------------------------------------

    async def user(self, tenant: str, name: str) -> User:
        """Who has this object id, user principal name or address."""
        found = await self._ask(
            "user",
            (tenant, name),
            "GET",
            f"users/{_part(name)}",
            {"$select": "id,mail,userPrincipalName,proxyAddresses"},
        )
        proxies = [
            proxy.partition(":")[2]
            for proxy in found.get("proxyAddresses") or ()
            if proxy.lower().startswith("smtp:")
        ]
        addresses = [found.get("mail"), found.get("userPrincipalName"), *proxies]
        return User(
            str(found["id"]).lower(), frozenset(normalise(address) for address in addresses if address)
        )

    async def item(self, tenant: str, mailbox: str, kind: Kind, item: str) -> Payload:
        """One message or event by its id, without its body."""
        path = f"users/{_part(mailbox)}/{COLLECTIONS[kind]}/{_part(item)}"
        payload: Payload = await self._ask(f"{kind} by id", (tenant, mailbox), "GET", path, OPTIONS[kind])
        return payload

    async def content(self, tenant: str, mailbox: str, kind: Kind, item: str) -> Body:
        """One message or event by its id, with its body."""
        path = f"users/{_part(mailbox)}/{COLLECTIONS[kind]}/{_part(item)}"
        options = {**OPTIONS[kind], "$select": OPTIONS[kind]["$select"] + ",body"}
        payload = await self._ask(f"{kind} with body", (tenant, mailbox), "GET", path, options)
        body = payload.get("body") or {}
        return Body(payload, body.get("content") or "", str(body.get("contentType")).lower() == "html")

    async def folders(self, tenant: str, mailbox: str) -> Folders:
        """The folder tree."""
        base, who = f"users/{_part(mailbox)}/mailFolders", (tenant, mailbox)
        well_known: dict[str, str] = {}
        for name in WELL_KNOWN:
            try:
                well_known[name] = str(
                    (await self._ask("folders", who, "GET", f"{base}/{name}", {"$select": "id"}))["id"]
                )
            except Gone:
                continue  # a mailbox may lack one
        parents: list[tuple[str, str | None]] = []
        below: list[str | None] = [None]
        while below:
            parent = below.pop()
            path = base if parent is None else f"{base}/{_part(parent)}/childFolders"
            options = {"$select": "id,childFolderCount", "$top": str(FOLDERS), "includeHiddenFolders": "true"}
            async for folder in self._pages("folders", who, path, options):
                parents.append((str(folder["id"]), parent))
                if folder.get("childFolderCount"):
                    below.append(str(folder["id"]))
        return tree(parents, well_known)

    async def messages(self, tenant: str, mailbox: str, since: datetime) -> list[Payload]:
        """Every message received since then, in all folders."""
        options = {**OPTIONS[Kind.EMAIL], "$filter": f"receivedDateTime ge {_iso(since)}", "$top": str(PAGE)}
        return [
            message
            async for message in self._pages(
                "messages window", (tenant, mailbox), f"users/{_part(mailbox)}/messages", options
            )
        ]

    async def view(self, tenant: str, mailbox: str, start: datetime, end: datetime) -> list[Payload]:
        """Every meeting that takes place in between, series expanded."""
        options = {
            **OPTIONS[Kind.MEETING],
            "startDateTime": _iso(start),
            "endDateTime": _iso(end),
            "$top": str(PAGE),
        }
        return [
            event
            async for event in self._pages(
                "calendar window", (tenant, mailbox), f"users/{_part(mailbox)}/calendarView", options
            )
        ]

    # -- subscriptions ---------------------------------------------------------------------------

    async def subscribe(
        self, tenant: str, mailbox: str, kind: Kind, client_state: str, expires: datetime
    ) -> tuple[str, datetime]:
        """A new subscription's id and end; one of ours that Graph still has is replaced."""
        wanted = {
            "changeType": CHANGES,
            "notificationUrl": f"{self._webhook}/graph/notifications",
            "lifecycleNotificationUrl": f"{self._webhook}/graph/lifecycle",
            "resource": RESOURCES[kind].format(mailbox=mailbox),
            "expirationDateTime": _iso(expires),
            "clientState": client_state,
        }
        try:
            made = await self._ask("subscribe", (tenant, mailbox), "POST", "subscriptions", body=wanted)
        except _Conflict:
            async for other in self._pages("subscriptions", (tenant, mailbox), "subscriptions", {}):
                if str(other.get("resource")).strip("/").lower() == wanted["resource"].lower():
                    await self.unsubscribe(tenant, mailbox, str(other["id"]))
            made = await self._ask("subscribe", (tenant, mailbox), "POST", "subscriptions", body=wanted)
        return str(made["id"]), datetime.fromisoformat(made["expirationDateTime"])

    async def renew(self, tenant: str, mailbox: str, subscription: str, expires: datetime) -> datetime:
        """Its new end; this re-authorises it, too. Gone where Graph has it no more."""
        renewed = await self._ask(
            "renew",
            (tenant, mailbox),
            "PATCH",
            f"subscriptions/{_part(subscription)}",
            body={"expirationDateTime": _iso(expires)},
            missing_is_gone=True,
        )
        return datetime.fromisoformat(renewed["expirationDateTime"])

    async def unsubscribe(self, tenant: str, mailbox: str, subscription: str) -> None:
        """Ends a subscription; it may have ended already."""
        try:
            await self._ask(
                "unsubscribe",
                (tenant, mailbox),
                "DELETE",
                f"subscriptions/{_part(subscription)}",
                missing_is_gone=True,
            )
        except Gone:
            return

    # -- asking ----------------------------------------------------------------------------------

    async def _pages(
        self, what: str, who: tuple[str, str], path: str, options: Mapping[str, str]
    ) -> AsyncIterator[Payload]:
        page = await self._ask(what, who, "GET", path, options)
        while True:
            for value in page.get("value") or ():
                yield value
            link = page.get("@odata.nextLink")
            if not link:
                return
            if urlsplit(link)[:2] != urlsplit(self._url)[:2]:
                raise Unavailable(
                    "Graph names a next page that is not its own"
                )  # our token goes nowhere else
            page = await self._ask(what, who, "GET", link)

    async def _ask(
        self,
        what: str,
        who: tuple[str, str],
        method: str,
        path: str,
        options: Mapping[str, str] | None = None,
        *,
        body: Any = None,
        missing_is_gone: bool = False,
    ) -> Any:
        """One request, with as many attempts as patience allows."""
        request = self._http.build_request(
            method, path if path.startswith("https://") else f"{self._url}/{path}", params=options, json=body
        )
        gate = self._gates.setdefault(who, _Gate())
        stale: str | None = None
        async with gate.slots:
            for attempt in range(1, ATTEMPTS + 1):
                await gate.open()
                token = await self._tokens.of(who[0])
                try:
                    request.headers["Authorization"] = f"Bearer {token}"
                    answer = await self._http.send(request)
                    FETCHES.labels(what).inc()
                    if answer.status_code < 400:
                        return answer.json() if answer.content else {}
                except (httpx2.TransportError, ValueError) as broken:
                    log.info("no answer from Graph", extra={"what": what, "error": type(broken).__name__})
                    await asyncio.sleep(_back_off(attempt))
                    continue
                error = _error(answer)
                code = str(error.get("code") or "")
                GRAPH_ERRORS.labels(answer.status_code, code[:60]).inc()
                if answer.status_code in PASSING:
                    await self._wait(gate, answer, error, attempt)
                elif answer.status_code == 401 and stale is None:
                    stale = token
                    await self._tokens.refresh(who[0], stale, _claims(answer))
                else:
                    raise _refusal(answer.status_code, code, what, missing_is_gone=missing_is_gone)
        raise Unavailable("Graph does not answer")

    async def _wait(
        self, gate: _Gate, answer: httpx2.Response, error: Mapping[str, Any], attempt: int
    ) -> None:
        """Until the next attempt, or Unavailable where there is to be none."""
        wait, throttled = _retry_after(answer, error), answer.status_code == 429
        if throttled:
            THROTTLED.inc()
        if wait is not None:
            gate.close(wait)
        if attempt == ATTEMPTS or (wait is not None and wait > PATIENCE):
            raise Unavailable(f"Graph answers {answer.status_code}", wait, throttled=throttled)
        if wait is None:
            await asyncio.sleep(_back_off(attempt))


def _refusal(status: int, code: str, what: str, *, missing_is_gone: bool) -> Exception:
    if code.lower() in NO_ITEM or (missing_is_gone and status in {404, 410}):
        return Gone()
    if status == 409:
        return _Conflict()
    if status == 401:
        return Blocked("token_refused", tenant_wide=True)
    if what == "subscribe" and (status == 400 or code == "ExtensionError"):
        return Unavailable(f"Graph refuses the subscription: {status} {code}")  # capture goes on without it
    return Blocked(BLOCKS.get((status, code.lower()), f"graph_{status}"))


def _error(answer: httpx2.Response) -> dict[str, Any]:
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {"code": str(error)}


def _retry_after(answer: httpx2.Response, error: Mapping[str, Any]) -> timedelta | None:
    """The header, or what some answers have in their body instead."""
    inner = error.get("innerError") if isinstance(error.get("innerError"), dict) else {}
    for text in (
        answer.headers.get("Retry-After"),
        *(place.get(name) for place in (error, inner or {}) for name in RETRY_AFTER),
    ):
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


RETRY_AFTER = ("retryAfterSeconds", "retryAfter", "Retry-After", "retry-after")
"""Names under which a body may say it."""


def _claims(answer: httpx2.Response) -> str | None:
    """The claims challenge of Continuous Access Evaluation, if there is one."""
    challenge = answer.headers.get("WWW-Authenticate", "")
    _, found, rest = challenge.partition('claims="')
    return rest.partition('"')[0] if found else None


def _back_off(attempt: int) -> float:
    """Full jitter, doubling from a second."""
    return random.uniform(0, min(PATIENCE.total_seconds(), 2.0 ** (attempt - 1)))


def _part(text: str) -> str:
    return quote(text, safe="")


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
