"""What a user may ask of her timelines, whatever the door she comes through.

Whatever she may not know of raises `NotThere`, always the same: a record that is missing, gone or
not hers to read, an item of somebody else's, a tracked activity on another record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from shared.clock import Clock
from shared.events import Activity, Content, Direction, Kind
from shared.records import RecordKey

from .domain.activity import (
    ASKS_ONCE_MORE,
    NO_ANSWER,
    Ask,
    Claim,
    ClaimState,
    ItemKey,
    Tracked,
    claim,
    untrack,
)
from .domain.timeline import (
    Empty,
    Mailbox,
    Suggestion,
    Suggestions,
    Tile,
    is_visible,
    newest,
    shows_suggestions,
    why_empty,
)
from .domain.visibility import DefaultReaders, Record, User
from .outbox import Outbox
from .previews import Previews, Text
from .store import Store, joined


class NotThere(Exception):
    """There is nothing of that name for this user."""


class Refused(Exception):
    """What she asks cannot be done as things are.

    Attributes:
        code: a word for programs.
    """

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


NO_LONGER_VISIBLE = "no_longer_visible"
PRIVATE = "private"

NEWEST = 200
"""So many of her newest suggestions, and records of them, are looked at for those that come first in a list."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record that a tracked activity is on, which the user may know of."""

    ask: Ask
    record: Record


@dataclass(frozen=True, slots=True)
class TrackedTile:
    """A tracked activity as one user sees it."""

    id: str
    content: Content
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Filters:
    """What she wants to see, of both kinds of tiles."""

    kind: Kind | None = None
    direction: Direction | None = None

    def passes(self, activity: Activity) -> bool:
        """Does she want to see it?"""
        return (self.kind is None or activity.kind is self.kind) and (
            self.direction is None or activity.direction is self.direction
        )

    def document(self) -> dict[str, str]:
        return {
            name: value.value for name, value in (("kind", self.kind), ("direction", self.direction)) if value
        }


@dataclass(frozen=True, slots=True)
class Timeline:
    """One user's timeline of one record, or a further page of what is tracked there.

    Attributes:
        after: the place of the last tracked tile, where there are more.
        empty: why there is nothing at all, and the reason behind that.
    """

    record: Record
    mailbox: Mailbox | None
    suggestions: Sequence[Tile]
    has_more: bool
    tracked: Sequence[TrackedTile]
    after: tuple[datetime, str] | None
    empty: tuple[Empty, str | None] | None


@dataclass(frozen=True, slots=True)
class Tracking:
    """What became of Track: pending, or tracked already as this activity."""

    claim: Claim | None
    activity: str | None = None


