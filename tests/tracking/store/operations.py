"""A call of each operation of the store, such that it sends all its commands; it may be repeated."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from uuid import uuid4

from services.tracking.domain.event_settings import EventSettings
from services.tracking.domain.recovery import Cause
from services.tracking.domain.timeline import Suggestion
from services.tracking.domain.track_request import TrackRequest, TrackRequestState, open_request
from services.tracking.domain.visibility import DefaultReaders
from services.tracking.store import (
    Document,
    FollowedMailbox,
    NewerState,
    Recovery,
    Republication,
    Store,
    StoredPosition,
    StoredRevisions,
    capture_status_document,
    record_document,
    suggestion_document,
)
from shared.events import MailboxChanged, MailboxStatus
from shared.keys import MailboxKey, join_key
from shared.records import CustomRecord
from shared.topics import MAILBOXES, MATCHES, RECORDS
from tests.tracking.conftest import valid_message
from tests.tracking.worlds import (
    ACCOUNT,
    ANN,
    CONTOSO,
    HOUR,
    NOW,
    RENEWAL,
    email,
    matched,
    regarding,
    tracked,
)

MAILBOX = ANN.mailbox_key
ACTIVITY = email()
SUGGESTION = suggestion_document(valid_message(MATCHES, ACTIVITY.key, matched(ACTIVITY, RENEWAL)), NOW)
TRACKED = tracked(ACTIVITY, (ANN, RENEWAL))
[ENTRY] = regarding((ANN, RENEWAL))
STATUS = MailboxChanged(status=MailboxStatus.ENROLLED, since=NOW)
RECORD = CustomRecord(tenant=CONTOSO, type=RENEWAL.type, id=RENEWAL.id, name="Renewal")
SETTINGS = EventSettings(DefaultReaders({"*": ("*",)}), publish_subjects=True)
UNKNOWN = Republication("unknown", 1)
POSITIONS = {"matches/0": StoredPosition(1, 1, 1, 1, "id")}
RECOVERY = Recovery(1, Cause.RESTORED, None, is_long=True, new_topics=frozenset(), ends=[])
OUTDATED = FollowedMailbox(MAILBOX, -1, {})
"""Another request came meanwhile."""

Call = Callable[[Store], Awaitable[object]]


def _record_document(offset: int) -> Document:
    return record_document(RENEWAL, valid_message(RECORDS, RENEWAL, RECORD, offset=offset), 1)


def _new_request() -> TrackRequest:
    return open_request(uuid4().hex, email(item=uuid4().hex), ENTRY, HOUR)


async def _all(found: AsyncIterator[object]) -> None:
    async for _ in found:
        pass


async def _first_change(store: Store) -> None:
    store.change_feed.forget_position()
    async with aclosing(store.change_feed.changes()) as changes:
        await anext(changes)


async def _write_in_a_transaction(store: Store) -> None:
    async with store.transaction() as session:
        await store.followed_mailboxes.request(MAILBOX, session)


async def _find_request_in_a_transaction(store: Store) -> None:
    async with store.transaction() as session:
        await store.track_requests.find_by_id("r", session)


async def _find_activity_in_a_transaction(store: Store) -> None:
    async with store.transaction() as session:
        await store.tracked_activities.find_by_content(CONTOSO, ACTIVITY.identity, "c", session)


async def _lease_requests(store: Store) -> None:
    await store.track_requests.insert(_new_request(), ACTIVITY)
    await store.track_requests.lease_pending("holder", 1)


async def _lease_activities(store: Store) -> None:
    await store.tracked_activities.replace_if_unchanged(TRACKED, TRACKED)
    await store.tracked_activities.lease_pending("holder", 1)


async def _lease_mailboxes(store: Store) -> None:
    await store.followed_mailboxes.request(MailboxKey(CONTOSO, uuid4().hex))
    await store.followed_mailboxes.lease_pending("holder", 1)


async def prepare(store: Store) -> None:
    """Stores what the operations find."""
    await store.suggestions.upsert_newer([SUGGESTION])
    await store.dismissals.upsert(Suggestion(ACTIVITY, (), 0), RENEWAL)
    await store.tracked_activities.replace_if_unchanged(TRACKED, None)
    await store.followed_mailboxes.request(MAILBOX)


OPERATIONS: Mapping[str, Call] = {
    "CaptureStatusCollection.delete_not_on_topic": lambda s: s.capture_statuses.delete_not_on_topic(0),
    "CaptureStatusCollection.find_by_mailbox": lambda s: s.capture_statuses.find_by_mailbox(MAILBOX),
    "CaptureStatusCollection.upsert_newer": lambda s: s.capture_statuses.upsert_newer(
        [capture_status_document(valid_message(MAILBOXES, MAILBOX, STATUS))]
    ),
    "ChangeFeed.changes": _first_change,
    # -- dismissals
    "DismissalCollection.delete": lambda s: s.dismissals.delete(ACTIVITY.key, ACCOUNT, None),
    "DismissalCollection.extend_retention": lambda s: s.dismissals.extend_retention([SUGGESTION]),
    "DismissalCollection.find_identities": lambda s: s.dismissals.find_identities(MAILBOX, [RENEWAL]),
    "DismissalCollection.upsert": lambda s: s.dismissals.upsert(Suggestion(ACTIVITY, (), 0), RENEWAL),
    # -- followed mailboxes
    "FollowedMailboxCollection.acknowledge": lambda s: s.followed_mailboxes.acknowledge(OUTDATED, NOW),
    "FollowedMailboxCollection.count_publish_pending": lambda s: s.followed_mailboxes.count_publish_pending(),
    "FollowedMailboxCollection.delete": lambda s: s.followed_mailboxes.delete(OUTDATED),
    "FollowedMailboxCollection.lease_pending": _lease_mailboxes,
    "FollowedMailboxCollection.request": lambda s: s.followed_mailboxes.request(MAILBOX),
    "FollowedMailboxCollection.request_before": lambda s: s.followed_mailboxes.request_before(NOW),
    # -- read positions
    "ReadPositionCollection.find_by_partition": lambda s: s.read_positions.find_by_partition(["matches/0"]),
    "ReadPositionCollection.accept": lambda s: s.read_positions.accept(POSITIONS),
    "ReadPositionCollection.advance": lambda s: s.read_positions.advance(
        {name: (position, position) for name, position in POSITIONS.items()}
    ),
    "ReadPositionCollection.any_stored": lambda s: s.read_positions.any_stored(),
    "ReadPositionCollection.begin_generation": lambda s: s.read_positions.begin_generation(["matches/0"], 1),
    "ReadPositionCollection.start": lambda s: s.read_positions.start(
        {"matches/0": (None, POSITIONS["matches/0"])}
    ),
    # -- records
    "RecordCollection.clear_unpublished_changes": lambda s: s.records.clear_unpublished_changes(
        {join_key(RENEWAL): [1, 1]}
    ),
    "RecordCollection.find_by_key": lambda s: s.records.find_by_key(RENEWAL),
    "RecordCollection.find_by_keys": lambda s: s.records.find_by_keys([RENEWAL]),
    "RecordCollection.find_readable": lambda s: s.records.find_readable(CONTOSO, [RENEWAL], ["*"], 1),
    "RecordCollection.find_unpublished_changes": lambda s: s.records.find_unpublished_changes(["t/a/1"]),
    "RecordCollection.search": lambda s: s.records.search(CONTOSO, "ren", ["*"], 1),
    "RecordCollection.upsert_later": lambda s: s.records.upsert_later([_record_document(1)]),
    # -- publishing again
    "EventSettingsCollection.find": lambda s: s.event_settings.find(),
    "EventSettingsCollection.find_announced": lambda s: s.event_settings.find_announced(),
    "EventSettingsCollection.record_announced": lambda s: s.event_settings.record_announced(SETTINGS),
    "EventSettingsCollection.replace": lambda s: s.event_settings.replace(SETTINGS),
    "RepublicationCollection.count": lambda s: s.republications.count(),
    "RepublicationCollection.finish": lambda s: s.republications.finish(UNKNOWN),
    "RepublicationCollection.lease_next": lambda s: s.republications.lease_next("holder"),
    "RepublicationCollection.release": lambda s: s.republications.release(UNKNOWN),
    "RepublicationCollection.request": lambda s: s.republications.request([Republication(CONTOSO, 1)]),
    "RecordCollection.delete_not_on_topic": lambda s: _all(s.records.delete_not_on_topic(0, [])),
    # -- a lost or restored store
    "RestoreCaseCollection.close": lambda s: s.restore_cases.close("1/dismissals"),
    "RestoreCaseCollection.count_open": lambda s: s.restore_cases.count_open(),
    "RestoreCaseCollection.find": lambda s: _all(s.restore_cases.find()),
    "RestoreCaseCollection.find_one": lambda s: s.restore_cases.find_one("1/dismissals"),
    "RestoreCaseCollection.open_activity": lambda s: s.restore_cases.open_activity(
        1, TRACKED.key, (), None, NOW
    ),
    "RestoreCaseCollection.open_dismissals": lambda s: s.restore_cases.open_dismissals(1, None, NOW),
    "StoreStateCollection.create": lambda s: s.state.create(1),
    "StoreStateCollection.find": lambda s: s.state.find(),
    "StoreStateCollection.finish_recovery": lambda s: s.state.finish_recovery(1),
    "StoreStateCollection.open_recovery": lambda s: s.state.open_recovery(RECOVERY),
    "StoreStateCollection.renew": lambda s: s.state.renew(0, 1),
    "TopicStates.close_lost": lambda s: s.topic_states.close_lost(TRACKED.key),
    "TopicStates.delete_newer": lambda s: s.topic_states.delete_newer([TRACKED.key]),
    "TopicStates.find_newer": lambda s: _all(s.topic_states.find_newer()),
    "TopicStates.find_not_on_topic": lambda s: _all(s.topic_states.find_not_on_topic(0, pending=False)),
    "TopicStates.find_revisions": lambda s: s.topic_states.find_revisions([TRACKED.key]),
    "TopicStates.has_newer": lambda s: s.topic_states.has_newer(),
    "TopicStates.overrule": lambda s: s.topic_states.overrule({TRACKED.key: StoredRevisions(1, 1, 1)}, 1),
    "TopicStates.put_newer": lambda s: s.topic_states.put_newer([NewerState(TRACKED.key, 1, None)]),
    "TopicStates.record_read": lambda s: s.topic_states.record_read({TRACKED.key: StoredRevisions(1, 1, 1)}),
    # -- the whole
    "Store.create_indexes": lambda s: s.create_indexes(),
    "Store.ping": lambda s: s.ping(),
    "Store.transaction": _write_in_a_transaction,
    # -- suggestions
    "SuggestionCollection.count_live": lambda s: s.suggestions.count_live(),
    "SuggestionCollection.delete_not_on_topic": lambda s: s.suggestions.delete_not_on_topic(0),
    "SuggestionCollection.export_live": lambda s: _all(s.suggestions.export_live()),
    "SuggestionCollection.find_identities": lambda s: s.suggestions.find_identities(MAILBOX, [RENEWAL], NOW),
    "SuggestionCollection.find_on_record": lambda s: s.suggestions.find_on_record(ACTIVITY.key, ACCOUNT),
    "SuggestionCollection.find_pages": lambda s: _all(s.suggestions.find_pages(MAILBOX, RENEWAL, NOW, {})),
    "SuggestionCollection.find_records_of_newest": lambda s: s.suggestions.find_records_of_newest(
        MAILBOX, NOW, 1
    ),
    "SuggestionCollection.upsert_newer": lambda s: s.suggestions.upsert_newer([SUGGESTION]),
    # -- track requests
    "TrackRequestCollection.acknowledge": lambda s: s.track_requests.acknowledge([_new_request()]),
    "TrackRequestCollection.close": lambda s: s.track_requests.close("r", TrackRequestState.DONE),
    "TrackRequestCollection.count_open": lambda s: s.track_requests.count_open(),
    "TrackRequestCollection.count_publish_pending": lambda s: s.track_requests.count_publish_pending(),
    "TrackRequestCollection.fail_open": lambda s: s.track_requests.fail_open(),
    "TrackRequestCollection.fail_overdue": lambda s: s.track_requests.fail_overdue(NOW),
    "TrackRequestCollection.find_by_id": _find_request_in_a_transaction,
    "TrackRequestCollection.repeat_unanswered": lambda s: s.track_requests.repeat_unanswered(NOW),
    "TrackRequestCollection.find_for_record": lambda s: s.track_requests.find_for_record(MAILBOX, RENEWAL),
    "TrackRequestCollection.find_open": lambda s: s.track_requests.find_open(ACTIVITY.key),
    "TrackRequestCollection.insert": lambda s: s.track_requests.insert(_new_request(), ACTIVITY),
    "TrackRequestCollection.join": lambda s: s.track_requests.join(_new_request(), ENTRY),
    "TrackRequestCollection.lease_pending": _lease_requests,
    # -- tracked activities
    "TrackedActivityCollection.acknowledge": lambda s: s.tracked_activities.acknowledge([TRACKED], NOW),
    "TrackedActivityCollection.count_publish_pending": lambda s: s.tracked_activities.count_publish_pending(),
    "TrackedActivityCollection.find_by_content": _find_activity_in_a_transaction,
    "TrackedActivityCollection.find_by_copy": lambda s: s.tracked_activities.find_by_copy(ACTIVITY.key),
    "TrackedActivityCollection.find_by_key": lambda s: s.tracked_activities.find_by_key(TRACKED.key),
    "TrackedActivityCollection.find_by_identity": lambda s: s.tracked_activities.find_by_identity(
        CONTOSO, ACTIVITY.identity
    ),
    "TrackedActivityCollection.find_followed": lambda s: _all(
        s.tracked_activities.find_followed(MAILBOX, NOW)
    ),
    "TrackedActivityCollection.find_identities": lambda s: s.tracked_activities.find_identities(
        CONTOSO, [ACTIVITY.identity], [RENEWAL]
    ),
    "TrackedActivityCollection.find_max_revision": lambda s: s.tracked_activities.find_max_revision(
        join_key(RENEWAL)
    ),
    "TrackedActivityCollection.find_tenants": lambda s: s.tracked_activities.find_tenants(),
    "TrackedActivityCollection.lease_below": lambda s: s.tracked_activities.lease_below(
        CONTOSO, TRACKED.revision, "holder", 1
    ),
    "TrackedActivityCollection.find_page": lambda s: s.tracked_activities.find_page(RENEWAL, None, {}, 1),
    "TrackedActivityCollection.lease_pending": _lease_activities,
    "TrackedActivityCollection.record_copies": lambda s: s.tracked_activities.record_copies(TRACKED, TRACKED),
    "TrackedActivityCollection.replace_if_unchanged": lambda s: s.tracked_activities.replace_if_unchanged(
        TRACKED, TRACKED
    ),
}
EXPECT_DUPLICATES = {
    "StoreStateCollection.create",
    "StoreStateCollection.open_recovery",
    "TrackRequestCollection.insert",
    "TrackRequestCollection.lease_pending",  # its case inserts a request
}
"""The operations to which another process's document is an answer."""
