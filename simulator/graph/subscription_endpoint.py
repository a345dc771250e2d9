"""Graph's /subscriptions: made after a handshake, renewed, listed, ended."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import orjson

from simulator.state.subscriptions import CHANGES, EVENTS, MESSAGES, Subscription

from . import errors as errors
from . import resources as render
from .api import CALENDAR, CALENDAR_BASIC, MAIL, MAIL_BASIC, Graph
from .errors import GraphError
from .requests import Answer, Call, segments

LONGEST = timedelta(minutes=10_070)
"""What real Graph takes; its documentation says 10,080."""

SHORTEST = timedelta(minutes=45)
"""A shorter one is raised to this."""

PER_MAILBOX = 1000
CLIENT_STATE = 128
LOOPBACK = ("localhost", "127.0.0.1", "::1")

Handshake = Callable[[str], Awaitable[bool]]
"""Asks a notification URL to prove itself; answers whether it did."""

CONTEXT = "/v1.0/$metadata#subscriptions"


class Subscriptions:
    """Answers requests below /subscriptions."""

    def __init__(self, graph: Graph, handshake: Handshake) -> None:
        self._graph = graph
        self._world = graph.world
        self._handshake = handshake
        graph.others["subscriptions",] = self.answer

    async def answer(self, call: Call) -> Answer:
        """The answer to one request."""
        self._world.counters.requests["subscriptions"] += 1
        tenant = self._graph.tenant(call)
        if call.names == ("subscriptions",) and not call.keys:
            if call.method == "POST":
                return await self._create(call)
            if call.method == "GET":
                mine = [s for s in self._world.live_subscriptions(tenant.id) if _is_mine(s, call)]
                context = self._world.base_url + CONTEXT
                body = {"@odata.context": context, "value": [render.subscription(s) for s in mine]}
                return Answer(200, body, "subscription")
            raise GraphError(errors.NO_METHOD)
        subscription = self._world.subscriptions.get(call.keys[0]) if call.keys else None
        live = subscription is not None and subscription.expires > self._world.clock()
        if subscription is None or not live or not _is_mine(subscription, call):
            raise GraphError(errors.NO_SUBSCRIPTION)
        if call.names == ("subscriptions", "reauthorize") and call.method == "POST":
            return Answer(200)
        if call.names != ("subscriptions",):
            raise GraphError(errors.NO_RESOURCE, "/".join(call.names[1:]))
        if call.method == "GET":
            return self._show(subscription, 200)
        if call.method == "PATCH":
            renewed = replace(subscription, expires=self._expiry(_json(call)))
            with self._world.lock:
                self._world.subscribe(renewed)
            return self._show(renewed, 200)
        if call.method == "DELETE":
            with self._world.lock:
                self._world.unsubscribe(subscription.id)
            return Answer(204)
        raise GraphError(errors.NO_METHOD)

    async def _create(self, call: Call) -> Answer:
        asked = self._read(call, _json(call))
        self._check_places(asked)
        urls = [asked.url, *([asked.lifecycle_url] if asked.lifecycle_url else [])]
        for url in urls:
            if not await self._handshake(url):
                raise GraphError(errors.VALIDATION)
        with self._world.lock:
            self._check_places(asked)
            self._world.subscribe(asked)
        return self._show(asked, 201)

    def _check_places(self, asked: Subscription) -> None:
        there = self._world.live_subscriptions(asked.tenant, asked.mailbox)
        for other in there:
            same = (other.app, other.resource.lower().strip("/"), set(other.changes))
            if same == (asked.app, asked.resource.lower().strip("/"), set(asked.changes)):
                raise GraphError(errors.CONFLICT, other.id)
        if len(there) >= PER_MAILBOX:
            raise GraphError(errors.TOO_MANY_SUBSCRIPTIONS)

    def _read(self, call: Call, body: dict[str, Any]) -> Subscription:
        changes = [c.strip().lower() for c in str(body.get("changeType", "")).split(",")]
        if not changes or any(c not in CHANGES for c in changes):
            raise GraphError(errors.INVALID, "The value of 'changeType' is invalid.")
        if body.get("includeResourceData"):
            raise GraphError(errors.INVALID, "Resource data cannot be included here.")
        url = _url(body, "notificationUrl", needed=True)
        state = body.get("clientState")
        if state is not None and (not isinstance(state, str) or len(state) > CLIENT_STATE):
            text = f"clientState may have at most {CLIENT_STATE} characters."
            raise GraphError(errors.INVALID, text)
        resource = str(body.get("resource") or "")
        owner, collection, folder = self._resource(call, resource)
        return Subscription(
            id=str(uuid4()),
            tenant=call.token.tenant,
            app=call.token.app,
            mailbox=owner,
            resource=resource,
            collection=collection,
            changes=tuple(dict.fromkeys(changes)),
            url=url or "",
            lifecycle_url=_url(body, "lifecycleNotificationUrl", needed=False),
            client_state=state,
            expires=self._expiry(body),
            immutable=call.prefer.immutable,
            tls=body.get("latestSupportedTlsVersion"),
            folder=folder,
        )

    def _resource(self, call: Call, resource: str) -> tuple[str, str, str | None]:
        """Mailbox, collection and folder that a resource names, if the caller may read them."""
        names, keys = segments(resource.partition("?")[0])
        if names[:1] == ("me",):
            raise GraphError(errors.ME)
        roles = self._graph.roles(call)
        collection = names[-1] if len(names) > 1 else ""
        in_folder = names == ("users", "mailfolders", "messages") and len(keys) == 2
        whole = names in (("users", MESSAGES), ("users", EVENTS)) and len(keys) == 1
        if whole or in_folder:
            allowed = MAIL + MAIL_BASIC if collection == MESSAGES else CALENDAR + CALENDAR_BASIC
            if roles.isdisjoint(allowed):
                raise GraphError(errors.DENIED)
            found = self._graph.mailbox(self._graph.tenant(call), keys[0])
            folder = found.mailbox.folder(keys[1]) if in_folder else None
            if in_folder and folder is None:
                raise GraphError(errors.NO_ITEM)
            return found.user.oid, collection, folder.id if folder else None
        raise GraphError(errors.INVALID, f"Resource '{resource}' is not supported.")

    def _expiry(self, body: dict[str, Any]) -> datetime:
        now = self._world.clock()
        try:
            asked = datetime.fromisoformat(str(body["expirationDateTime"]))
        except (KeyError, ValueError) as error:
            text = "The value of 'expirationDateTime' is invalid."
            raise GraphError(errors.INVALID, text) from error
        asked = asked.replace(tzinfo=UTC) if asked.tzinfo is None else asked.astimezone(UTC)
        if asked > now + LONGEST:
            raise GraphError(errors.TOO_LONG, int(LONGEST.total_seconds() // 60))
        return max(asked, now + SHORTEST)

    def _show(self, subscription: Subscription, status: int) -> Answer:
        context = f"{self._world.base_url}{CONTEXT}/$entity"
        body = {"@odata.context": context, **render.subscription(subscription)}
        return Answer(status, body, "subscription")


def _is_mine(subscription: Subscription, call: Call) -> bool:
    return (subscription.tenant, subscription.app) == (call.token.tenant, call.token.app)


def _json(call: Call) -> dict[str, Any]:
    try:
        body = orjson.loads(call.body)
    except orjson.JSONDecodeError as error:
        raise GraphError(errors.JSON) from error
    if not isinstance(body, dict):
        raise GraphError(errors.JSON)
    return body


def _url(body: dict[str, Any], name: str, *, needed: bool) -> str | None:
    """A notification URL: https, or plain http to the local host."""
    url = body.get(name)
    if url is None and not needed:
        return None
    parts = urlsplit(str(url or ""))
    plain = parts.scheme == "http" and parts.hostname in LOOPBACK
    if not parts.hostname or not (parts.scheme == "https" or plain):
        raise GraphError(errors.INVALID, f"The value of '{name}' is invalid: HTTPS is required.")
    return str(url)
