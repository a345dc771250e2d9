"""Dismiss a suggestion, and undo it."""

from services.tracking.domain.errors import NotFoundError
from services.tracking.domain.visibility import User
from services.tracking.store import Store
from services.tracking.timeline.access import TimelineAccess
from shared.keys import ItemKey, RecordKey


class DismissActions:
    """Dismisses suggestions for their owner alone.

    Args:
        store: the database.
        access: checks what the user may read.
    """

    def __init__(self, store: Store, access: TimelineAccess) -> None:
        self._store = store
        self._access = access

    async def dismiss(self, user: User, key: RecordKey, item: str) -> None:
        """Removes the user's own suggestion from a record, for this user alone.

        Raises:
            NotFoundError, ConflictError: see `TimelineAccess.find_own_suggestion`.
        """
        suggestion = await self._access.find_own_suggestion(user, key, item)
        await self._store.dismissals.upsert(suggestion, key)

    async def undo(self, user: User, key: RecordKey, item: str) -> None:
        """Undoes a dismissal, also when the suggestion is withdrawn.

        Raises:
            NotFoundError: the user may not read the record, or has no such item and no dismissal of it.
        """
        await self._access.find_record(user, key)
        own_item = ItemKey(user.tenant, user.oid, item)
        known, suggestion = await self._store.suggestions.find_on_record(own_item, key)
        identity = suggestion.activity.identity if suggestion else None
        if not await self._store.dismissals.delete(own_item, key, identity) and not known:
            raise NotFoundError
