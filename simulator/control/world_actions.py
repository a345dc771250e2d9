"""What a request may do to the whole simulated cloud; the table at the end lists all actions."""
# ruff: noqa: ARG002 - all actions have one signature, with or without a body

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from simulator.entra.tokens import Tokens
from simulator.graph import resources
from simulator.graph.api import Graph
from simulator.graph.notifier import Notifier
from simulator.graph.webhook_health import DeliveryRules
from simulator.state.subscriptions import LIFECYCLE_EVENTS, Subscription
from simulator.state.tenants import Tenant, User
from simulator.state.world import World

from .history import read_history
from .rendering import render_tenant

Body = dict[str, Any]


class WorldActions:
    """The actions on one world."""

    def __init__(self, world: World, tokens: Tokens, graph: Graph, notifier: Notifier) -> None:
        self.world = world
        self.tokens = tokens
        self.graph = graph
        self.notifier = notifier

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


WORLD_ACTIONS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("POST", "/tenants"): WorldActions.add_tenant,
    ("GET", "/tenants"): WorldActions.list_tenants,
    ("POST", "/keys/roll"): WorldActions.roll_keys,
    ("POST", "/limits"): WorldActions.set_limits,
    ("POST", "/delivery"): WorldActions.set_delivery_rules,
    ("GET", "/counters"): WorldActions.read_counters,
    ("DELETE", "/counters"): WorldActions.reset_counters,
    ("GET", "/requests/open"): WorldActions.list_open_requests,
    ("POST", "/history"): WorldActions.start_history,
    ("GET", "/history"): WorldActions.show_history,
    ("GET", "/subscriptions"): WorldActions.list_subscriptions,
    ("POST", "/subscriptions/lifecycle"): WorldActions.send_lifecycle_event,
    ("POST", "/subscriptions/forget"): WorldActions.forget_subscriptions,
}
