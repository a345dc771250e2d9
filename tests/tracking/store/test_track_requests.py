"""Track requests in the store, and their outbox; on both drivers."""

import asyncio
from datetime import UTC, datetime, timedelta

from services.tracking.domain.track_request import NO_ANSWER, TrackRequest, TrackRequestState, open_request
from services.tracking.store import Store
from services.tracking.store.id_ranges import ANY
from shared.keys import RecordKey
from tests.tracking.worlds import ACCOUNT, ANN, NOW, RENEWAL, email, regarding

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
TEN_MINUTES = timedelta(minutes=10)


def request(request_id: str = "r", item: str = "mail-1") -> TrackRequest:
    [entry] = regarding((ANN, RENEWAL))
    return open_request(request_id, email(item=item), entry, TEN_MINUTES)


async def stored(store: Store, record: RecordKey = RENEWAL) -> dict[str, TrackRequest]:
    return {each.id: each for each in await store.track_requests.find_for_record(ANN.mailbox_key, record)}


async def test_item_has_at_most_one_open_request(store: Store) -> None:
    inserted = await asyncio.gather(
        *(store.track_requests.insert(request(str(number)), email()) for number in range(5))
    )
    assert sorted(inserted) == [False] * 4 + [True]
    [only] = (await stored(store)).values()
    await store.track_requests.close(only.id, TrackRequestState.FAILED, "gone")
    assert await store.track_requests.find_open(only.item) is None
    assert await store.track_requests.insert(request("again"), email())


async def test_entry_joins_an_open_request_once_and_a_closed_one_never(store: Store) -> None:
    await store.track_requests.insert(request(), email())
    first, entry = regarding((ANN, RENEWAL), (ANN, ACCOUNT))
    for joined in (first, entry, first, entry):
        assert await store.track_requests.join(request(), joined)
    assert [each.record for each in (await stored(store))["r"].regarding] == [RENEWAL, ACCOUNT]
    assert (await stored(store, ACCOUNT)).keys() == {"r"}
    await store.track_requests.close("r", TrackRequestState.DONE)
    assert not await store.track_requests.join(request(), entry)


async def test_closed_request_keeps_nothing_of_its_item_and_is_not_closed_again(store: Store) -> None:
    await store.track_requests.insert(request(), email())
    assert (await stored(store))["r"].activity == email()
    await store.track_requests.close("r", TrackRequestState.FAILED, "gone")
    await store.track_requests.close("r", TrackRequestState.DONE)
    closed = (await stored(store))["r"]
    assert (closed.activity, closed.state, closed.reason) == (None, TrackRequestState.FAILED, "gone")
    assert await store.track_requests.count_publish_pending() == 0


async def test_overdue_requests_fail(store: Store) -> None:
    await store.track_requests.insert(request(), email())
    assert await store.track_requests.fail_overdue(NOW + TEN_MINUTES - timedelta(seconds=1)) == 0
    assert await store.track_requests.fail_overdue(NOW + TEN_MINUTES) == 1
    assert (await stored(store))["r"].reason == NO_ANSWER
    assert await store.track_requests.count_open() == 0


async def repeated_at(store: Store, first: int, last: int) -> list[int]:
    """The seconds after its opening at which the only request is sent again, each time without an answer."""
    found = []
    for seconds in range(first, last):
        if await store.track_requests.repeat_unanswered(NOW + timedelta(seconds=seconds)):
            found.append(seconds)
            [leased] = await store.track_requests.lease_pending("replica", 10)
            assert leased.id == "r"
            await store.track_requests.acknowledge([leased])
    return found


async def test_request_without_an_answer_is_sent_again_at_growing_intervals(store: Store) -> None:
    await store.track_requests.insert(request(), email())
    await store.track_requests.acknowledge(await store.track_requests.lease_pending("replica", 1))
    assert await store.track_requests.count_publish_pending() == 0
    assert await repeated_at(store, 0, 160) == [15, 30, 60, 105, 150]
    await store.track_requests.close("r", TrackRequestState.DONE)
    assert await store.track_requests.repeat_unanswered(NOW + timedelta(days=1)) == 0


async def test_leased_request_is_left_alone_until_its_lease_ends(store: Store) -> None:
    for number in range(3):
        await store.track_requests.insert(request(str(number), f"m-{number}"), email(item=f"m-{number}"))
    first = await store.track_requests.lease_pending("first", 2)
    second = await store.track_requests.lease_pending("second", 10)
    assert (len(first), len(second)) == (2, 1)
    assert await store.track_requests.lease_pending("third", 10) == []
    expired = {"publish_lease.until": LONG_AGO}
    await store.collection("track_requests").update_many({"_id": second[0].id}, {"$set": expired})
    assert await store.track_requests.lease_pending("third", 10) == second


async def test_lease_of_a_primary_that_was_ahead_holds_nobody_up(store: Store) -> None:
    await store.track_requests.insert(request(), email())
    leased = await store.track_requests.lease_pending("first", 1)
    assert await store.track_requests.lease_pending("second", 1) == []
    minute_later = {"publish_lease.until": {"$add": ["$publish_lease.until", 60_000]}}
    await store.collection("track_requests").update_many(ANY, [{"$set": minute_later}])

    assert await store.track_requests.lease_pending("second", 1) == leased


async def test_request_is_pending_until_it_is_acknowledged_itself(store: Store) -> None:
    for item in ("m-1", "m-2"):
        await store.track_requests.insert(request(item, item), email(item=item))
    assert await store.track_requests.count_publish_pending() == 2
    [first] = await store.track_requests.lease_pending("first", 1)
    assert await store.track_requests.count_publish_pending() == 2
    await store.track_requests.acknowledge([first])
    assert await store.track_requests.count_publish_pending() == 1
    [second] = await store.track_requests.lease_pending("first", 10)
    assert second.id != first.id
    await store.track_requests.acknowledge([second])
    assert await store.track_requests.count_publish_pending() == 0
    assert await store.track_requests.count_open() == 2
