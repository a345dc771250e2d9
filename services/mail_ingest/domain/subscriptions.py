"""What to subscribe to, and when a subscription is made, renewed, or made again."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.events import Kind

RESOURCES = {Kind.EMAIL: "users/{mailbox}/messages", Kind.MEETING: "users/{mailbox}/events"}
"""One subscription each: all folders of the mailbox, and its primary calendar."""
CHANGES = "created,updated,deleted"

LIFETIME = timedelta(minutes=10_000)
"""Graph's limit is documented as 10,080 minutes and enforced as 10,070."""
RENEW_AFTER = timedelta(days=1)
"""Long before the end, so that days of outage cost no subscription."""
RENEW_BEFORE_END = 1 / 3
"""Where Graph grants less than was asked for: when this part of the lifetime is left."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One of ours.

    Attributes:
        key: our own id of it, new with each.
        graph_id: Graph's; None while it is being asked for.
        renew_at: when it is due; the moment at which Graph asked for it, where it did.
        removed: Graph says that it is no more.
    """

    key: str
    owner: str
    kind: Kind
    client_state: str
    graph_id: str | None = None
    renew_at: datetime | None = None
    expires: datetime | None = None
    removed: bool = False

    @property
    def pending(self) -> bool:
        """Was it asked for, and Graph has not answered?"""
        return self.graph_id is None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about a mailbox's subscriptions.

    Attributes:
        create: kinds that lack one.
        renew: those that are due.
        forget: of no more use: removed by Graph, expired, or never answered.
    """

    create: tuple[Kind, ...]
    renew: tuple[Subscription, ...]
    forget: tuple[Subscription, ...]

    def __bool__(self) -> bool:
        return bool(self.create or self.renew or self.forget)


def plan(existing: Iterable[Subscription], now: datetime) -> Plan:
    """What a mailbox with these subscriptions needs now."""
    existing = list(existing)
    forget = tuple(
        s for s in existing if s.pending or s.removed or (s.expires is not None and s.expires <= now)
    )
    kept = [s for s in existing if s not in forget]
    return Plan(
        create=tuple(kind for kind in RESOURCES if kind not in {s.kind for s in kept}),
        renew=tuple(s for s in kept if s.renew_at is None or s.renew_at <= now),
        forget=forget,
    )


def expiration(now: datetime) -> datetime:
    """What to ask for."""
    return now + LIFETIME


def renewal(now: datetime, expires: datetime) -> datetime:
    """When a subscription that was granted until then is renewed."""
    return min(now + RENEW_AFTER, expires - (expires - now) * RENEW_BEFORE_END)
