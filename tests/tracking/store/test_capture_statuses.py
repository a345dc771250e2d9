"""Which state of a mailbox counts; on both drivers."""

from services.tracking.store import Store, capture_status_document
from shared.events import ActivityKind, KindRefused, MailboxChanged, MailboxStatus
from shared.topics import MAILBOXES
from tests.tracking.conftest import valid_message
from tests.tracking.worlds import ANN, NOW


def changed(status: MailboxStatus) -> MailboxChanged:
    return MailboxChanged(
        status=status,
        reason=None,
        since=NOW,
        enrolled_at=NOW,
        complete_as_of=NOW,
        missed_by_notifications=0,
    )


async def test_greatest_version_of_a_mailbox_counts_and_a_tombstone_removes_it(store: Store) -> None:
    for value, version, expected in (
        (changed(MailboxStatus.BLOCKED), 10, MailboxStatus.BLOCKED),
        (changed(MailboxStatus.ENROLLED), 9, MailboxStatus.BLOCKED),
        (None, 11, MailboxStatus.REMOVED),
        (changed(MailboxStatus.ENROLLED), 10, MailboxStatus.REMOVED),
    ):
        message = valid_message(MAILBOXES, ANN.mailbox_key, value, version=version)
        await store.capture_statuses.upsert_newer([capture_status_document(message)])
        capture = await store.capture_statuses.find_by_mailbox(ANN.mailbox_key)
        assert capture
        assert capture.status is expected


async def test_what_is_refused_of_an_enrolled_mailbox_is_kept_until_it_is_permitted(store: Store) -> None:
    refused = KindRefused(kind=ActivityKind.MEETING, reason="access_policy", since=NOW)
    limited = changed(MailboxStatus.ENROLLED).model_copy(
        update={"refused_kinds": (refused,), "no_notifications": "another_environment"}
    )
    for version, value, expected in (
        (1, limited, ((refused,), "another_environment")),
        (2, changed(MailboxStatus.ENROLLED), ((), None)),
        (3, limited, ((refused,), "another_environment")),
        (4, None, ((), None)),
    ):
        message = valid_message(MAILBOXES, ANN.mailbox_key, value, version=version)
        await store.capture_statuses.upsert_newer([capture_status_document(message)])
        capture = await store.capture_statuses.find_by_mailbox(ANN.mailbox_key)
        assert capture
        assert (capture.refused_kinds, capture.no_notifications) == expected
