"""What is kept of followed items, and when their state is compared again."""

from collections.abc import Sequence
from datetime import timedelta

from services.mail_ingest.content.follow_requests import FollowRequests
from services.mail_ingest.domain.followed_items import FollowedItem
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.followed_items import FollowedItemCollection
from shared.events import Followed, Sensitivity
from shared.mongodb import Driver, MongoDatabase

from .stores import ANN, BO, EMAIL, now, read, record, settings, update

DAY = timedelta(days=1)


def named(item: str, version: int = 5, sensitivity: Sensitivity = Sensitivity.NORMAL) -> Followed:
    return Followed(item=item, kind=EMAIL, version=version, until=now() + 3 * DAY, sensitivity=sensitivity)


async def follow(store: Store, *items: Followed) -> list[str]:
    """tracking names these items; returns those that have to be compared."""
    return [each.item for each in await store.followed_items.follow(ANN, items, now())]


async def answer(store: Store, item: str) -> int:
    """Hands out a version, and records its answer."""
    version = await store.followed_items.hand_out_version(ANN, item, 0)
    assert version
    await store.followed_items.record_answer(ANN, item, version, change_key="k", digest="d", gone=False)
    return version


async def one(store: Store, item: str) -> FollowedItem:
    [found] = await store.followed_items.find(ANN, [item], now())
    return found


async def test_new_item_is_compared_until_its_state_is_known(store: Store) -> None:
    assert await follow(store, named("a"), named("b")) == ["a", "b"]
    assert await follow(store, named("a")) == ["a"]
    version = await answer(store, "a")
    assert await follow(store, named("a", version), named("b")) == ["b"]
    assert (await one(store, "a")).digest == "d"


async def test_item_that_is_captured_at_the_same_version_is_known(store: Store) -> None:
    await record(store, "h", update("a", 0, 5), update("b", 0, 6))
    await follow(store, named("a"), named("b"))
    await store.followed_items.start_from(ANN, (await store.items.find(ANN, ["a", "b"])).values())
    assert await follow(store, named("a"), named("b")) == ["b"]
    assert (await one(store, "a")).change_key == "k"


async def test_answer_that_tracking_does_not_have_is_given_again(store: Store) -> None:
    await follow(store, named("a"))
    version = await answer(store, "a")
    assert await follow(store, named("a")) == ["a"]
    compared = await one(store, "a")
    assert (compared.version, compared.change_key, compared.digest) == (version, "", "")
    assert await answer(store, "a") > version


async def test_item_that_is_gone_is_answered_again_only_when_tracking_does_not_have_it(store: Store) -> None:
    await follow(store, named("a"))
    version = await store.followed_items.hand_out_version(ANN, "a", 0)
    assert version
    await store.followed_items.record_answer(ANN, "a", version, change_key="", digest="", gone=True)
    assert await follow(store, named("a", version)) == []
    assert await follow(store, named("a")) == ["a"]
    assert not (await one(store, "a")).gone


async def test_late_answer_is_not_recorded_over_a_later_one(store: Store) -> None:
    await follow(store, named("a"))
    late = await store.followed_items.hand_out_version(ANN, "a", 0)
    assert late
    later = await answer(store, "a")
    await store.followed_items.record_answer(ANN, "a", late, change_key="old", digest="old", gone=True)
    assert (await one(store, "a")) == FollowedItem(
        "a", EMAIL, later, (await one(store, "a")).until, change_key="k", digest="d"
    )


async def test_versions_grow_whatever_the_clock_says(store: Store) -> None:
    await follow(store, named("a", 5))
    versions = [await store.followed_items.hand_out_version(ANN, "a", minimum) for minimum in (90, 3, 91)]
    assert versions == [90, 91, 92]
    await follow(store, named("a", 500))
    assert (await one(store, "a")).version == 500
    assert await store.followed_items.hand_out_version(ANN, "unknown", 1) is None


async def test_item_that_is_not_named_for_a_day_is_followed_no_more(store: Store) -> None:
    await store.followed_items.follow(ANN, [named("a"), named("b")], now() - DAY)
    await follow(store, named("a"))
    followed: Sequence[FollowedItem] = await store.followed_items.find_all(ANN, now())
    assert [each.item for each in followed] == ["a"]
    assert await store.followed_items.find_all(ANN, now() + DAY) == []


async def test_item_is_followed_until_its_end(store: Store) -> None:
    ends = named("a").model_copy(update={"until": now() + timedelta(minutes=5)})
    await follow(store, ends)
    assert await store.followed_items.find_all(ANN, now() + timedelta(minutes=6)) == []


async def test_naming_an_item_renews_its_end_and_sensitivity(store: Store) -> None:
    await follow(store, named("a"))
    await answer(store, "a")
    await follow(store, named("a", 0, Sensitivity.PRIVATE))
    assert (await one(store, "a")).sensitivity is Sensitivity.PRIVATE


async def test_followed_items_of_a_mailbox_are_bounded(
    store: Store, mongodb_uri: str, mongodb_database: str, driver: Driver
) -> None:
    database = MongoDatabase(settings(mongodb_uri, mongodb_database), mongodb_database, "test", driver)
    bounded = FollowedItemCollection(database, max_items=2)
    for items in ([named("a")], [named("b"), named("c"), named("a")]):
        await bounded.follow(ANN, items, now())
    await database.close()
    assert [each.item for each in await store.followed_items.find_all(ANN, now())] == ["a", "b"]


async def test_mailbox_keeps_its_own_items(store: Store) -> None:
    await follow(store, named("a"))
    await store.followed_items.follow(BO, [named("b")], now())
    await store.followed_items.record_check(ANN, ["a"], now())
    assert (await one(store, "a")).checked_at is not None
    assert await store.followed_items.delete(ANN) == 1
    assert [each.item for each in await store.followed_items.find_all(BO, now())] == ["b"]


async def test_content_of_a_track_request_is_remembered_until_the_item_is_named(store: Store) -> None:
    for version, digest in ((4, "old"), (5, "new")):
        await store.followed_items.remember(ANN, EMAIL, "a", version, digest, now())
    assert await store.followed_items.find_all(ANN, now()) == []
    assert await follow(store, named("a")) == ["a"]
    assert (await one(store, "a")).digest == "new"


async def test_content_of_another_version_is_not_taken_for_what_tracking_has(store: Store) -> None:
    for item, version in (("a", 4), ("b", 6)):
        await store.followed_items.remember(ANN, EMAIL, item, version, "d", now())
    await follow(store, named("a"), named("b"))
    assert [(await one(store, item)).digest for item in ("a", "b")] == ["", ""]


async def test_content_of_a_later_track_request_does_not_replace_what_was_answered(store: Store) -> None:
    await follow(store, named("a"))
    version = await answer(store, "a")
    await store.followed_items.remember(ANN, EMAIL, "a", version + 1, "later", now())
    assert ((await one(store, "a")).version, (await one(store, "a")).digest) == (version, "d")


async def test_mailbox_knows_until_when_items_of_it_may_be_followed(store: Store) -> None:
    later, soon = named("a"), Followed(item="b", kind=EMAIL, version=5, until=now() + DAY)

    for each in (soon, later, soon):
        await FollowRequests(store, now).record({ANN: [each]})

    followed_until = (await read(store)).followed_until
    assert followed_until is not None
    assert abs(followed_until - later.until) < timedelta(milliseconds=2)
