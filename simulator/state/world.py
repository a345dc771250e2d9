"""All that the simulator knows: tenants, mailboxes, subscriptions, counts. No input, no output."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from threading import RLock
from uuid import uuid4

from . import subscriptions as subs
from .counters import Counters
from .faults import Faults
from .items import Event, Message
from .mailbox import Mailbox
from .subscriptions import EVENTS, MESSAGES, Notification, Subscription
from .tenants import RedirectUri, Tenant, User, default_apps

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


class World:
    """The simulator's state.

    Args:
        base_url: where it is reachable; issuers and links are made of it.
        clock: answers the present moment.
        seed: makes ids and faults repeatable; without one they are new in every world.
        redirects: where sign-ins to a new tenant's API may return to.

    Whoever changes it holds `lock`, which may be taken again by its holder. Every change of an
    item is announced to `listeners` as the notifications that it makes.
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
        self.listeners: list[Callable[[Notification], None]] = []
        self._subscriptions_of: dict[tuple[str, str], dict[str, Subscription]] = {}

    def now(self) -> datetime:
        """The present moment in whole seconds, as Exchange keeps its times."""
        return self.clock().replace(microsecond=0)

    # who there is

    def add_tenant(
        self, tenant: str | None = None, name: str = "Contoso", domain: str = "contoso.example"
    ) -> Tenant:
        """A new tenant with the two default registrations; the same one if it is there already."""
        with self.lock:
            key = tenant or str(uuid4())
            if key not in self.tenants:
                made = self.tenants[key] = Tenant(key, name, domain)
                for app in default_apps(self.redirects):
                    made.register(app)
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
        """A new user, with a mailbox unless told otherwise."""
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
            return tenant.add(user)

    def mailbox_of(self, tenant: Tenant, address: str) -> Mailbox | None:
        """The mailbox in this tenant that gets mail for an address."""
        user = tenant.user(address)
        return None if user is None else user.mailbox

    # who wants to be told

    def subscribe(self, subscription: Subscription) -> None:
        """A new subscription, or the new state of an old one."""
        self.subscriptions[subscription.id] = subscription
        key = (subscription.tenant, subscription.mailbox)
        self._subscriptions_of.setdefault(key, {})[subscription.id] = subscription

    def unsubscribe(self, subscription: str) -> Subscription | None:
        """The end of a subscription."""
        gone = self.subscriptions.pop(subscription, None)
        if gone is not None:
            self._subscriptions_of[gone.tenant, gone.mailbox].pop(gone.id, None)
        return gone

    def live_subscriptions(self, tenant: str, mailbox: str | None = None) -> list[Subscription]:
        """A tenant's subscriptions, or one mailbox's, that have not expired."""
        now = self.clock()
        found = (
            self.subscriptions.values()
            if mailbox is None
            else self._subscriptions_of.get((tenant, mailbox), {}).values()
        )
        return [s for s in found if s.tenant == tenant and s.expires > now]

    def message_changed(
        self, mailbox: Mailbox, change: str, message: Message, before: Message | None = None
    ) -> None:
        """Tell whoever subscribed that a message was created, updated, moved or deleted."""
        for subscription in self._concerned(mailbox, MESSAGES):
            for notification in subs.of_message(subscription, change, message, before):
                self.tell(notification)

    def event_changed(self, mailbox: Mailbox, change: str, event: Event) -> None:
        """Tell whoever subscribed that an event was created, updated or deleted."""
        for subscription in self._concerned(mailbox, EVENTS):
            for notification in subs.of_event(subscription, change, event):
                self.tell(notification)

    def lifecycle(self, subscription: Subscription, event: str) -> None:
        """Send a lifecycle notification, where the subscription has a URL for it."""
        if event == "subscriptionRemoved":
            self.unsubscribe(subscription.id)
        if subscription.lifecycle_url:
            self.tell(subs.lifecycle(subscription, event))

    def tell(self, notification: Notification) -> None:
        """Hand a notification to whoever delivers them."""
        self.counters.notifications["made"] += 1
        for listener in self.listeners:
            listener(notification)

    def _concerned(self, mailbox: Mailbox, collection: str) -> Iterator[Subscription]:
        for subscription in self.live_subscriptions(mailbox.tenant, mailbox.owner):
            if subscription.collection == collection:
                yield subscription
