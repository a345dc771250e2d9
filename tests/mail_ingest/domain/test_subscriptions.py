"""When a subscription is created, renewed, created again."""

from datetime import UTC, datetime, timedelta

from services.mail_ingest.domain.kinds import KINDS
from services.mail_ingest.domain.subscriptions import (
    LIFETIME,
    GraphSubscription,
    SubscriptionPlan,
    plan_subscriptions,
    renewal_time,
    requested_expiry,
)
from shared.events import ActivityKind
from shared.keys import MailboxKey

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
EMAIL, MEETING = ActivityKind.EMAIL, ActivityKind.MEETING


def subscription(
    kind: ActivityKind = EMAIL,
    graph_id: str | None = "g",
    renew_in: timedelta | None = timedelta(hours=1),
    removed: bool = False,
) -> GraphSubscription:
    return GraphSubscription(
        key=f"{kind}-{graph_id}",
        owner=MailboxKey("t", "m"),
        kind=kind,
        client_state="secret",
        graph_id=graph_id,
        renew_at=None if renew_in is None else NOW + renew_in,
        expires=NOW + timedelta(days=6),
        removed=removed,
    )


def plan(existing: list[GraphSubscription], now: datetime = NOW) -> SubscriptionPlan:
    return plan_subscriptions(existing, now, KINDS)


def test_mailbox_has_one_subscription_of_each_kind() -> None:
    assert plan([]) == SubscriptionPlan(create=(EMAIL, MEETING), renew=(), delete=())
    assert not plan([subscription(EMAIL), subscription(MEETING)])


def test_unanswered_removed_or_expired_subscription_is_created_again() -> None:
    unanswered, removed = subscription(graph_id=None), subscription(MEETING, removed=True)
    assert plan([unanswered, removed]) == SubscriptionPlan(
        create=(EMAIL, MEETING), renew=(), delete=(unanswered, removed)
    )
    after_expiry = NOW + timedelta(days=7)
    assert plan([subscription(), subscription(MEETING)], after_expiry).create == (EMAIL, MEETING)


def test_renewals_spread_over_half_a_day_or_are_due_when_graph_requires_it() -> None:
    required, fresh = subscription(renew_in=None), subscription(MEETING)
    assert plan([required, fresh]).renew == (required,)
    end = NOW + timedelta(days=6)
    assert [renewal_time(NOW, end, random) - NOW for random in (0, 0.5, 1)] == [
        timedelta(hours=hours) for hours in (12, 18, 24)
    ]
    assert renewal_time(NOW, NOW + timedelta(hours=3), 0) == NOW + timedelta(hours=2)


def test_requested_lifetime_is_below_graphs_limit() -> None:
    assert requested_expiry(NOW) == NOW + LIFETIME
    assert timedelta(minutes=10_070) > LIFETIME
