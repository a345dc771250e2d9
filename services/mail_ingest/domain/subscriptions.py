"""The Graph subscriptions of a mailbox: when each is created, renewed, or created again."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

from shared.events import ActivityKind
from shared.keys import MailboxKey

from .kinds import KindTable

NOTIFICATION_PATH = "/graph/notifications"
LIFECYCLE_PATH = "/graph/lifecycle"
"""Paths of the webhook, as Graph gets them with each subscription."""
ENVIRONMENT = "environment"
"""The query parameter of these addresses that names the environment whose subscription it is."""

LIFETIME = timedelta(minutes=10_000)
"""Graph's limit is documented as 10,080 minutes and enforced as 10,070."""
RENEW_AFTER = timedelta(hours=12), timedelta(hours=24)
"""Long before the end, so that days of outage cost no subscription; between the two, so that those that were
created together are not renewed together."""
MIN_REMAINING_LIFETIME = 1 / 3
"""When Graph grants less than requested, a renewal is due when this part of the lifetime is left."""


@dataclass(frozen=True, slots=True)
class GraphSubscription:
    """A subscription that this service created.

    Attributes:
        key: our own id of it, new with each subscription.
        owner: the mailbox that it observes.
        client_state: the secret that Graph repeats in each notification.
        graph_id: Graph's id; None until Graph has answered the request that creates it.
        renew_at: when the next renewal is due; earlier when Graph requires a new authorisation.
        removed: Graph has reported that it removed the subscription.
    """

    key: str
    owner: MailboxKey
    kind: ActivityKind
    client_state: str
    graph_id: str | None = None
    renew_at: datetime | None = None
    expires: datetime | None = None
    removed: bool = False

    @property
    def is_being_created(self) -> bool:
        """True until Graph has answered the request that creates it."""
        return self.graph_id is None

    def is_usable(self, now: datetime) -> bool:
        """True when Graph delivers its notifications."""
        is_expired = self.expires is not None and self.expires <= now
        return not (self.is_being_created or self.removed or is_expired)


@dataclass(frozen=True, slots=True)
class SubscriptionPlan:
    """The work on a mailbox's subscriptions.

    Attributes:
        create: kinds without a usable subscription.
        renew: subscriptions that are due.
        delete: subscriptions that Graph removed, that expired, or whose creation Graph never answered.
    """

    create: tuple[ActivityKind, ...]
    renew: tuple[GraphSubscription, ...]
    delete: tuple[GraphSubscription, ...]

    def __bool__(self) -> bool:
        return bool(self.create or self.renew or self.delete)


def plan_subscriptions(
    existing: Iterable[GraphSubscription], now: datetime, kinds: KindTable
) -> SubscriptionPlan:
    """The work on a mailbox with these subscriptions: it needs one of each kind."""
    existing = list(existing)
    usable = [each for each in existing if each.is_usable(now)]
    subscribed_kinds = {each.kind for each in usable}
    return SubscriptionPlan(
        create=tuple(kind for kind in kinds if kind not in subscribed_kinds),
        renew=tuple(each for each in usable if each.renew_at is None or each.renew_at <= now),
        delete=tuple(each for each in existing if not each.is_usable(now)),
    )


def requested_expiry(now: datetime) -> datetime:
    """The end of a new or renewed subscription, as requested from Graph."""
    return now + LIFETIME


def renewal_time(now: datetime, expires: datetime, random: float) -> datetime:
    """When a subscription is renewed.

    Args:
        now: the present time.
        expires: Graph granted it until then.
        random: the jitter, from 0 to 1.
    """
    earliest, latest = RENEW_AFTER
    after = earliest + (latest - earliest) * random
    return min(now + after, expires - (expires - now) * MIN_REMAINING_LIFETIME)


def webhook_address(webhook_url: str, path: str, environment: str) -> str:
    """Where Graph posts notifications, with the name of the environment that gets them."""
    return f"{webhook_url.rstrip('/')}{path}?{urlencode({ENVIRONMENT: environment})}"


def environment_of(notification_url: str) -> str | None:
    """The environment that a subscription's address names; None: none, or it is no address."""
    try:
        names = parse_qs(urlsplit(notification_url).query).get(ENVIRONMENT)
    except ValueError:
        return None
    return names[0] if names else None
