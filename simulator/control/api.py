"""The control API: what happens in the simulated world happens because it was told here.

Below /control, JSON in and out. A tenant's own actions are below /control/tenants/{tenant}; the
table at the end of the file has them all.
"""
# ruff: noqa: ARG002 - all actions are called alike, with or without a body

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.archive import reader as archive
from simulator.archive.reader import Archive
from simulator.entra.tokens import Tokens
from simulator.graph.api import Graph
from simulator.graph.notifier import Notifier
from simulator.graph.resources import subscription as shown_subscription
from simulator.settings import redirect_uri
from simulator.state.faults import DeliveryFaults, Fault
from simulator.state.subscriptions import LIFECYCLE
from simulator.state.tenants import BLOCKS, App, Tenant, User
from simulator.state.world import World

from .item_actions import ITEM_ACTIONS

Body = dict[str, Any]


class Control:
    """Routes of the control API for one world."""

    def __init__(self, world: World, tokens: Tokens, graph: Graph, notifier: Notifier) -> None:
        self.world = world
        self.tokens = tokens
        self.graph = graph
        self.notifier = notifier
        self.archives: dict[str, Archive] = {}

    def routes(self) -> list[Route]:
        """The routes, to be put at the root."""
        made = [
            Route("/control" + path, self._plain(action), methods=[method])
            for (method, path), action in ACTIONS.items()
        ]
        made += [
            Route("/control/tenants/{tenant}" + path, self._of_tenant(action), methods=[method])
            for (method, path), action in TENANT_ACTIONS.items()
        ]
        for path, item_action in ITEM_ACTIONS.items():
            endpoint = self._of_tenant(lambda c, t, b, do=item_action: do(c.world, t, b))
            made.append(Route("/control/tenants/{tenant}" + path, endpoint, methods=["POST"]))
        return made

    def _plain(self, action: Callable[..., Any]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return await _answered(lambda body: action(self, body), request)

        return endpoint

    def _of_tenant(self, action: Callable[..., Any]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            def act(body: Body) -> Any:
                tenant = self.world.tenants.get(request.path_params["tenant"])
                if tenant is None:
                    raise LookupError(f"no tenant {request.path_params['tenant']}")
                return action(self, tenant, body)

            return await _answered(act, request)

        return endpoint

    # the whole world

    def add_tenant(self, body: Body) -> Any:
        """A tenant, with an id, a name and a domain of its own if they are given."""
        names = {"tenant": body.get("id"), "name": body.get("name", "Contoso")}
        tenant = self.world.add_tenant(**names, domain=body.get("domain", "contoso.example"))
        return self._show(tenant)

    def list_tenants(self, body: Body) -> Any:
        """All tenants."""
        return [self._show(tenant) for tenant in self.world.tenants.values()]

    def roll_keys(self, body: Body) -> Any:
        """A new signing key; the old ones are published on, unless they are to be forgotten."""
        key = self.tokens.keys.roll(forget_old=bool(body.get("forget_old")))
        self.tokens.forget_read()
        return {"kid": key.kid}

    def add_fault(self, body: Body) -> Any:
        """Wrong answers from now on."""
        self.world.faults.add(Fault(**body))
        return {}

    def clear_faults(self, body: Body) -> Any:
        """No wrong answers any more, notifications as they should be."""
        self.world.faults.clear()
        return {}

    def set_delivery(self, body: Body) -> Any:
        """How notifications go astray."""
        self.world.faults.delivery = replace(self.world.faults.delivery, **body)
        now = self.world.faults.delivery
        return {f.name: getattr(now, f.name) for f in fields(DeliveryFaults)}

    def set_limits(self, body: Body) -> Any:
        """Limits and pauses: at_once, in_window, latency, retry_base."""
        throttle = self.graph.throttle
        throttle.at_once = int(body.get("at_once", throttle.at_once))
        throttle.in_window = int(body.get("in_window", throttle.in_window))
        self.graph.latency = float(body.get("latency", self.graph.latency))
        self.notifier.retry_base = float(body.get("retry_base", self.notifier.retry_base))
        return {
            "at_once": throttle.at_once,
            "in_window": throttle.in_window,
            "latency": self.graph.latency,
            "retry_base": self.notifier.retry_base,
        }

    def counters(self, body: Body) -> Any:
        """What was asked and sent; with `items`, what of each mailbox was never fetched by id."""
        counters = self.world.counters
        mailboxes = {}
        for tenant in self.world.tenants.values():
            for user in tenant.users.values():
                box = user.mailbox
                if box is None or not (box.messages or box.events):
                    continue
                key = (tenant.id, user.oid)
                there = box.messages.keys() | box.events.keys()
                fetched = there & counters.fetched.get(key, set())
                shown: Body = {
                    "tenant": tenant.id,
                    "messages": len(box.messages),
                    "events": len(box.events),
                    "fetched_by_id": len(fetched),
                    "requests": dict(counters.by_mailbox.get(key, {})),
                    "highest_at_once": max(
                        (n for k, n in self.graph.throttle.highest.items() if k[2] == user.oid),
                        default=0,
                    ),
                }
                if body.get("items"):
                    shown["not_fetched"] = sorted(there - fetched)
                mailboxes[user.oid] = shown
        found = counters.as_dict()
        found["notifications"]["pending"] = self.notifier.pending
        return {**found, "mailboxes": mailboxes}

    def reset_counters(self, body: Body) -> Any:
        """All counters to zero."""
        self.world.counters.reset()
        self.graph.throttle.highest.clear()
        return {}

    def subscriptions(self, body: Body) -> Any:
        """All live subscriptions, with the form of their ids and their mailbox."""
        now = self.world.clock()
        return [
            {
                **shown_subscription(s),
                "tenant": s.tenant,
                "mailbox": s.mailbox,
                "immutable": s.immutable,
            }
            for s in self.world.subscriptions.values()
            if s.expires > now
        ]

    def lifecycle(self, body: Body) -> Any:
        """A lifecycle event for a subscription, or for all of a mailbox's or of all."""
        event = body["event"]
        if event not in LIFECYCLE:
            raise ValueError(f"no lifecycle event {event}; there are {', '.join(LIFECYCLE)}")
        chosen = self._subscriptions(body)
        for subscription in chosen:
            self.world.lifecycle(subscription, event)
        return {"sent": len(chosen)}

    def forget_subscriptions(self, body: Body) -> Any:
        """Subscriptions gone without a word, as if they had expired."""
        chosen = self._subscriptions(body)
        for subscription in chosen:
            self.world.unsubscribe(subscription.id)
        return {"gone": len(chosen)}

    def _subscriptions(self, body: Body) -> list[Any]:
        wanted = {"id": body.get("subscription"), "mailbox": body.get("mailbox")}
        return [
            s
            for s in list(self.world.subscriptions.values())
            if all(value is None or getattr(s, name) == value for name, value in wanted.items())
        ]

    # one tenant

    def show_tenant(self, tenant: Tenant, body: Body) -> Any:
        """The tenant, its applications and users."""
        return self._show(tenant)

    def change_tenant(self, tenant: Tenant, body: Body) -> Any:
        """Conditional access that blocks applications, or no longer."""
        tenant.conditional_access = bool(body["conditional_access"])
        return self._show(tenant)

    def register(self, tenant: Tenant, body: Body) -> Any:
        """An application, new or changed: client_id, secrets, certificates, redirects, roles."""
        client = str(body.pop("client_id"))
        app = tenant.apps.get(client, App(client, body.get("name", client)))
        for name in ("secrets", "certificates", "roles"):
            if name in body:
                body[name] = tuple(body[name])
        if "redirects" in body:
            body["redirects"] = tuple(map(redirect_uri, body["redirects"]))
        tenant.register(replace(app, **body))
        return self._show(tenant)

    def add_user(self, tenant: Tenant, body: Body) -> Any:
        """A user with a mailbox: address, name, oid, upn, roles, groups, other_addresses."""
        for name in ("roles", "groups", "other_addresses"):
            body[name] = tuple(body.get(name, ()))
        return _user(self.world.add_user(tenant, body.pop("address"), **body))

    def change_user(self, tenant: Tenant, body: Body) -> Any:
        """A user's roles, groups, name, or why her mailbox is closed (`block`, empty: open)."""
        user = _find(tenant, body.pop("user"))
        if body.get("block") not in (None, "", *BLOCKS):
            raise ValueError(f"no block {body['block']}; there are {', '.join(BLOCKS)}")
        if "block" in body:
            body["block"] = body["block"] or None
        for name, value in body.items():
            if name not in ("name", "roles", "groups", "groups_overage", "block", "retry_after"):
                raise ValueError(f"{name} cannot be changed")
            setattr(user, name, tuple(value) if isinstance(value, list) else value)
        return _user(user)

    def remove_user(self, tenant: Tenant, body: Body) -> Any:
        """A user gone from the directory, her mailbox with her."""
        tenant.remove(_find(tenant, body["user"]))
        return {}

    def mint(self, tenant: Tenant, body: Body) -> Any:
        """A user's access token without a sign-in; `kind` makes one that is to be refused."""
        user = _find(tenant, body["user"])
        apis = [app for app in tenant.apps.values() if app.scope]
        api = next((a for a in apis if a.client_id == body.get("api")), apis[0])
        client = body.get("client_id", api.client_id)
        claims = self.tokens.for_user(tenant, user, api, client, api.scope)
        claims |= body.get("claims", {})
        kind = body.get("kind", "good")
        good = kind == "good"
        token = self.tokens.sign(claims) if good else self.tokens.special(kind, claims)
        return {"access_token": token}

    def mint_for_app(self, tenant: Tenant, body: Body) -> Any:
        """An application's own token for Graph, with other roles if they are given."""
        app = tenant.apps[body["client_id"]]
        roles = body.get("roles")
        app = app if roles is None else replace(app, roles=tuple(roles))
        return {"access_token": self.tokens.sign(self.tokens.for_app(tenant, app))}

    async def load_archive(self, tenant: Tenant, body: Body) -> Any:
        """Folders of mail and of calendars, loaded and waiting; nothing arrives yet."""
        mail, events = body.get("mail"), body.get("meetings")
        read = await asyncio.to_thread(
            archive.read,
            Path(mail) if mail else None,
            Path(events) if events else None,
            self.world.now(),
        )
        own = self.archives.setdefault(tenant.id, Archive(self.world, tenant))
        own.add(read)
        return self.show_archive(tenant, {})

    def show_archive(self, tenant: Tenant, body: Body) -> Any:
        """The mailboxes of the loaded archives and what of them still waits."""
        own = self.archives.get(tenant.id)
        return [] if own is None else [each.as_dict() for each in own.mailboxes.values()]

    def release_archive(self, tenant: Tenant, body: Body) -> Any:
        """The next `count` items of `mailbox`: without count all, without mailbox of every one."""
        own = self.archives.get(tenant.id)
        if own is None:
            raise LookupError("no archive is loaded")
        with self.world.lock:
            released = own.release(body.get("mailbox"), body.get("count"))
        remaining = sum(len(each.items) for each in own.mailboxes.values())
        return {"released": released, "remaining": remaining}

    def _show(self, tenant: Tenant) -> Body:
        return {
            "id": tenant.id,
            "name": tenant.name,
            "domain": tenant.domain,
            "authority": f"{self.world.base_url}/{tenant.id}",
            "issuer": self.tokens.issuer(tenant.id),
            "conditional_access": tenant.conditional_access,
            "apps": [
                {
                    "client_id": app.client_id,
                    "name": app.name,
                    "secrets": list(app.secrets),
                    "redirects": [f"{r.kind}:{r.uri}" for r in app.redirects],
                    "roles": list(app.roles),
                    "scope": app.scope,
                }
                for app in tenant.apps.values()
            ],
            "users": [_user(user) for user in tenant.users.values()],
        }


def _user(user: User) -> Body:
    return {
        "oid": user.oid,
        "name": user.name,
        "address": user.address,
        "upn": user.upn,
        "roles": list(user.roles),
        "groups": list(user.groups),
        "has_mailbox": user.mailbox is not None,
        "block": user.block,
    }


def _find(tenant: Tenant, name: str) -> User:
    user = tenant.user(name)
    if user is None:
        raise LookupError(f"no user {name}")
    return user


async def _answered(act: Callable[[Body], Any], request: Request) -> Response:
    """An action's result, or its complaint as 404 or 400."""
    try:
        raw = await request.body()
        body = orjson.loads(raw) if raw else {}
        body |= dict(request.query_params)
        result = act(body)
        if inspect.isawaitable(result):
            result = await result
        return Response(orjson.dumps(result), 200, media_type="application/json")
    except KeyError as error:
        return _complaint(400, f"{error} is missing")
    except LookupError as error:
        return _complaint(404, str(error))
    except FileNotFoundError as error:
        return _complaint(404, str(error))
    except (ValueError, TypeError, orjson.JSONDecodeError) as error:
        return _complaint(400, str(error))


def _complaint(status: int, text: str) -> Response:
    return Response(orjson.dumps({"error": text}), status, media_type="application/json")


ACTIONS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("POST", "/tenants"): Control.add_tenant,
    ("GET", "/tenants"): Control.list_tenants,
    ("POST", "/keys/roll"): Control.roll_keys,
    ("POST", "/faults"): Control.add_fault,
    ("DELETE", "/faults"): Control.clear_faults,
    ("POST", "/delivery"): Control.set_delivery,
    ("POST", "/limits"): Control.set_limits,
    ("GET", "/counters"): Control.counters,
    ("DELETE", "/counters"): Control.reset_counters,
    ("GET", "/subscriptions"): Control.subscriptions,
    ("POST", "/subscriptions/lifecycle"): Control.lifecycle,
    ("POST", "/subscriptions/forget"): Control.forget_subscriptions,
}

TENANT_ACTIONS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("GET", ""): Control.show_tenant,
    ("PATCH", ""): Control.change_tenant,
    ("POST", "/apps"): Control.register,
    ("POST", "/users"): Control.add_user,
    ("PATCH", "/users"): Control.change_user,
    ("DELETE", "/users"): Control.remove_user,
    ("POST", "/tokens"): Control.mint,
    ("POST", "/tokens/app"): Control.mint_for_app,
    ("POST", "/archive"): Control.load_archive,
    ("GET", "/archive"): Control.show_archive,
    ("POST", "/archive/release"): Control.release_archive,
}
