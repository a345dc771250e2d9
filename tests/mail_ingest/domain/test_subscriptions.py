"""When a subscription is made, renewed, made again."""

from datetime import UTC, datetime, timedelta

from services.mail_ingest.domain.subscriptions import LIFETIME, Plan, Subscription, expiration, plan, renewal
from shared.events import Kind

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def one(
    kind: Kind = Kind.EMAIL,
    graph_id: str | None = "g",
    renew_in: timedelta | None = timedelta(hours=1),
    removed: bool = False,
) -> Subscription:
    renew_at = None if renew_in is None else NOW + renew_in
    return Subscription(
        f"{kind}-{graph_id}", "t/m", kind, "secret", graph_id, renew_at, NOW + timedelta(days=6), removed
    )


def test_a_mailbox_has_one_for_each_kind() -> None:
    assert plan([], NOW) == Plan(create=(Kind.EMAIL, Kind.MEETING), renew=(), forget=())
    assert not plan([one(Kind.EMAIL), one(Kind.MEETING)], NOW)


def test_what_graph_never_named_removed_or_let_expire_is_made_again() -> None:
    pending, removed = one(graph_id=None), one(Kind.MEETING, removed=True)
    assert plan([pending, removed], NOW) == Plan(
        create=(Kind.EMAIL, Kind.MEETING), renew=(), forget=(pending, removed)
    )
    late = NOW + timedelta(days=7)
    assert plan([one(), one(Kind.MEETING)], late).create == (Kind.EMAIL, Kind.MEETING)


def test_renewal_is_due_daily_or_when_graph_asks() -> None:
    asked, fresh = one(renew_in=None), one(Kind.MEETING)
    assert plan([asked, fresh], NOW).renew == (asked,)
    assert renewal(NOW, NOW + timedelta(days=6)) == NOW + timedelta(days=1)
    assert renewal(NOW, NOW + timedelta(hours=3)) == NOW + timedelta(hours=2)


def test_less_is_asked_for_than_graph_refuses() -> None:
    assert expiration(NOW) == NOW + LIFETIME
    assert timedelta(minutes=10_070) > LIFETIME
