"""Microsoft Graph: permissions, limits, injected faults, and the dispatch of each request to its handler."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from simulator.state.mailbox import Mailbox
from simulator.state.tenants import ACCESS_POLICY, NO_LICENCE, REMOVED, Tenant
from simulator.state.world import World

from . import errors
from .endpoints import DIRECTORY, ENDPOINTS, Endpoint
from .errors import ErrorTemplate, GraphError
from .recorder import ERROR, Recorder
from .requests import GraphRequest, GraphResponse, Target
from .throttle import Throttle
from .users import list_users


class Graph:
    """Answers requests about users, mail and calendars, and those of registered endpoints.

    `latency` is the time in seconds that each request to a mailbox takes. It makes requests overlap, so
    that the limit of concurrent requests is reached as in reality.
    """

    def __init__(self, world: World, recorder: Recorder, latency: float) -> None:
        self.world = world
        self.throttle = Throttle()
        self.latency = latency
        self._recorder = recorder
        self.other_endpoints: dict[tuple[str, ...], Callable[[GraphRequest], Awaitable[GraphResponse]]] = {}
        """Handlers of paths that are not below /users: subscriptions and batches."""

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
        if request.names[:1] == ("me",):
            raise GraphError(errors.ME)
        other = self.other_endpoints.get(request.names[:1])
        if other is not None:
            return await other(request)
        endpoint = ENDPOINTS.get((request.names, len(request.keys)))
        if endpoint is None:
            raise GraphError(errors.NO_RESOURCE, "/".join(request.names[1:]) or request.path)
        if request.method != "GET":
            raise GraphError(errors.NO_METHOD)
        self.world.counters.requests[endpoint.kind] += 1
        tenant = self.find_tenant(request)
        if endpoint.handler is None:
            injected = self.injected_response(request, endpoint.kind, None)
            if injected is not None:
                return injected
            self._may_read_bodies(request, endpoint)
            response = list_users(self.world, request, tenant)
            _add_applied_preferences(request, response)
            return response
        target = self._find_target(request, tenant, endpoint)
        with ExitStack() as in_flight:
            if len(request.names) > 1:
                key = (tenant.id, request.token.app, target.user.oid)
                self.world.counters.by_mailbox[tenant.id, target.user.oid][endpoint.kind] += 1
                in_flight.enter_context(self.throttle.request(key, self.world.clock()))
                if self.latency:
                    await asyncio.sleep(self.latency)
            injected = self.injected_response(request, endpoint.kind, target.user.oid)
            if injected is not None:
                return injected
            with self.world.lock:
                response = endpoint.handler(self.world, request, target)
        _add_applied_preferences(request, response)
        return response

    def find_tenant(self, request: GraphRequest) -> Tenant:
        """The tenant of the caller's token."""
        tenant = self.world.tenants.get(request.token.tenant)
        if tenant is None or request.token.app not in tenant.apps:
            raise GraphError(
                errors.TOKEN, "The identity of the calling application could not be established."
            )
        return tenant

    def find_mailbox(self, tenant: Tenant, name: str) -> Target:
        """The mailbox of a request; GraphError if it is closed to applications."""
        user = tenant.find_user(name)
        if user is None or user.block == REMOVED:
            raise GraphError(errors.NO_USER, name)
        if user.block == ACCESS_POLICY:
            raise GraphError(errors.RAOP)
        if user.block == NO_LICENCE or user.mailbox is None:
            raise GraphError(errors.NO_MAILBOX)
        if user.block is not None:
            raise GraphError(errors.BUSY, retry_after=user.retry_after)
        return Target(tenant, user, user.mailbox, True)

    def _find_target(self, request: GraphRequest, tenant: Tenant, endpoint: Endpoint) -> Target:
        bodies = self._may_read_bodies(request, endpoint)
        name = request.keys[0]
        if len(request.names) > 1:
            target = self.find_mailbox(tenant, name)
            return Target(tenant, target.user, target.mailbox, bodies)
        user = tenant.find_user(name)
        if user is None or user.block == REMOVED:
            raise GraphError(errors.NO_OBJECT, name)
        mailbox = user.mailbox or Mailbox(tenant.id, user.oid, "")
        return Target(tenant, user, mailbox, bodies)

    def _may_read_bodies(self, request: GraphRequest, endpoint: Endpoint) -> bool:
        """Whether the caller may read bodies; GraphError if the caller may not read the path."""
        roles = request.token.roles
        if not roles.isdisjoint(endpoint.full):
            return True
        if roles.isdisjoint(endpoint.basic):
            denied = errors.DIRECTORY_DENIED if endpoint.full is DIRECTORY else errors.DENIED
            raise GraphError(denied)
        return False

    def injected_response(
        self, request: GraphRequest, kind: str, mailbox: str | None
    ) -> GraphResponse | None:
        """The response of an injected fault, if one matches."""
        now, item = self.world.clock(), request.keys[1] if len(request.keys) > 1 else None
        fault = self.world.faults.next_for(kind, mailbox, now, item)
        if fault is None:
            return None
        response = GraphResponse(fault.status, fault.body, headers=dict(fault.headers))
        if fault.body is None and fault.status >= 400:
            code, text = fault.error()
            error = GraphError(ErrorTemplate(fault.status, code, "{0}"), text)
            response.body = error.body(now, request.request_id, request.client_request_id)
            response.kind = ERROR
        if fault.retry_after is not None:
            response.headers["Retry-After"] = str(fault.retry_after)
        return response


def _add_applied_preferences(request: GraphRequest, response: GraphResponse) -> None:
    applied = request.prefer.applied()
    if applied:
        response.headers["Preference-Applied"] = applied
