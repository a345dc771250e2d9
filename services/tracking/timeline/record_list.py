"""The list of records that a user may read."""

from collections.abc import Sequence

from services.tracking.domain.timeline import shows_suggestions
from services.tracking.domain.visibility import KnownRecord, User
from services.tracking.store import Store
from shared.clock import Clock
from shared.keys import RecordKey

from .access import TimelineAccess

NEWEST_SUGGESTIONS_LIMIT = 200
"""The list begins with the records of this many of the user's newest suggestions, at most this many."""


class RecordList:
    """Lists and searches records for a user.

    Args:
        store: the database.
        access: checks what the user may read.
        clock: the server's clock.
    """

    def __init__(self, store: Store, access: TimelineAccess, clock: Clock) -> None:
        self._store = store
        self._access = access
        self._clock = clock

    async def search(self, user: User, text: str, limit: int) -> list[tuple[KnownRecord, int]]:
        """Records that the user may read, each with the number of the user's suggestions there.

        Without a text the records of the user's newest suggestions come first.
        """
        entries = user.reader_entries
        default_includes_user = set(self._access.readers.for_tenant(user.tenant)) & set(entries)
        readers = [*entries, *([None] if default_includes_user else [])]
        found = await self._store.records.search(user.tenant, text, readers, limit)
        if not shows_suggestions(await self._access.find_capture_status(user)):
            return [(record, 0) for record in found]
        newest = [] if text else await self._records_of_newest(user)
        first = await self._store.records.find_readable(user.tenant, newest, readers, limit)
        counts = await self._count_suggestions(user, [record.key for record in (*first, *found)])
        with_suggestions = [record for record in first if counts[record.key]]
        unique = {record.key: record for record in (*with_suggestions, *found)}
        return [(record, counts[key]) for key, record in unique.items()][:limit]

    async def _records_of_newest(self, user: User) -> list[RecordKey]:
        return await self._store.suggestions.find_records_of_newest(
            user.mailbox_key, self._clock(), NEWEST_SUGGESTIONS_LIMIT
        )

    async def _count_suggestions(self, user: User, keys: Sequence[RecordKey]) -> dict[RecordKey, int]:
        """The number of suggestions that the user is shown on each of these records."""
        counts = dict.fromkeys(keys, 0)
        suggested = await self._store.suggestions.find_identities(user.mailbox_key, keys, self._clock())
        identities = {identity for _, identity in suggested}
        dismissed = await self._store.dismissals.find_identities(user.mailbox_key, keys)
        tracked = await self._store.tracked_activities.find_identities(user.tenant, identities, keys)
        hidden = dismissed | tracked
        for key, identity in set(suggested):  # copies in one mailbox are one suggestion
            counts[key] += (key, identity) not in hidden
        return counts
