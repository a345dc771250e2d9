"""Microsoft Graph: permissions, limits, injected faults, and the dispatch of each request to its handler.

A request that no route or handler applies as a whole is refused, with Graph's own error or with 501.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from simulator.state.faults import Subject
from simulator.state.mailbox import Mailbox
from simulator.state.tenants import ACCESS_POLICY, NO_LICENCE, REMOVED, Tenant, User
from simulator.state.world import World

from . import access, errors
from .access import DIRECTORY, Permission
from .endpoints import ENDPOINTS, USERS, Endpoint
from .errors import ErrorTemplate, GraphError
from .paths import Routes, is_below
from .raw_items import put_raw_items
from .recorder import ERROR, Recorder
from .requests import GraphRequest, GraphResponse, Target
from .throttle import MAX_WRITES, WRITE_WINDOW, Application, RateLimit, Throttle

Handler = Callable[[GraphRequest, tuple[str, ...]], Awaitable[GraphResponse]]
"""Responds to a request with the ids in its path."""


@dataclass(frozen=True, slots=True)
class Route:
    """A path with a method: its handler, and the query options that it applies."""

    respond: Handler
    options: frozenset[str] = frozenset()


class Graph:
    """Answers requests about users, mail and calendars, and those of further routes.

    `latency` is the time in seconds that each request to a mailbox takes. It makes requests overlap, so
    that the limit of concurrent requests is reached as in reality.
    """

    def __init__(self, world: World, recorder: Recorder, latency: float) -> None:
        self.world = world
        self.throttle = Throttle()
        self.subscription_writes: RateLimit[Application] = RateLimit(MAX_WRITES, WRITE_WINDOW)
        self.latency = latency
        self._recorder = recorder
        self.routes: Routes[Route] = Routes()
        for endpoint in ENDPOINTS:
            respond = self._read if endpoint.path != USERS else self._list
            self.routes.add("GET", endpoint.path, Route(partial(respond, endpoint), endpoint.options))

    async def respond(self, request: GraphRequest) -> GraphResponse:
        """Return and record the response to a request; an error is a response, too."""
        try:
            response = await self._dispatch(request)
        except GraphError as error:
            body = error.body(self.world.clock(), request.request_id, request.client_request_id)
            response = GraphResponse(error.status, body, ERROR)
            if error.retry_after is not None:
                response.headers["Retry-After"] = str(error.retry_after)
        self.world.counters.statuses[response.status] += 1
        response.headers["request-id"] = request.request_id
        response.headers["client-request-id"] = request.client_request_id
        self._recorder.record(response.kind, response.body)
        return response

    async def _dispatch(self, request: GraphRequest) -> GraphResponse:
        if is_below(request.segments, "me"):
            raise GraphError(errors.ME)
        found = self.routes.find(request.method, request.segments)
        if found is None:
            path = "/".join(segment.text for segment in request.segments)
            raise GraphError(errors.NOT_SIMULATED, f"{request.method} {path}")
        route, keys = found
        request.options.check(route.options)
        return await route.respond(request, keys)

    async def _list(self, endpoint: Endpoint, request: GraphRequest, _: tuple[str, ...]) -> GraphResponse:
        tenant = self.find_tenant(request)
        self.world.counters.requests[endpoint.kind] += 1
        injected = self.injected_response(request, Subject(endpoint.kind, tenant.id))
        if injected is not None:
            return injected
        access.check_directory(request.token)
        nobody = User("", "", "", "")
        target = Target(tenant, nobody, Mailbox(tenant.id, "", ""), bodies=False)
        with self.world.lock:
            return endpoint.handler(self.world, request, target)

    async def _read(self, endpoint: Endpoint, request: GraphRequest, keys: tuple[str, ...]) -> GraphResponse:
        tenant = self.find_tenant(request)
        self.world.counters.requests[endpoint.kind] += 1
        is_directory = endpoint.permission is DIRECTORY
        target = (
            self._find_entry(request, tenant, keys[0])
            if is_directory
            else self.find_mailbox(request, endpoint.permission, keys)
        )
        with ExitStack() as in_flight:
            if not is_directory:
                key = (tenant.id, request.token.app, target.user.oid)
                self.world.counters.by_mailbox[tenant.id, target.user.oid][endpoint.kind] += 1
                in_flight.enter_context(self.throttle.request(key, self.world.clock()))
                if self.latency:
                    await asyncio.sleep(self.latency)
            subject = Subject(endpoint.kind, tenant.id, target.user.oid, keys[1:])
            injected = self.injected_response(request, subject)
            if injected is not None:
                return injected
            with self.world.lock:
                response = endpoint.handler(self.world, request, target)
                put_raw_items(response, target.mailbox.raw_items)
        applied = request.prefer.applied()
        if applied and not is_directory:
            response.headers["Preference-Applied"] = applied
        return response

    def find_tenant(self, request: GraphRequest) -> Tenant:
        """The tenant of the caller's token."""
        tenant = self.world.tenants.get(request.token.tenant)
        if tenant is None or request.token.app not in tenant.apps:
            raise GraphError(
                errors.TOKEN, "The identity of the calling application could not be established."
            )
        return tenant

    def find_mailbox(self, request: GraphRequest, permission: Permission, keys: tuple[str, ...]) -> Target:
        """The mailbox of a request, by the ids in its path.

        Raises:
            GraphError: the caller may not read it, or it is closed to applications.
        """
        tenant, now = self.find_tenant(request), self.world.clock()
        access.check_any(request.token, permission, tenant, now)
        user = tenant.find_directory_user(keys[0])
        if user is None or user.block == REMOVED:
            raise GraphError(errors.NO_USER, keys[0])
        if user.block == ACCESS_POLICY:
            raise GraphError(errors.RAOP)
        bodies = access.may_read_bodies(request.token, permission, tenant, user, now)
        if user.block == NO_LICENCE or user.mailbox is None:
            raise GraphError(errors.NO_MAILBOX)
        if user.block is not None:
            raise GraphError(errors.BUSY, retry_after=user.retry_after)
        return Target(tenant, user, user.mailbox, bodies, keys[1:])

    def _find_entry(self, request: GraphRequest, tenant: Tenant, name: str) -> Target:
        """The entry of a user in the directory."""
        access.check_directory(request.token)
        user = tenant.find_directory_user(name)
        if user is None or user.block == REMOVED:
            raise GraphError(errors.NO_OBJECT, name)
        mailbox = user.mailbox or Mailbox(tenant.id, user.oid, "")
        return Target(tenant, user, mailbox, bodies=False)

    def injected_response(self, request: GraphRequest, subject: Subject) -> GraphResponse | None:
        """The response of an injected fault, if one matches."""
        now = self.world.clock()
        fault = self.world.faults.next_for(subject, now)
        if fault is None:
            return None
        response = GraphResponse(fault.status, fault.body, headers=fault.all_headers())
        if fault.body is None and fault.status >= 400:
            code, text = fault.error()
            error = GraphError(ErrorTemplate(fault.status, "{0}", "{1}"), code, text)
            response.body = error.body(now, request.request_id, request.client_request_id)
            response.kind = ERROR
        return response
