"""What a recovery writes over the states that are stored."""

from dataclasses import replace

from services.mail_ingest.store.database import Store
from shared.events import MailboxStatus

from .stores import ANN, now, read


async def test_earlier_status_is_not_taken_in_over_a_later_one(store: Store) -> None:
    """Its version is greater where an older copy was worked on."""
    enrolled = await read(store)
    await store.mailboxes.change_status(ANN, MailboxStatus.REMOVED, now(), only_from=[MailboxStatus.ENROLLED])
    removed = await read(store)

    await store.recovered.take_in_mailboxes([replace(enrolled, version=removed.version + 5)])

    assert await read(store) == removed


async def test_later_status_is_taken_in_over_a_greater_version(store: Store) -> None:
    enrolled = await read(store)
    removed = replace(enrolled, status=MailboxStatus.REMOVED, since=now(), version=enrolled.version + 1)
    await store.mailboxes.mark_pending([ANN], removed.version + 5)

    await store.recovered.take_in_mailboxes([removed])

    ann = await read(store)
    assert (ann.status, ann.publish_pending) == (MailboxStatus.REMOVED, True)
    assert ann.version > removed.version + 5
