"""The complete state of the simulator: tenants, mailboxes, subscriptions, counters. No input or output."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from threading import RLock
from uuid import uuid4

from .counters import Counters
from .faults import Faults
from .history import History
from .items import Event, Message
from .mailbox import Mailbox
from .open_requests import OpenRequests
from .subscriptions import (
    DELETED,
    EVENTS,
    MESSAGES,
    Notification,
    Subscription,
    event_notifications,
    lifecycle_notification,
    message_notifications,
)
from .tenants import RedirectUri, Tenant, User, default_apps

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """The current time of this machine."""
    return datetime.now(UTC)


class World:
    """The state of the simulator.

    Args:
        base_url: the public URL of the simulator; issuers and links begin with it.
        clock: returns the current time.
        seed: makes ids and faults repeatable; without one every world has new ones.
        redirects: redirect URIs of the API registration of a new tenant.

    A thread that changes the state holds `lock`, which is reentrant. Every change of an item creates
    notifications, and the world passes each to all `listeners`.
    """

    def __init__(
        self,
        base_url: str = "https://localhost:18443",
        *,
        clock: Clock = system_clock,
        seed: int | None = None,
        redirects: tuple[RedirectUri, ...] = (),
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.clock = clock
        self.salt = str(uuid4()) if seed is None else f"seed-{seed}"
        self.redirects = redirects
        self.lock = RLock()
        self.tenants: dict[str, Tenant] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.counters = Counters()
        self.faults = Faults(seed)
        self.history = History()
        self.open_requests = OpenRequests()
        self.listeners: list[Callable[[Notification], None]] = []
        self._subscriptions_by_mailbox: dict[tuple[str, str], dict[str, Subscription]] = {}

    def now(self) -> datetime:
        """The current time in whole seconds, the precision of Exchange."""
        return self.clock().replace(microsecond=0)

    # directory

    def add_tenant(
        self, tenant: str | None = None, name: str = "Contoso", domain: str = "contoso.example"
    ) -> Tenant:
        """Add a tenant with the two default registrations; return the existing tenant if the id exists."""
        with self.lock:
            key = tenant or str(uuid4())
            if key not in self.tenants:
                added = self.tenants[key] = Tenant(key, name, domain)
                for app in default_apps(self.redirects):
                    added.register_app(app)
            return self.tenants[key]

    def add_user(
        self,
        tenant: Tenant,
        address: str,
        *,
        name: str = "",
        oid: str | None = None,
        upn: str | None = None,
        roles: tuple[str, ...] = (),
        groups: tuple[str, ...] = (),
        groups_overage: bool = False,
        mailbox: bool = True,
        other_addresses: tuple[str, ...] = (),
    ) -> User:
        """Add a user, with an empty mailbox unless `mailbox` is false."""
        with self.lock:
            key = (oid or str(uuid4())).lower()
            user = User(
                oid=key,
                name=name or address.partition("@")[0],
                address=address,
                upn=upn or address,
                roles=roles,
                groups=groups,
                groups_overage=groups_overage,
                mailbox=Mailbox(tenant.id, key, self.salt) if mailbox else None,
                other_addresses=other_addresses,
            )
            if user.mailbox is not None:
                self.history.record_folders(self.clock(), user.mailbox)
            return tenant.add_user(user)

    def find_mailbox(self, tenant: Tenant, address: str) -> Mailbox | None:
        """Find the mailbox in this tenant that receives mail for an address."""
        user = tenant.find_user(address)
        return None if user is None else user.mailbox

    def start_history(self) -> None:
        """Record all states from now on, beginning with the present ones."""
        with self.lock:
            self.history.start()
            now = self.clock()
            users = [user for tenant in self.tenants.values() for user in tenant.users.values()]
            for mailbox in (user.mailbox for user in users if user.mailbox is not None):
                self.history.record_folders(now, mailbox)
                items: list[Message | Event] = [*mailbox.messages.values(), *mailbox.events.values()]
                for item in items:
                    self.history.record_item(now, mailbox, item.immutable_id, item)

    # subscriptions

    def subscribe(self, subscription: Subscription) -> None:
        """Add a subscription, or replace the one with the same id."""
        self.subscriptions[subscription.id] = subscription
        key = (subscription.tenant, subscription.mailbox)
        self._subscriptions_by_mailbox.setdefault(key, {})[subscription.id] = subscription

    def unsubscribe(self, subscription: str) -> Subscription | None:
        """Remove a subscription; return it, or None if it does not exist."""
        removed = self.subscriptions.pop(subscription, None)
        if removed is not None:
            self._subscriptions_by_mailbox[removed.tenant, removed.mailbox].pop(removed.id, None)
        return removed

    def live_subscriptions(self, tenant: str, mailbox: str | None = None) -> list[Subscription]:
        """The subscriptions of a tenant, or of one mailbox, that have not expired."""
        now = self.clock()
        candidates = (
            self.subscriptions.values()
            if mailbox is None
            else self._subscriptions_by_mailbox.get((tenant, mailbox), {}).values()
        )
        return [s for s in candidates if s.tenant == tenant and s.expires > now]

    def notify_message_change(
        self, mailbox: Mailbox, change: str, message: Message, before: Message | None = None
    ) -> None:
        """Notify the subscriptions of a message that was created, updated, moved or deleted."""
        state = None if change == DELETED else message
        self.history.record_item(self.clock(), mailbox, message.immutable_id, state)
        for subscription in self._subscriptions_to(mailbox, MESSAGES):
            for notification in message_notifications(subscription, change, message, before):
                self._emit(notification)

    def notify_event_change(self, mailbox: Mailbox, change: str, event: Event) -> None:
        """Notify the subscriptions of an event that was created, updated or deleted."""
        state = None if change == DELETED else event
        self.history.record_item(self.clock(), mailbox, event.immutable_id, state)
        for subscription in self._subscriptions_to(mailbox, EVENTS):
            for notification in event_notifications(subscription, change, event):
                self._emit(notification)

    def notify_lifecycle(self, subscription: Subscription, event: str) -> None:
        """Send a lifecycle notification, if the subscription has a URL for it."""
        if event == "subscriptionRemoved":
            self.unsubscribe(subscription.id)
        if subscription.lifecycle_url:
            self._emit(lifecycle_notification(subscription, event))

    def _emit(self, notification: Notification) -> None:
        self.counters.notifications["made"] += 1
        for listener in self.listeners:
            listener(notification)

    def _subscriptions_to(self, mailbox: Mailbox, collection: str) -> Iterator[Subscription]:
        for subscription in self.live_subscriptions(mailbox.tenant, mailbox.owner):
            if subscription.collection == collection:
                yield subscription
