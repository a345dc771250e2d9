"""What is published again next, and which activities a piece has; on both drivers."""

from datetime import UTC, datetime
from typing import Any

from services.tracking.domain.tracked_activity import TrackedActivity
from services.tracking.store import Republication, Store
from shared.keys import join_key
from tests.tracking.worlds import ACCOUNT, ANN, CONTOSO, EVE, NOW, RENEWAL, email, tracked

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
ON_RENEWAL, ON_ACCOUNT = join_key(RENEWAL), join_key(ACCOUNT)


async def leased(store: Store, count: int) -> list[str]:
    """The scopes that are leased one after another; none of them is finished."""
    found = []
    for _ in range(count):
        due = await store.republications.lease_next("holder")
        assert due
        found.append(due.scope)
        await store.republications.release(due)
    return found


async def test_closing_ones_come_first_and_then_those_that_have_waited_longest(store: Store) -> None:
    await store.republications.request([Republication("renamed/a/1", 5)])
    await store.republications.request([Republication("renamed/a/2", 5)])
    assert await leased(store, 4) == ["renamed/a/1", "renamed/a/2"] * 2
    await store.republications.request([Republication("closed/a/1", 5, closes=True)])
    assert await leased(store, 2) == ["closed/a/1"] * 2


async def test_change_that_comes_meanwhile_raises_the_revision_and_is_not_finished(store: Store) -> None:
    await store.republications.request([Republication(ON_RENEWAL, 5, closes=True)])
    first = await store.republications.lease_next("holder")
    assert first
    await store.republications.request([Republication(ON_RENEWAL, 9), Republication(ON_ACCOUNT, 3)])
    await store.republications.request([Republication(ON_RENEWAL, 8)])
    await store.republications.finish(first)
    second = await store.republications.lease_next("holder")
    assert second == Republication(ON_RENEWAL, 9, closes=True)
    await store.republications.finish(second)
    assert await store.republications.count() == 1


async def test_one_replica_has_a_republication_and_a_dead_one_s_lease_ends(store: Store) -> None:
    await store.republications.request([Republication(ON_RENEWAL, 5)])
    assert await store.republications.lease_next("first")
    assert await store.republications.lease_next("second") is None
    expired = {"$set": {"publish_lease.until": LONG_AGO}}
    await store.collection("republications").update_one({"_id": ON_RENEWAL}, expired)
    assert await store.republications.lease_next("second")


# -- the activities of a piece --------------------------------------------------------------------


async def published(store: Store, *activities: TrackedActivity) -> None:
    """Stores activities that Kafka has."""
    for activity in activities:
        assert await store.tracked_activities.replace_if_unchanged(activity, None)
    await store.tracked_activities.acknowledge(activities, NOW)


def numbered(number: int, revision_after: int = 0, **fields: Any) -> TrackedActivity:
    """An activity on the opportunity, tracked so many microseconds after the first."""
    at = NOW.replace(microsecond=revision_after)
    return tracked(email(identity=str(number), **fields), (ANN, RENEWAL), now=at)


async def test_piece_has_the_lowest_revisions_below_its_own_and_raises_them_to_it(store: Store) -> None:
    first, second, third, newer = (numbered(number, 3 - number) for number in range(4))
    on_account = tracked(email(identity="other"), (ANN, ACCOUNT))
    await published(store, first, second, third, on_account)
    below = first.revision + 1
    newer = numbered(9, 4)
    await published(store, newer)

    taken = [await store.tracked_activities.lease_below(ON_RENEWAL, below, "holder", 2) for _ in range(3)]
    assert [{each.id for each in piece} for piece in taken] == [{third.id, second.id}, {first.id}, set()]
    assert {each.revision for piece in taken for each in piece} == {below}
    assert await store.tracked_activities.count_publish_pending() == 3
    assert await store.tracked_activities.lease_pending("relay", 10) == [], "another replica has leased them"


async def test_scope_is_a_record_or_a_tenant(store: Store) -> None:
    on_renewal, on_account = numbered(1), tracked(email(identity="other"), (ANN, ACCOUNT))
    of_fabrikam = tracked(email(EVE), (EVE, RENEWAL))
    await published(store, on_renewal, on_account, of_fabrikam)
    below = NOW.year * 10**15
    assert await store.tracked_activities.find_tenants() == sorted([ANN.tenant, EVE.tenant])
    for scope, expected in (
        (ON_ACCOUNT, {on_account.id}),
        (CONTOSO, {on_account.id, on_renewal.id}),
        ("tenant-unknown", set[str]()),
    ):
        below += 1
        found = await store.tracked_activities.lease_below(scope, below, "holder", 10)
        assert {each.id for each in found} == expected
        assert await store.tracked_activities.find_max_revision(scope) == (below if expected else None)
