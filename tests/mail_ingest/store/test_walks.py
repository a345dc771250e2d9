"""What concerns many documents is done in bounded pages, in the order of their keys, and by an index."""

from typing import Any

import pytest
from pymongo import MongoClient

from services.mail_ingest.store.database import Store
from services.mail_ingest.store.key_order import WALK_SIZE, walk
from shared.events import MailboxStatus
from shared.keys import MailboxKey
from shared.mongodb import MongoDatabase
from shared.topics import MAIL_INGEST
from tests.support.query_plans import record_scans, recorded_scans

from .stores import now, record, settings, update

MANY = [MailboxKey("many", f"m{number:04}") for number in range(WALK_SIZE + 100)]
OTHERS = [MailboxKey("many-others", "m"), MailboxKey("man", "m")]
"""Mailboxes of tenants whose names begin alike."""


async def test_all_mailboxes_of_a_tenant_are_blocked_and_released_and_no_others(store: Store) -> None:
    enrolled = await store.mailboxes.enrol(dict.fromkeys([*MANY, *OTHERS]), now())
    assert {mailbox.status for mailbox in enrolled.values()} == {MailboxStatus.ENROLLED}
    at = now()

    await store.tenant_mailboxes.block_tenant("many", "policy", at, at)

    mailboxes = await store.mailboxes.find_page(None, None, 1000)
    blocked = {each.key for each in mailboxes if each.status is MailboxStatus.BLOCKED}
    assert blocked == set(MANY)
    assert len(await store.tenant_mailboxes.find_refused_since("many", "policy")) == 3
    await store.tenant_mailboxes.release_tenant("many", "policy", at)
    released = await store.mailboxes.find_page("many", None, 1000)
    assert len({each.retry_at for each in released}) > WALK_SIZE, "all at the same time"
    assert len(released) == len(MANY)


async def test_enrolled_mailbox_stays_as_it_is_among_new_ones(store: Store) -> None:
    before = await store.mailboxes.enrol({MANY[0]: ["a@x.example"]}, now())

    after = await store.mailboxes.enrol(dict.fromkeys(MANY[:3]), now())

    assert after[MANY[0]] == before[MANY[0]]
    assert sorted(after) == MANY[:3]


async def test_resend_goes_on_where_it_ended(store: Store) -> None:
    await store.mailboxes.enrol(dict.fromkeys(MANY), now())
    await record(store, "h", update("live", 0, 10))

    pages = [page async for page in store.resend(None, None, now())]
    rest = [page async for page in store.resend(None, None, now(), after=pages[0][0])]

    assert [last for last, _ in pages] == [MANY[WALK_SIZE - 1], MailboxKey("t", "ann")]
    assert [items for _, items in pages] == [0, 1]
    assert rest == pages[1:]


async def test_walk_has_each_key_once_and_ends_though_documents_are_deleted(
    mongodb_uri: str, mongodb_database: str
) -> None:
    database = MongoDatabase(settings(mongodb_uri, mongodb_database), mongodb_database, "test")
    collection = database.collection("walked")
    await collection.insert_many([{"_id": f"t/{number}"} for number in range(5)])

    pages = []
    async for page in walk(collection, {}, "t", size=2):
        pages.append(page)
        await collection.delete_many({"_id": {"$in": page}})

    assert pages == [["t/0", "t/1"], ["t/2", "t/3"], ["t/4"]]
    await database.close()


async def test_status_and_lists_read_no_whole_collection(mongodb_uri: str, own_prefix: str) -> None:
    name = f"{own_prefix}store"
    store = Store(settings(mongodb_uri, name))
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        record_scans(client[name], MAIL_INGEST)
        await store.create_indexes()
        await store.mailboxes.enrol(dict.fromkeys(MANY[:2]), now())
        await store.count_work()
        for tenant in (None, "many"):
            await store.list_mailboxes(tenant, None, 10)
            await store.stuck_items.find_page(tenant, None, 10)
            async for _ in store.resend(tenant, "m0000", now()):
                pass
        await store.tenants.find_page(None, 10)
        await store.tenant_mailboxes.find_last_success("many")
        await store.close()
        scans = recorded_scans(client[name])
        client.drop_database(name)

    assert scans == []


@pytest.mark.parametrize("query, count", [({"_id": 1}, 0), ({"status": "enrolled"}, 1)])
def test_guard_of_these_tests_finds_an_operation_without_an_index(
    mongodb_uri: str, own_prefix: str, query: dict[str, Any], count: int
) -> None:
    with MongoClient[dict[str, Any]](mongodb_uri, appname="app") as client:
        database = client[f"{own_prefix}scans"]
        database["mailboxes"].insert_one({"_id": 1, "status": "enrolled"})
        record_scans(database, "app")
        list(database["mailboxes"].find(query))
        scans = recorded_scans(database)
        client.drop_database(database.name)

    assert len(scans) == count
