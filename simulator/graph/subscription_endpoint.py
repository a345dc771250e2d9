"""Graph's /subscriptions: created after a handshake, renewed, listed, deleted."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from operator import attrgetter
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import orjson

from simulator.state.subscriptions import CHANGES, EVENTS, MESSAGES, Subscription

from . import errors, resources
from .api import Graph
from .endpoints import CALENDAR, CALENDAR_BASIC, MAIL, MAIL_BASIC
from .errors import GraphError
from .requests import GraphRequest, GraphResponse, Target, parse_path

MAX_LIFETIME = timedelta(minutes=10_070)
"""The limit of the real Graph; its documentation has 10,080."""

MIN_LIFETIME = timedelta(minutes=45)
"""Graph raises a shorter lifetime to this."""

PAGE_SIZE = 100
"""Entries of a page of the list; Graph takes no `$top` there."""

MAX_PER_MAILBOX = 1000
MAX_CLIENT_STATE = 128
LOOPBACK = ("localhost", "127.0.0.1", "::1")

Handshake = Callable[[str], Awaitable[bool]]
"""Sends a validation token to a notification URL; returns whether the URL returned it."""

CONTEXT = "/v1.0/$metadata#subscriptions"


class SubscriptionEndpoint:
    """Answers requests below /subscriptions."""

    def __init__(self, graph: Graph, handshake: Handshake) -> None:
        self._graph = graph
        self._world = graph.world
        self._handshake = handshake
        graph.other_endpoints["subscriptions",] = self.respond

    async def respond(self, request: GraphRequest) -> GraphResponse:
        """The response to one request."""
        self._world.counters.requests["subscriptions"] += 1
        tenant = self._graph.find_tenant(request)
        if request.names == ("subscriptions",) and not request.keys:
            if request.method == "POST":
                return await self._create(request)
            if request.method == "GET":
                return self._list(request, tenant.id)
            raise GraphError(errors.NO_METHOD)
        subscription = self._world.subscriptions.get(request.keys[0]) if request.keys else None
        live = subscription is not None and subscription.expires > self._world.clock()
        if subscription is None or not live or not _is_own(subscription, request):
            raise GraphError(errors.NO_SUBSCRIPTION)
        if request.names == ("subscriptions", "reauthorize") and request.method == "POST":
            return GraphResponse(200)
        if request.names != ("subscriptions",):
            raise GraphError(errors.NO_RESOURCE, "/".join(request.names[1:]))
        if request.method == "GET":
            return self._render(subscription, 200)
        if request.method == "PATCH":
            return self._renew(request, subscription)
        if request.method == "DELETE":
            with self._world.lock:
                self._world.unsubscribe(subscription.id)
            return GraphResponse(204)
        raise GraphError(errors.NO_METHOD)

    def _list(self, request: GraphRequest, tenant: str) -> GraphResponse:
        """A page of the caller's subscriptions; the token of the next page is the last id of this one."""
        after = request.options.raw.get("skiptoken", "")
        own = sorted(
            (s for s in self._world.live_subscriptions(tenant) if _is_own(s, request) and s.id > after),
            key=attrgetter("id"),
        )
        page = own[:PAGE_SIZE]
        context = self._world.base_url + CONTEXT
        body = {"@odata.context": context, "value": [resources.subscription(s) for s in page]}
        if len(own) > PAGE_SIZE:
            body["@odata.nextLink"] = f"{self._world.base_url}/v1.0/subscriptions?$skiptoken={page[-1].id}"
        return GraphResponse(200, body, "subscription")

    async def _create(self, request: GraphRequest) -> GraphResponse:
        subscription = self._parse(request, _json(request))
        injected = self._count("subscribe", request, subscription)
        if injected is not None:
            return injected
        self._check_limits(subscription)
        lifecycle_urls = [subscription.lifecycle_url] if subscription.lifecycle_url else []
        for url in (subscription.url, *lifecycle_urls):
            if not await self._handshake(url):
                raise GraphError(errors.VALIDATION)
        with self._world.lock:
            self._check_limits(subscription)
            self._world.subscribe(subscription)
        return self._render(subscription, 201)

    def _renew(self, request: GraphRequest, subscription: Subscription) -> GraphResponse:
        injected = self._count("renew", request, subscription)
        if injected is not None:
            return injected
        renewed = replace(subscription, expires=self._parse_expiry(_json(request)))
        with self._world.lock:
            self._world.subscribe(renewed)
        return self._render(renewed, 200)

    def _count(self, kind: str, request: GraphRequest, subscription: Subscription) -> GraphResponse | None:
        """Count a request for a subscription. Returns the response of an injected fault, if one matches."""
        key = (subscription.tenant, subscription.mailbox)
        self._world.counters.by_mailbox[key][kind] += 1
        return self._graph.injected_response(request, kind, subscription.mailbox)

    def _check_limits(self, subscription: Subscription) -> None:
        """Raise GraphError for a duplicate of a subscription, and for too many of one mailbox."""
        live = self._world.live_subscriptions(subscription.tenant, subscription.mailbox)
        for other in live:
            if _identity(other) == _identity(subscription):
                raise GraphError(errors.CONFLICT, other.id)
        if len(live) >= MAX_PER_MAILBOX:
            raise GraphError(errors.TOO_MANY_SUBSCRIPTIONS)

    def _parse(self, request: GraphRequest, body: dict[str, Any]) -> Subscription:
        changes = [c.strip().lower() for c in str(body.get("changeType", "")).split(",")]
        if not changes or any(c not in CHANGES for c in changes):
            raise GraphError(errors.INVALID, "The value of 'changeType' is invalid.")
        if body.get("includeResourceData"):
            raise GraphError(errors.INVALID, "Resource data cannot be included here.")
        url = _notification_url(body, "notificationUrl", required=True)
        state = body.get("clientState")
        if state is not None and (not isinstance(state, str) or len(state) > MAX_CLIENT_STATE):
            text = f"clientState may have at most {MAX_CLIENT_STATE} characters."
            raise GraphError(errors.INVALID, text)
        resource = str(body.get("resource") or "")
        owner, collection, folder = self._resolve_resource(request, resource)
        return Subscription(
            id=str(uuid4()),
            tenant=request.token.tenant,
            app=request.token.app,
            mailbox=owner,
            resource=resource,
            collection=collection,
            changes=tuple(dict.fromkeys(changes)),
            url=url or "",
            lifecycle_url=_notification_url(body, "lifecycleNotificationUrl", required=False),
            client_state=state,
            expires=self._parse_expiry(body),
            immutable=request.prefer.immutable,
            tls=body.get("latestSupportedTlsVersion"),
            folder=folder,
        )

    def _resolve_resource(self, request: GraphRequest, resource: str) -> tuple[str, str, str | None]:
        """Mailbox, collection and folder of a resource; GraphError if the caller may not read it."""
        names, keys = parse_path(resource.partition("?")[0])
        if names[:1] == ("me",):
            raise GraphError(errors.ME)
        collection = names[-1] if len(names) > 1 else ""
        in_folder = names == ("users", "mailfolders", "messages") and len(keys) == 2
        in_mailbox = names in (("users", MESSAGES), ("users", EVENTS)) and len(keys) == 1
        if in_mailbox or in_folder:
            allowed = MAIL + MAIL_BASIC if collection == MESSAGES else CALENDAR + CALENDAR_BASIC
            if request.token.roles.isdisjoint(allowed):
                raise GraphError(errors.DENIED)
            target = self._find_mailbox(request, keys[0])
            folder = target.mailbox.find_folder(keys[1]) if in_folder else None
            if in_folder and folder is None:
                raise GraphError(errors.NO_ITEM)
            return target.user.oid, collection, folder.id if folder else None
        raise GraphError(errors.INVALID, f"Resource '{resource}' is not supported.")

    def _find_mailbox(self, request: GraphRequest, name: str) -> Target:
        """The mailbox of a resource; Exchange's refusal of it is inside Graph's own."""
        try:
            return self._graph.find_mailbox(self._graph.find_tenant(request), name)
        except GraphError as error:
            if error.status not in (403, 404):
                raise
            status = HTTPStatus(error.status).phrase.replace(" ", "")
            raise GraphError(errors.SUBSCRIPTION_REFUSED, status, error.text) from error

    def _parse_expiry(self, body: dict[str, Any]) -> datetime:
        now = self._world.clock()
        try:
            expires = datetime.fromisoformat(str(body["expirationDateTime"]))
        except (KeyError, ValueError) as error:
            text = "The value of 'expirationDateTime' is invalid."
            raise GraphError(errors.INVALID, text) from error
        expires = expires.replace(tzinfo=UTC) if expires.tzinfo is None else expires.astimezone(UTC)
        if expires > now + MAX_LIFETIME:
            raise GraphError(errors.TOO_LONG, int(MAX_LIFETIME.total_seconds() // 60))
        return max(expires, now + MIN_LIFETIME)

    def _render(self, subscription: Subscription, status: int) -> GraphResponse:
        context = f"{self._world.base_url}{CONTEXT}/$entity"
        body = {"@odata.context": context, **resources.subscription(subscription)}
        return GraphResponse(status, body, "subscription")


def _identity(subscription: Subscription) -> tuple[str, str, frozenset[str]]:
    """Two live subscriptions of one mailbox may not be equal in these."""
    return subscription.app, subscription.resource.lower().strip("/"), frozenset(subscription.changes)


def _is_own(subscription: Subscription, request: GraphRequest) -> bool:
    return (subscription.tenant, subscription.app) == (request.token.tenant, request.token.app)


def _json(request: GraphRequest) -> dict[str, Any]:
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise GraphError(errors.JSON) from error
    if not isinstance(body, dict):
        raise GraphError(errors.JSON)
    return body


def _notification_url(body: dict[str, Any], name: str, *, required: bool) -> str | None:
    """A notification URL: https, or plain http to the loopback interface."""
    url = body.get(name)
    if url is None and not required:
        return None
    parts = urlsplit(str(url or ""))
    plain = parts.scheme == "http" and parts.hostname in LOOPBACK
    if not parts.hostname or not (parts.scheme == "https" or plain):
        raise GraphError(errors.INVALID, f"The value of '{name}' is invalid: HTTPS is required.")
    return str(url)
