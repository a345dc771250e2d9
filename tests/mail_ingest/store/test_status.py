"""The status counts the work."""

from services.mail_ingest.store.database import Store

from .stores import ANN, EMAIL, acquire, record, request, stuck, update


async def test_status_counts_the_work(store: Store) -> None:
    await store.mailboxes.add_notified_items({ANN: [(EMAIL, "i"), (EMAIL, "j")]})
    await store.mailboxes.add_content_requests({ANN: [request()]})
    await record(store, "h", update("a", 0, 10))
    await store.stuck_items.save([stuck("s")])
    await acquire(store)

    assert await store.count_work() == {
        "mailboxes": 1,
        "mailboxes with work": 1,
        "mailboxes blocked": 0,
        "mailboxes without notifications": 0,
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
