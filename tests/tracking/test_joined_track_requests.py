"""Two who change one thing at the same moment, on the real MongoDB."""

from datetime import timedelta

from services.tracking.domain.activity import claim, track

from .conftest import World
from .worlds import ACCOUNT, ANN, BEN, NOW, RENEWAL, asks, content, email, tracked

SECOND = timedelta(seconds=1)


async def test_a_second_click_adds_no_second_entry(world: World) -> None:
    [ask, other] = asks((ANN, RENEWAL), (ANN, ACCOUNT))
    opened = claim("c-1", email(), ask, timedelta(minutes=10))
    assert await world.store.claims.put(opened, email())

    for again in (ask, other, ask, other):
        assert await world.store.claims.join(opened, again)

    joined = await world.store.claims.open_on(opened.item)
    assert joined
    assert [entry.record for entry in joined.asks] == [RENEWAL, ACCOUNT]


async def test_a_tracked_activity_changes_from_the_revision_that_was_read(world: World) -> None:
    first = tracked(email(), (ANN, RENEWAL))
    assert await world.store.tracked.put(first, None)
    with_account = track(first, asks((ANN, ACCOUNT)), content(email()), NOW + SECOND)
    with_ben = track(first, asks((BEN, RENEWAL)), content(email()), NOW + SECOND)

    assert await world.store.tracked.put(with_account, first)
    assert not await world.store.tracked.put(with_ben, first)

    found = await world.store.tracked.one(first.tenant, first.id)
    assert found
    assert found.regarding == with_account.regarding
