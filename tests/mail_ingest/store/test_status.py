"""The status counts the work."""

from typing import Any

from pymongo import MongoClient

from services.mail_ingest.store.database import Store
from shared.events import MailboxStatus
from shared.keys import MailboxKey

from .stores import ANN, EMAIL, acquire, now, record, refused, request, settings, stuck, update


async def test_status_counts_the_work(store: Store) -> None:
    await store.mailbox_work.add_notified_items({ANN: [(EMAIL, "i"), (EMAIL, "j")]})
    await store.mailbox_work.add_content_requests({ANN: [request()]})
    await record(store, "h", update("a", 0, 10))
    await store.stuck_items.save([stuck("s")])
    await acquire(store)

    assert await store.count_work() == {
        "mailboxes": 1,
        "mailboxes with work": 1,
        "mailboxes blocked": 0,
        "mailboxes without notifications": 0,
        "mailboxes with refused kinds": 0,
        "leases held": 1,
        "windows due": 1,
        "publish pending mailboxes": 1,
        "notified items waiting": 2,
        "content requests waiting": 1,
        "publish pending items": 1,
        "items not found yet": 0,
        "stuck items": 1,
        "stuck items: graph_500": 1,
        "subscriptions": 0,
        "tenants blocked": 0,
    }


async def test_status_counts_enrolled_mailboxes_whose_mail_or_calendars_are_refused(store: Store) -> None:
    async def count() -> int:
        return (await store.count_work())["mailboxes with refused kinds"]

    await (await acquire(store)).set_fields(refused_kinds=(refused(EMAIL),))
    assert await count() == 1

    await store.mailboxes.change_status(ANN, MailboxStatus.PAUSED, now(), only_from=list(MailboxStatus))
    assert await count() == 0


async def test_status_reads_no_other_mailboxes_than_those_with_refused_kinds(
    mongodb_uri: str, own_prefix: str
) -> None:
    name = f"{own_prefix}store"
    store = Store(settings(mongodb_uri, name))
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        await store.create_indexes()
        await store.mailboxes.enrol(dict.fromkeys(MailboxKey("t", f"m{n}") for n in range(20)), now())
        await (await acquire(store)).set_fields(refused_kinds=(refused(EMAIL),))
        client[name].command("profile", 2)
        await store.count_work()
        client[name].command("profile", 0)
        operations = list(client[name]["system.profile"].find({"ns": f"{name}.mailboxes"}))
        await store.close()
        client.drop_database(name)

    counted = [each["docsExamined"] for each in operations if "refused_kinds" in str(each["command"])]
    assert counted == [1]
