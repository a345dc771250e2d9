"""What a user may read: records, and the user's own suggestions on them."""

from services.tracking.domain.errors import ConflictError, NotFoundError
from services.tracking.domain.timeline import CaptureStatus, Suggestion, is_visible, shows_suggestions
from services.tracking.domain.visibility import DefaultReaders, KnownRecord, User
from services.tracking.store import Store
from shared.clock import Clock
from shared.keys import ItemKey, RecordKey

NO_LONGER_VISIBLE = "no_longer_visible"


class TimelineAccess:
    """Checks what a user may read, for every route of the API.

    Args:
        store: the database.
        readers: readers of the records that name none.
        clock: the server's clock.
    """

    def __init__(self, store: Store, readers: DefaultReaders, clock: Clock) -> None:
        self.readers = readers
        self._store = store
        self._clock = clock

    async def find_capture_status(self, user: User) -> CaptureStatus | None:
        """The state of capture of the user's mailbox; None when it was never enrolled."""
        return await self._store.capture_statuses.find_by_mailbox(user.mailbox_key)

    async def find_record(self, user: User, key: RecordKey) -> KnownRecord:
        """A record that is not absent; raises NotFoundError when the user may not read it."""
        record = await self.find_record_or_absent(user, key)
        if record.absence:
            raise NotFoundError
        return record

    async def find_record_or_absent(self, user: User, key: RecordKey) -> KnownRecord:
        """A record, absent or not; raises NotFoundError when the user may not read it."""
        record = await self._store.records.find_by_key(key)
        if record is None or not self.readers.may_read(user, record):
            raise NotFoundError
        return record

    async def find_own_suggestion(self, user: User, key: RecordKey, item: str) -> Suggestion:
        """The user's own suggestion on a record.

        Raises:
            NotFoundError: the user may not read the record, or has no such item.
            ConflictError: the item is not suggested on this record any more.
        """
        await self.find_record(user, key)
        if not shows_suggestions(await self.find_capture_status(user)):
            raise NotFoundError
        own_item = ItemKey(user.tenant, user.oid, item)
        known, suggestion = await self._store.suggestions.find_on_record(own_item, key)
        if not known:
            raise NotFoundError
        if suggestion is None or not is_visible(suggestion.activity, self._clock()):
            raise ConflictError(NO_LONGER_VISIBLE, "this item is no longer suggested on this record")
        return suggestion
