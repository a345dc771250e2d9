"""Marks grow, and that of another database stays as it is."""

from services.mail_ingest.store.database import Store
from services.mail_ingest.store.marks import TopicMark

KNOWN = TopicMark("id", {0: 5, 1: 2})


async def stored(store: Store) -> TopicMark:
    return (await store.marks.find_all())["topic"]


async def test_mark_grows_where_the_offset_is_greater(store: Store) -> None:
    await store.marks.replace({"topic": KNOWN})

    assert await store.marks.advance("topic", KNOWN, {0: 7, 1: 1})

    assert await stored(store) == TopicMark("id", {0: 7, 1: 2})


async def test_mark_of_another_database_is_not_set(store: Store) -> None:
    for other in (TopicMark("id", {0: 3, 1: 2}), TopicMark("id", {0: 5}), TopicMark("new id", {0: 9, 1: 9})):
        await store.marks.replace({"topic": other})

        assert not await store.marks.advance("topic", KNOWN, {0: 8})

        assert await stored(store) == other
