"""Only the holder of a mailbox's lease records anything about it."""

import pytest
from services.mail_ingest.saying import LeaseLost

from .mailboxes import LEASE, Published, Recorded, turn


async def test_nothing_is_recorded_once_the_lease_is_over() -> None:
    store, kafka = Recorded(), Published()

    with pytest.raises(LeaseLost):
        await turn(store, kafka, lease_age=2 * LEASE).run()

    assert (store.notes, kafka.sent) == ([], [])


async def test_what_the_holder_of_the_lease_finds_is_recorded_and_published() -> None:
    store, kafka = Recorded(), Published()

    await turn(store, kafka).run()

    assert [note.item for note in store.notes] == ["i"]
    assert [message.key[2] for message in kafka.sent] == ["i"]
