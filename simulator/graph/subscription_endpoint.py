"""Graph's /subscriptions: created after a handshake, renewed, listed, deleted."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from operator import attrgetter
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from simulator.state import ids
from simulator.state.faults import Subject
from simulator.state.items import Message
from simulator.state.mailbox import Folder
from simulator.state.subscriptions import CHANGES, EVENTS, MESSAGES, Subscription
from simulator.state.tenants import Tenant

from . import comparables, errors, odata, odata_filter, resources
from .access import CALENDAR, MAIL, Permission
from .api import Graph, Handler, Route
from .errors import GraphError
from .literals import parse_date_time
from .paths import Routes, is_below, parse_path
from .requests import GraphRequest, GraphResponse, Target

MAX_LIFETIME = timedelta(minutes=10_070)
"""The limit of the real Graph; its documentation has 10,080."""

MIN_LIFETIME = timedelta(minutes=45)
"""Graph raises a shorter lifetime to this."""

MAX_PER_MAILBOX = 1000
MAX_CLIENT_STATE = 128
LOOPBACK = ("localhost", "127.0.0.1", "::1")

PAGE_SIZE = 100
"""Entries of a page of the list; Graph takes no `$top` there."""

TLS_VERSIONS = ("v1_0", "v1_1", "v1_2", "v1_3")

PROPERTIES = (
    "changeType",
    "notificationUrl",
    "lifecycleNotificationUrl",
    "resource",
    "expirationDateTime",
    "clientState",
    "latestSupportedTlsVersion",
)
NOT_SIMULATED = (
    "includeResourceData",
    "encryptionCertificate",
    "encryptionCertificateId",
    "notificationQueryOptions",
    "notificationUrlAppId",
    "notificationContentType",
)
"""Properties of a new subscription."""

PERMISSIONS: Mapping[str, Permission] = {MESSAGES: MAIL, EVENTS: CALENDAR}

RESOURCES: Routes[str] = Routes()
"""The collection of each resource."""
RESOURCES.add("", "users/{}/messages", MESSAGES)
RESOURCES.add("", "users/{}/mailFolders/{}/messages", MESSAGES)
RESOURCES.add("", "users/{}/events", EVENTS)

Handshake = Callable[[str], Awaitable[bool]]
"""Sends a validation token to a notification URL; returns whether the URL returned it."""

CONTEXT = "/v1.0/$metadata#subscriptions"


class SubscriptionEndpoint:
    """Answers requests below /subscriptions."""

    def __init__(self, graph: Graph, handshake: Handshake) -> None:
        self._graph = graph
        self._world = graph.world
        self._handshake = handshake
        one = "subscriptions/{}"
        for method, path, respond in (
            ("POST", "subscriptions", self._create),
            ("GET", one, self._of_own("subscription", self._show)),
            ("PATCH", one, self._of_own("renew", self._renew)),
            ("DELETE", one, self._of_own("unsubscribe", self._delete)),
            ("POST", f"{one}/reauthorize", self._of_own("reauthorize", self._reauthorize)),
        ):
            graph.routes.add(method, path, Route(respond))
        graph.routes.add("GET", "subscriptions", Route(self._list, frozenset(("$skiptoken",))))

    async def _list(self, request: GraphRequest, _: tuple[str, ...]) -> GraphResponse:
        tenant = self._count(request)
        injected = self._graph.injected_response(request, Subject("subscriptions", tenant.id))
        if injected is not None:
            return injected
        return self._page(request, tenant.id)

    def _page(self, request: GraphRequest, tenant: str) -> GraphResponse:
        """A page of the caller's subscriptions; the token of the next page is the last id of this one."""
        after = request.options.skiptoken or ""
        if after and not ids.is_guid(after):
            raise GraphError(errors.OPTION, "$skiptoken", after)
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

    async def _create(self, request: GraphRequest, _: tuple[str, ...]) -> GraphResponse:
        tenant = self._count(request)
        subscription = self._parse(request, tenant, _json(request))
        injected = self._injected("subscribe", request, subscription)
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

    def _of_own(self, kind: str, respond: Callable[[GraphRequest, Subscription], GraphResponse]) -> Handler:
        """A handler of requests about one subscription of the caller."""

        async def handler(request: GraphRequest, keys: tuple[str, ...]) -> GraphResponse:
            tenant = self._count(request)
            subscription = self._world.subscriptions.get(keys[0])
            live = subscription is not None and subscription.expires > self._world.clock()
            if subscription is None or not live or not _is_own(subscription, request):
                subject = Subject(kind, tenant.id, subscription=keys[0])
                injected = self._graph.injected_response(request, subject)
                if injected is None:
                    raise GraphError(errors.NO_SUBSCRIPTION)
                return injected
            return self._injected(kind, request, subscription) or respond(request, subscription)

        return handler

    def _show(self, _: GraphRequest, subscription: Subscription) -> GraphResponse:
        return self._render(subscription, 200)

    def _renew(self, request: GraphRequest, subscription: Subscription) -> GraphResponse:
        body = _json(request)
        for name, value in body.items():
            if name != "expirationDateTime" and not name.startswith("@odata.") and value is not None:
                raise GraphError(errors.NOT_SIMULATED, f"a change of {name}")
        renewed = replace(subscription, expires=self._parse_expiry(body))
        self._authorize("Update", request, subscription.collection, (subscription.mailbox,))
        with self._world.lock:
            self._world.subscribe(renewed)
        return self._render(renewed, 200)

    def _reauthorize(self, request: GraphRequest, subscription: Subscription) -> GraphResponse:
        self._authorize("Update", request, subscription.collection, (subscription.mailbox,))
        return GraphResponse(200)

    def _delete(self, _: GraphRequest, subscription: Subscription) -> GraphResponse:
        with self._world.lock:
            self._world.unsubscribe(subscription.id)
        return GraphResponse(204)

    def _count(self, request: GraphRequest) -> Tenant:
        """Count a request; GraphError if it is one too many of the application's writes."""
        tenant = self._graph.find_tenant(request)
        self._world.counters.requests["subscriptions"] += 1
        if request.method != "GET":
            self._graph.subscription_writes.count((tenant.id, request.token.app), self._world.clock())
        return tenant

    def _injected(self, kind: str, request: GraphRequest, subscription: Subscription) -> GraphResponse | None:
        """The response of an injected fault for a subscription, if one matches."""
        key = (subscription.tenant, subscription.mailbox)
        self._world.counters.by_mailbox[key][kind] += 1
        subject = Subject(kind, *key, subscription=subscription.id)
        return self._graph.injected_response(request, subject)

    def _check_limits(self, subscription: Subscription) -> None:
        """Raise GraphError for a duplicate of a subscription, and for too many of one mailbox."""
        live = self._world.live_subscriptions(subscription.tenant, subscription.mailbox)
        for other in live:
            if _identity(other) == _identity(subscription):
                raise GraphError(errors.CONFLICT, other.id)
        if len(live) >= MAX_PER_MAILBOX:
            raise GraphError(errors.TOO_MANY_SUBSCRIPTIONS)

    def _parse(self, request: GraphRequest, tenant: Tenant, body: dict[str, Any]) -> Subscription:
        _check_properties(body)
        changes = [c.strip().lower() for c in str(body.get("changeType", "")).split(",")]
        if any(c not in CHANGES for c in changes):
            raise GraphError(errors.INVALID, "The value of 'changeType' is invalid.")
        url = _notification_url(body, "notificationUrl", required=True)
        state, tls = body.get("clientState"), body.get("latestSupportedTlsVersion")
        if state is not None and (not isinstance(state, str) or len(state) > MAX_CLIENT_STATE):
            text = f"clientState may have at most {MAX_CLIENT_STATE} characters."
            raise GraphError(errors.INVALID, text)
        if tls not in (None, *TLS_VERSIONS):
            raise GraphError(errors.INVALID, "The value of 'latestSupportedTlsVersion' is invalid.")
        resource = str(body.get("resource") or "")
        path, _, query = resource.partition("?")
        target, collection, folder = self._resolve_resource(request, path)
        return Subscription(
            id=str(uuid4()),
            tenant=tenant.id,
            app=request.token.app,
            mailbox=target.user.oid,
            resource=resource,
            collection=collection,
            changes=tuple(dict.fromkeys(changes)),
            url=url or "",
            lifecycle_url=_notification_url(body, "lifecycleNotificationUrl", required=False),
            client_state=state,
            expires=self._parse_expiry(body),
            immutable=request.prefer.immutable,
            tls=tls,
            folder=folder.id if folder else None,
            condition=_parse_condition(query, collection),
        )

    def _resolve_resource(self, request: GraphRequest, path: str) -> tuple[Target, str, Folder | None]:
        """Mailbox, collection and folder of a resource; GraphError if the caller may not read it."""
        segments = parse_path(path)
        if is_below(segments, "me"):
            raise GraphError(errors.ME)
        found = RESOURCES.find("", segments)
        if found is None:
            raise GraphError(errors.NOT_SIMULATED, f"a subscription to {path}")
        collection, keys = found
        target = self._authorize("Create", request, collection, keys)
        folder = target.mailbox.find_folder(keys[1]) if len(keys) > 1 else None
        if len(keys) > 1 and folder is None:
            raise GraphError(errors.SUBSCRIPTION_REFUSED, "Create", "NotFound", errors.NO_ITEM.text)
        return target, collection, folder

    def _authorize(
        self, operation: str, request: GraphRequest, collection: str, keys: tuple[str, ...]
    ) -> Target:
        """The mailbox of a resource; Exchange's refusal of it is inside Graph's own."""
        try:
            return self._graph.find_mailbox(request, PERMISSIONS[collection], keys)
        except GraphError as error:
            if error.status not in (401, 403, 404):
                raise
            status = HTTPStatus(error.status).phrase.replace(" ", "")
            raise GraphError(errors.SUBSCRIPTION_REFUSED, operation, status, error.text) from error

    def _parse_expiry(self, body: dict[str, Any]) -> datetime:
        now = self._world.clock()
        try:
            expires = parse_date_time(str(body["expirationDateTime"]))
        except (KeyError, GraphError) as error:
            text = "The value of 'expirationDateTime' is invalid."
            raise GraphError(errors.INVALID, text) from error
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


def _check_properties(body: dict[str, Any]) -> None:
    """Raise GraphError if a property of a new subscription is unknown, or is not simulated."""
    for name, value in body.items():
        if name in NOT_SIMULATED and value not in (None, False):
            raise GraphError(errors.NOT_SIMULATED, f"the property {name} of a subscription")
        if name not in (*PROPERTIES, *NOT_SIMULATED) and not name.startswith("@odata."):
            text = f"The property '{name}' does not exist on type 'microsoft.graph.subscription'."
            raise GraphError(errors.INVALID, text)


def _parse_condition(query: str, collection: str) -> Callable[[Message], bool] | None:
    """The test of the `$filter` in a resource; notifications report what enters and leaves it."""
    options = odata.parse_options(query)
    options.check(("$filter",) if collection == MESSAGES else ())
    if options.filter is None:
        return None
    return odata_filter.parse_filter(options.filter, comparables.MESSAGE).test


def _is_own(subscription: Subscription, request: GraphRequest) -> bool:
    return (subscription.tenant, subscription.app) == (request.token.tenant, request.token.app)


def _json(request: GraphRequest) -> dict[str, Any]:
    body = request.json()
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