class Timelines:
    """Reads and changes timelines for a user."""

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        previews: Previews,
        readers: DefaultReaders,
        clock: Clock,
        pending_for: timedelta,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._previews = previews
        self._readers = readers
        self._clock = clock
        self._pending_for = pending_for

    async def mailbox(self, user: User) -> Mailbox | None:
        """What capture does with her mailbox."""
        return await self._store.mailboxes.one(user.tenant, user.oid)

    async def records(self, user: User, text: str, limit: int) -> list[tuple[Record, int]]:
        """Records that she may read, each with the number of her suggestions there.

        Without a text those of her newest suggestions come first.
        """
        all_read = [None] if set(self._readers.of(user.tenant)) & set(user.reads_as) else []
        readers = [*user.reads_as, *all_read]
        found = await self._store.records.search(user.tenant, text, readers, limit)
        if not shows_suggestions(await self.mailbox(user)):
            return [(record, 0) for record in found]
        owner = joined((user.tenant, user.oid))
        newest_on = [] if text else await self._store.suggestions.newest_on(owner, self._clock(), NEWEST)
        first = await self._store.records.read_by(user.tenant, newest_on, readers, limit)
        counts = await self._counts(user, owner, [record.key for record in (*first, *found)])
        each_once = {
            record.key: record for record in (*(record for record in first if counts[record.key]), *found)
        }
        return [(record, counts[key]) for key, record in each_once.items()][:limit]

    async def _counts(self, user: User, owner: str, keys: Sequence[RecordKey]) -> dict[RecordKey, int]:
        """How many suggestions she is shown on each of these records."""
        counts = dict.fromkeys(keys, 0)
        things = await self._store.suggestions.on(owner, keys, self._clock())
        hidden = await self._store.dismissals.on(owner, keys) | await self._store.tracked.among(
            user.tenant, {identity for _, identity in things}, keys
        )
        for key, identity in things:
            counts[key] += (key, identity) not in hidden
        return counts

    async def timeline(
        self, user: User, key: RecordKey, filters: Filters, before: tuple[datetime, str] | None, limit: int
    ) -> Timeline:
        """The record's timeline as she sees it now; with `before`, a further page of what is tracked."""
        record = await self._readable(user, key)
        mailbox = await self._store.mailboxes.one(user.tenant, user.oid)
        own = None
        if before is None and shows_suggestions(mailbox):
            own = await self._suggestions(user, key, filters)
        # What is tracked is read last: what becomes so in between is there, and once, and never nowhere.
        tracked = await self._store.tracked.on(key, before, filters.document(), limit + 1)
        shared = {one.identity for one in tracked}
        tiles = [tile for tile in own.tiles if tile.suggestion.activity.identity not in shared] if own else []
        page = await self._shown(user, tracked[:limit])
        after = (page[-1].content.activity.at, page[-1].id) if len(tracked) > limit else None
        empty = None if tiles or page or before else why_empty(mailbox)
        return Timeline(record, mailbox, tiles, bool(own and own.has_more), page, after, empty)

    async def _suggestions(self, user: User, key: RecordKey, filters: Filters) -> Suggestions:
        owner, now = joined((user.tenant, user.oid)), self._clock()
        claims = {
            item: one
            for item, one in newest(await self._store.claims.on(owner, key)).items()
            if not one.activity or filters.passes(one.activity)
        }
        dismissed = {identity for _, identity in await self._store.dismissals.on(owner, [key])}
        found = Suggestions(key, now, claims)
        async for page in self._store.suggestions.pages(owner, key, now, filters.document()):
            tracked = await self._store.tracked.among(
                user.tenant, [suggestion.activity.identity for suggestion in page], [key]
            )
            if not found.take(page, dismissed, {identity for _, identity in tracked}):
                break
        pending = [claim.activity.identity for claim in claims.values() if claim.activity]
        if pending:
            found.keep_pending(
                {identity for _, identity in await self._store.tracked.among(user.tenant, pending, [key])}
            )
        return found

    async def _shown(self, user: User, tracked: Sequence[Tracked]) -> list[TrackedTile]:
        """What is tracked, with the entries that she may know of."""
        records = await self._store.records.many(entry.record for one in tracked for entry in one.regarding)
        hers = {key: record for key, record in records.items() if self._readers.may_read(user, record)}
        return [
            TrackedTile(
                one.id,
                one.content,
                tuple(Entry(ask, hers[ask.record]) for ask in one.regarding if ask.record in hers),
            )
            for one in tracked
            if one.content
        ]

    async def check(self, user: User, key: RecordKey) -> None:
        """Raises NotThere where she may not read the record."""
        await self._readable(user, key)

    async def text(self, user: User, key: RecordKey, item: str) -> Text:
        """The text of her own item; raises NotThere, Refused or what `Previews.text` raises."""
        suggestion = await self._own(user, key, item)
        return await self._previews.text(suggestion.activity)

    async def track(self, user: User, key: RecordKey, item: str, *, confirm_private: bool) -> Tracking:
        """Shares her item with the record: asks for its content, or joins who asked already."""
        record = await self._readable(user, key)
        now = self._clock()
        ask = Ask(record.key, user.oid, now, user.name)
        asked = newest(await self._store.claims.on(joined((user.tenant, user.oid)), key)).get(item)
        if asked and asked.is_open(now):
            return Tracking(asked)
        suggestion = await self._own(user, key, item)
        activity = suggestion.activity
        done = await self._store.tracked.by_owner((user.tenant, user.oid, item), activity.identity, key)
        if done:
            return Tracking(None, done.id)
        if activity.sensitivity in ASKS_ONCE_MORE and not confirm_private:
            raise Refused(PRIVATE, "this item is marked as private; confirm that it is to be shared")
        await self._store.dismissals.undo((user.tenant, user.oid, item), key, activity.identity)
        opened = await self._ask(activity, ask, now)
        self._outbox.wake()
        return Tracking(opened)

    async def _ask(self, activity: Activity, ask: Ask, now: datetime) -> Claim:
        """The open claim on the item that has this ask, whoever else asks at the same moment."""
        item: ItemKey = activity.tenant, activity.mailbox, activity.item
        while True:
            there = await self._store.claims.open_on(item)
            if there is None:
                new = claim(uuid4().hex, activity, ask, self._pending_for)
                if await self._store.claims.put(new, activity):
                    return new
            elif not there.is_open(now):
                await self._store.claims.settle(there.id, ClaimState.FAILED, NO_ANSWER)
            elif await self._store.claims.join(there, ask):
                return there

    async def dismiss(self, user: User, key: RecordKey, item: str) -> None:
        """Takes her suggestion off this record, for her alone."""
        await self._store.dismissals.put(await self._own(user, key, item), key)

    async def undo_dismissal(self, user: User, key: RecordKey, item: str) -> None:
        """Puts it back."""
        await self._readable(user, key)
        own = user.tenant, user.oid, item
        known, suggestion = await self._store.suggestions.one(own, key)
        identity = suggestion.activity.identity if suggestion else None
        if not await self._store.dismissals.undo(own, key, identity) and not known:
            raise NotThere

    async def tracked(self, user: User, key: RecordKey, activity: str) -> TrackedTile:
        """A tracked activity of this record with its content."""
        await self._readable(user, key)
        found = await self._store.tracked.one(user.tenant, activity)
        if (
            found is None
            or found.content is None
            or not any(entry.record == key for entry in found.regarding)
        ):
            raise NotThere
        [tile] = await self._shown(user, [found])
        return tile

    async def untrack(self, user: User, key: RecordKey, activity: str, by: str | None) -> None:
        """Takes her own entry off this record; an administrator anyone's, also where the record is gone."""
        who = by or user.oid
        record = await self._store.records.one(key)
        if record is None or not self._readers.may_read(user, record) or (who != user.oid and not user.admin):
            raise NotThere
        while True:
            before = await self._store.tracked.one(user.tenant, activity)
            after = before and untrack(before, key, who, self._clock())
            if after is None:
                raise NotThere
            if await self._store.tracked.put(after, before):
                self._outbox.wake()
                return

    async def _readable(self, user: User, key: RecordKey) -> Record:
        record = await self._store.records.one(key)
        if record is None or record.gone or not self._readers.may_read(user, record):
            raise NotThere
        return record

    async def _own(self, user: User, key: RecordKey, item: str) -> Suggestion:
        """Her suggestion on this record."""
        await self._readable(user, key)
        if not shows_suggestions(await self.mailbox(user)):
            raise NotThere
        known, suggestion = await self._store.suggestions.one((user.tenant, user.oid, item), key)
        if not known:
            raise NotThere
        if suggestion is None or not is_visible(suggestion.activity, self._clock()):
            raise Refused(NO_LONGER_VISIBLE, "this item is no longer suggested on this record")
        return suggestion
