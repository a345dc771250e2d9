"""The HTTP control interface: JSON below /control.

Actions of a tenant are below /control/tenants/{tenant}. The tables at the end of this file list all
actions.
"""
# ruff: noqa: ARG002 - all actions have one signature, with or without a body

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.archive import reader
from simulator.archive.tenant_archive import TenantArchive
from simulator.entra.tokens import Tokens
from simulator.graph import resources
from simulator.graph.api import Graph
from simulator.graph.notifier import Notifier
from simulator.graph.webhook_health import DeliveryRules
from simulator.state.subscriptions import LIFECYCLE_EVENTS, Subscription
from simulator.state.tenants import BLOCKS, App, RedirectUri, RoleAssignment, Tenant, User
from simulator.state.world import World

from .fault_actions import FAULT_ACTIONS
from .history import read_history
from .item_actions import ITEM_ACTIONS
from .rendering import render_tenant, render_user

Body = dict[str, Any]

REVOCATION_MARGIN = timedelta(seconds=5)
"""A token needs the claims of the challenge: a new one without them is before the revocation, too."""


class ControlApi:
    """Routes of the control interface for one world."""

    def __init__(self, world: World, tokens: Tokens, graph: Graph, notifier: Notifier) -> None:
        self.world = world
        self.tokens = tokens
        self.graph = graph
        self.notifier = notifier
        self.archives: dict[str, TenantArchive] = {}

    def routes(self) -> list[Route]:
        """The routes, relative to the root."""
        routes = [
            Route("/control" + path, self._world_endpoint(action), methods=[method])
            for (method, path), action in ACTIONS.items()
        ]
        routes += [
            Route("/control/tenants/{tenant}" + path, self._tenant_endpoint(action), methods=[method])
            for (method, path), action in TENANT_ACTIONS.items()
        ]
        for (method, path), fault_action in FAULT_ACTIONS.items():
            endpoint = self._world_endpoint(lambda c, b, run=fault_action: run(c.world, b))
            routes.append(Route("/control" + path, endpoint, methods=[method]))
        for path, item_action in ITEM_ACTIONS.items():
            endpoint = self._tenant_endpoint(lambda c, t, b, run=item_action: run(c.world, t, b))
            routes.append(Route("/control/tenants/{tenant}" + path, endpoint, methods=["POST"]))
        return routes

    def _world_endpoint(self, action: Callable[..., Any]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return await _run(lambda body: action(self, body), request)

        return endpoint

    def _tenant_endpoint(self, action: Callable[..., Any]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            def run_in_tenant(body: Body) -> Any:
                tenant = self.world.tenants.get(request.path_params["tenant"])
                if tenant is None:
                    raise LookupError(f"no tenant {request.path_params['tenant']}")
                return action(self, tenant, body)

            return await _run(run_in_tenant, request)

        return endpoint

    # actions on the world

    def add_tenant(self, body: Body) -> Any:
        """Add a tenant; `id`, `name` and `domain` are optional."""
        tenant = self.world.add_tenant(
            body.get("id"), body.get("name", "Contoso"), body.get("domain", "contoso.example")
        )
        return render_tenant(self.world, self.tokens, tenant)

    def list_tenants(self, body: Body) -> Any:
        """All tenants."""
        return [render_tenant(self.world, self.tokens, tenant) for tenant in self.world.tenants.values()]

    def roll_keys(self, body: Body) -> Any:
        """Generate a new signing key; the old ones stay published unless `forget_old` is true."""
        key = self.tokens.keys.roll(forget_old=bool(body.get("forget_old")))
        self.tokens.clear_cache()
        return {"kid": key.kid}

    def set_limits(self, body: Body) -> Any:
        """Change limits: max_concurrent, max_in_window, max_writes; and latency, retry_base (seconds)."""
        throttle, writes = self.graph.throttle, self.graph.subscription_writes
        throttle.max_concurrent = int(body.get("max_concurrent", throttle.max_concurrent))
        throttle.rate.max_in_window = int(body.get("max_in_window", throttle.rate.max_in_window))
        writes.max_in_window = int(body.get("max_writes", writes.max_in_window))
        self.graph.latency = float(body.get("latency", self.graph.latency))
        self.notifier.retry_base = float(body.get("retry_base", self.notifier.retry_base))
        return {
            "max_concurrent": throttle.max_concurrent,
            "max_in_window": throttle.rate.max_in_window,
            "max_writes": writes.max_in_window,
            "latency": self.graph.latency,
            "retry_base": self.notifier.retry_base,
        }

    def set_delivery_rules(self, body: Body) -> Any:
        """Change numbers of delivery, as in `DeliveryRules`; `speed` divides its durations.

        What the body does not name has its usual value.
        """
        speed = float(body.pop("speed", 1.0))
        self.notifier.rules = DeliveryRules(**body).faster(speed)
        return asdict(self.notifier.rules)

    def read_counters(self, body: Body) -> Any:
        """All counters; with `items`, also the items of each mailbox that nobody fetched by id."""
        mailboxes = {}
        for tenant in self.world.tenants.values():
            for user in tenant.users.values():
                if user.mailbox is not None and (user.mailbox.messages or user.mailbox.events):
                    with_items = bool(body.get("items"))
                    mailboxes[user.oid] = self._mailbox_counters(tenant, user, with_items=with_items)
        counters = self.world.counters.as_dict()
        counters["notifications"]["pending"] = self.notifier.pending
        return {**counters, "mailboxes": mailboxes, "webhooks": self.notifier.states()}

    def _mailbox_counters(self, tenant: Tenant, user: User, *, with_items: bool) -> Body:
        if user.mailbox is None:
            return {}
        counters, key = self.world.counters, (tenant.id, user.oid)
        items = user.mailbox.messages.keys() | user.mailbox.events.keys()
        fetched = items & counters.fetched.get(key, set())
        highest = [n for k, n in self.graph.throttle.highest.items() if k[2] == user.oid]
        result: Body = {
            "tenant": tenant.id,
            "messages": len(user.mailbox.messages),
            "events": len(user.mailbox.events),
            "fetched_by_id": len(fetched),
            "requests": dict(counters.by_mailbox.get(key, {})),
            "highest_concurrent": max(highest, default=0),
        }
        if with_items:
            result["not_fetched"] = sorted(items - fetched)
        return result

    def reset_counters(self, body: Body) -> Any:
        """Set all counters to zero."""
        self.world.counters.reset()
        self.graph.throttle.highest.clear()
        return {}

    def list_open_requests(self, body: Body) -> Any:
        """The ports of the clients that wait for a response of Graph now."""
        return {"ports": self.world.open_requests.ports()}

    def start_history(self, body: Body) -> Any:
        """Record every state of items and folders from now on."""
        self.world.start_history()
        return {}

    def show_history(self, body: Body) -> Any:
        """Recorded states: at most `count` of them, `after` a number of others."""
        return read_history(self.world, int(body.get("after", 0)), int(body.get("count", 1000)))

    def list_subscriptions(self, body: Body) -> Any:
        """All live subscriptions, with their mailbox and the form of their ids."""
        now = self.world.clock()
        return [
            {
                **resources.subscription(s),
                "tenant": s.tenant,
                "mailbox": s.mailbox,
                "immutable": s.immutable,
            }
            for s in self.world.subscriptions.values()
            if s.expires > now
        ]

    def send_lifecycle_event(self, body: Body) -> Any:
        """Send a lifecycle event for one `subscription`, for those of a `mailbox`, or for all."""
        event = body["event"]
        if event not in LIFECYCLE_EVENTS:
            raise ValueError(f"no lifecycle event {event}; the events are {', '.join(LIFECYCLE_EVENTS)}")
        selected = self._select_subscriptions(body)
        for subscription in selected:
            self.world.notify_lifecycle(subscription, event)
        return {"sent": len(selected)}

    def forget_subscriptions(self, body: Body) -> Any:
        """Remove subscriptions without a notification, as if they had expired."""
        selected = self._select_subscriptions(body)
        for subscription in selected:
            self.world.unsubscribe(subscription.id)
        return {"removed": len(selected)}

    def _select_subscriptions(self, body: Body) -> list[Subscription]:
        wanted = {"id": body.get("subscription"), "mailbox": body.get("mailbox")}
        return [
            s
            for s in list(self.world.subscriptions.values())
            if all(value is None or getattr(s, name) == value for name, value in wanted.items())
        ]

    # actions on one tenant

    def show_tenant(self, tenant: Tenant, body: Body) -> Any:
        """The tenant, its applications and users."""
        return render_tenant(self.world, self.tokens, tenant)

    def change_tenant(self, tenant: Tenant, body: Body) -> Any:
        """Switch the conditional access policy that blocks applications on or off."""
        tenant.conditional_access = bool(body["conditional_access"])
        return render_tenant(self.world, self.tokens, tenant)

    def register_app(self, tenant: Tenant, body: Body) -> Any:
        """Add or change a registration: client_id, secrets, certificates, redirects, roles, scope."""
        client = str(body.pop("client_id"))
        app = tenant.apps.get(client, App(client, body.get("name", client)))
        for name in ("secrets", "certificates", "roles"):
            if name in body:
                body[name] = tuple(body[name])
        if "redirects" in body:
            body["redirects"] = tuple(map(RedirectUri.parse, body["redirects"]))
        tenant.register_app(replace(app, **body))
        return render_tenant(self.world, self.tokens, tenant)

    def grant_role(self, tenant: Tenant, body: Body) -> Any:
        """Let Exchange grant `client_id` a `role`, such as Mail.Read, on `mailboxes`; without them on all.

        The grant takes effect after `seconds`. An empty `role` removes all grants of the application.
        """
        client, role = body["client_id"], body["role"]
        others = tuple(each for each in tenant.role_assignments if each.app != client)
        if not role:
            tenant.role_assignments = others
            return {}
        names = body.get("mailboxes")
        mailboxes = None if names is None else frozenset(_find_user(tenant, name).oid for name in names)
        since = self.world.clock() + timedelta(seconds=body.get("seconds", 0))
        tenant.role_assignments += (RoleAssignment(client, role, mailboxes, since),)
        return {}

    def add_user(self, tenant: Tenant, body: Body) -> Any:
        """Add a user with a mailbox: address, name, oid, upn, roles, groups, other_addresses."""
        for name in ("roles", "groups", "other_addresses"):
            body[name] = tuple(body.get(name, ()))
        return render_user(self.world.add_user(tenant, body.pop("address"), **body))

    def change_user(self, tenant: Tenant, body: Body) -> Any:
        """Change a user's roles, groups or name, or close the mailbox (`block`; empty opens it)."""
        user = _find_user(tenant, body.pop("user"))
        if body.get("block") not in (None, "", *BLOCKS):
            raise ValueError(f"no block {body['block']}; the blocks are {', '.join(BLOCKS)}")
        if "block" in body:
            body["block"] = body["block"] or None
        for name, value in body.items():
            if name not in ("name", "roles", "groups", "groups_overage", "block", "retry_after"):
                raise ValueError(f"{name} cannot be changed")
            setattr(user, name, tuple(value) if isinstance(value, list) else value)
        return render_user(user)

    def remove_user(self, tenant: Tenant, body: Body) -> Any:
        """Remove a user with the mailbox from the directory."""
        tenant.remove_user(_find_user(tenant, body["user"]))
        return {}

    def mint_user_token(self, tenant: Tenant, body: Body) -> Any:
        """Sign a user's access token without a sign-in; `kind` selects an invalid token."""
        user = _find_user(tenant, body["user"])
        apis = [app for app in tenant.apps.values() if app.scope]
        api = next((a for a in apis if a.client_id == body.get("api")), apis[0])
        client = body.get("client_id", api.client_id)
        claims = self.tokens.user_claims(tenant, user, api, client, api.scope)
        claims |= body.get("claims", {})
        kind = body.get("kind", "valid")
        token = self.tokens.sign(claims) if kind == "valid" else self.tokens.sign_invalid(kind, claims)
        return {"access_token": token}

    def mint_app_token(self, tenant: Tenant, body: Body) -> Any:
        """Sign an application's token for Graph; `roles` replaces the registered ones, `claims` any claims.

        A claim that is null is left out.
        """
        app = tenant.apps[body["client_id"]]
        roles = body.get("roles")
        app = app if roles is None else replace(app, roles=tuple(roles))
        claims = self.tokens.app_claims(tenant, app) | body.get("claims", {})
        present = {name: value for name, value in claims.items() if value is not None}
        return {"access_token": self.tokens.sign(present)}

    def revoke_tokens(self, tenant: Tenant, body: Body) -> Any:
        """Make Graph challenge the tokens of applications that can respond to a claims challenge."""
        now = int(self.world.clock().timestamp())
        tenant.tokens_not_before = now + int(REVOCATION_MARGIN.total_seconds())
        return {"tokens_not_before": tenant.tokens_not_before}

    async def load_archive(self, tenant: Tenant, body: Body) -> Any:
        """Load folders of mail and of calendars; no item arrives before it is released."""
        mail, events = body.get("mail"), body.get("meetings")
        content = await asyncio.to_thread(
            reader.read,
            Path(mail) if mail else None,
            Path(events) if events else None,
            self.world.now(),
        )
        archive = self.archives.setdefault(tenant.id, TenantArchive(self.world, tenant))
        archive.add(content)
        return self.show_archive(tenant, {})

    def show_archive(self, tenant: Tenant, body: Body) -> Any:
        """The mailboxes of the loaded archives, with the counts of released and remaining items."""
        archive = self.archives.get(tenant.id)
        return [] if archive is None else [each.as_dict() for each in archive.mailboxes.values()]

    def release_archive(self, tenant: Tenant, body: Body) -> Any:
        """Release the next `count` items of `mailbox`; without them all items, of all mailboxes."""
        archive = self.archives.get(tenant.id)
        if archive is None:
            raise LookupError("no archive is loaded")
        with self.world.lock:
            released = archive.release(body.get("mailbox"), body.get("count"))
        remaining = sum(len(each.items) for each in archive.mailboxes.values())
        return {"released": released, "remaining": remaining}


def _find_user(tenant: Tenant, name: str) -> User:
    user = tenant.find_user(name)
    if user is None:
        raise LookupError(f"no user {name}")
    return user


async def _run(action: Callable[[Body], Any], request: Request) -> Response:
    """Run an action with the body and query of a request; its errors become 404 or 400."""
    try:
        raw = await request.body()
        body = orjson.loads(raw) if raw else {}
        body |= dict(request.query_params)
        result = action(body)
        if inspect.isawaitable(result):
            result = await result
        return Response(orjson.dumps(result), 200, media_type="application/json")
    except KeyError as error:
        return _error_response(400, f"{error} is missing")
    except LookupError as error:
        return _error_response(404, str(error))
    except FileNotFoundError as error:
        return _error_response(404, str(error))
    except (ValueError, TypeError, OverflowError, orjson.JSONDecodeError) as error:
        return _error_response(400, str(error))


def _error_response(status: int, text: str) -> Response:
    return Response(orjson.dumps({"error": text}), status, media_type="application/json")


ACTIONS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("POST", "/tenants"): ControlApi.add_tenant,
    ("GET", "/tenants"): ControlApi.list_tenants,
    ("POST", "/keys/roll"): ControlApi.roll_keys,
    ("POST", "/limits"): ControlApi.set_limits,
    ("POST", "/delivery"): ControlApi.set_delivery_rules,
    ("GET", "/counters"): ControlApi.read_counters,
    ("DELETE", "/counters"): ControlApi.reset_counters,
    ("GET", "/requests/open"): ControlApi.list_open_requests,
    ("POST", "/history"): ControlApi.start_history,
    ("GET", "/history"): ControlApi.show_history,
    ("GET", "/subscriptions"): ControlApi.list_subscriptions,
    ("POST", "/subscriptions/lifecycle"): ControlApi.send_lifecycle_event,
    ("POST", "/subscriptions/forget"): ControlApi.forget_subscriptions,
}

TENANT_ACTIONS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("GET", ""): ControlApi.show_tenant,
    ("PATCH", ""): ControlApi.change_tenant,
    ("POST", "/apps"): ControlApi.register_app,
    ("POST", "/grants"): ControlApi.grant_role,
    ("POST", "/users"): ControlApi.add_user,
    ("PATCH", "/users"): ControlApi.change_user,
    ("DELETE", "/users"): ControlApi.remove_user,
    ("POST", "/tokens"): ControlApi.mint_user_token,
    ("POST", "/tokens/app"): ControlApi.mint_app_token,
    ("POST", "/tokens/revoke"): ControlApi.revoke_tokens,
    ("POST", "/archive"): ControlApi.load_archive,
    ("GET", "/archive"): ControlApi.show_archive,
    ("POST", "/archive/release"): ControlApi.release_archive,
}
