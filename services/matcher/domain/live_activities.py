"""The live activities of one partition, and the matches that `matches` holds for each of them.

An activity becomes *pending* when its matches may have changed. `next_updates` computes the matches of
pending activities and returns those that differ from the last published ones. An update stays in flight
until it is acknowledged; when its delivery is uncertain the activity becomes pending again.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from heapq import heappop, heappush

from shared.events import Activity, ActivityMatched
from shared.keys import ItemKey
from shared.topics import TOMBSTONE_RETENTION

from .matching import Matcher, participant_addresses


@dataclass(frozen=True, slots=True)
class PublishedMatch:
    """The value that `matches` holds for an activity; there is none for a tombstone.

    Attributes:
        digest: of the value's bytes; empty when it is uncertain which value the topic holds.
    """

    version: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class MatchUpdate:
    """A message to publish on `matches`.

    Attributes:
        message: None publishes a tombstone.
        version: the activity's version.
        published: what `matches` holds after the update.
    """

    key: ItemKey
    message: ActivityMatched | None
    version: int
    published: PublishedMatch | None


@dataclass(frozen=True, slots=True)
class _LiveActivity:
    activity: Activity
    version: int


@dataclass(frozen=True, slots=True)
class _GoneActivity:
    version: int
    since: datetime


def digest(json: bytes) -> bytes:
    """16 bytes that identify a value, so that the value itself need not be kept."""
    return blake2b(json, digest_size=16).digest()


class LiveActivities:
    """The live activities of one partition.

    Attributes:
        truncated: activities of which not all matches could be published.
    """

    def __init__(self, matcher: Matcher) -> None:
        self.truncated: set[ItemKey] = set()
        self._matcher = matcher
        self._live: dict[ItemKey, _LiveActivity] = {}
        self._keys_by_address: dict[tuple[str, str], set[ItemKey]] = {}
        """(tenant, normalised address) -> the live activities with this participant."""
        self._expiry_heap: list[tuple[datetime, ItemKey]] = []
        self._gone: dict[ItemKey, _GoneActivity] = {}
        """The one that is gone for the longest time is first."""
        self._published: dict[ItemKey, PublishedMatch] = {}
        self._pending: dict[ItemKey, None] = {}
        self._in_flight: dict[ItemKey, None] = {}

    def __len__(self) -> int:
        return len(self._live)

    @property
    def has_pending(self) -> bool:
        """True when `next_updates` has activities to look at."""
        return bool(self._pending)

    @property
    def pending_count(self) -> int:
        """Number of activities that are pending or in flight."""
        return len(self._pending.keys() | self._in_flight.keys())

    # -- changes ----------------------------------------------------------------------------------

    def apply(self, key: ItemKey, activity: Activity | None, version: int, now: datetime) -> None:
        """Applies a message of `activities`; None: the activity is gone.

        A version lower than the known one is ignored. Of messages with one version the last counts.
        """
        live, gone = self._live.get(key), self._gone.get(key)
        known_version = live.version if live else gone.version if gone else -1
        if version < known_version:
            return
        self._remove(key)
        if activity and activity.visible_until > now:
            self._gone.pop(key, None)
            self._live[key] = _LiveActivity(activity, version)
            for _, address in participant_addresses(activity):
                self._keys_by_address.setdefault((key.tenant, address), set()).add(key)
            heappush(self._expiry_heap, (activity.visible_until, key))
        else:
            self._remember_gone(key, version, now)
        self._pending[key] = None

    def apply_invalid(self, key: ItemKey, version: int, now: datetime) -> None:
        """Applies a message of `activities` that cannot be read: the activity is gone.

        Nothing that came before counts, the greatest version included: compaction may leave this message
        alone, and a replica that is restored then knows nothing else.
        """
        self._remove(key)
        self._remember_gone(key, version, now)
        self._pending[key] = None

    def mark_affected(self, tenant: str, addresses: Collection[str], *, order_changed: bool = False) -> int:
        """Marks the activities that a record change may affect as pending, and returns their number.

        Args:
            tenant: the tenant of the record.
            addresses: the affected addresses, normalised.
            order_changed: marks the tenant's truncated activities too.
        """
        keys: set[ItemKey] = set()
        for address in addresses:
            keys |= self._keys_by_address.get((tenant, address), set())
        if order_changed:
            keys |= {key for key in self.truncated if key.tenant == tenant}
        self._pending.update(dict.fromkeys(sorted(keys)))
        return len(keys)

    def expire(self, now: datetime) -> None:
        """Removes the activities whose time is over, and the versions of gone ones after 14 days.

        A tombstone is kept for 14 days, so no older version of a gone activity can arrive after them.
        """
        while self._expiry_heap and self._expiry_heap[0][0] <= now:
            _, key = heappop(self._expiry_heap)
            live = self._live.get(key)
            if live and live.activity.visible_until <= now:
                self._remove(key)
                self._remember_gone(key, live.version, now)
                self._pending[key] = None
        while self._gone and next(iter(self._gone.values())).since <= now - TOMBSTONE_RETENTION:
            del self._gone[next(iter(self._gone))]

    def observe_published(
        self, key: ItemKey, version: int, json: bytes | None, *, certain: bool = True
    ) -> None:
        """Records what `matches` holds for an activity, and marks the activity as pending.

        Args:
            key: the activity's key.
            version: the version of the message.
            json: the value of the message; None: a tombstone.
            certain: False when readers may hold another value; the activity is then published again.
        """
        if not certain:
            self._published[key] = PublishedMatch(version, b"")
        elif json is None:
            self._published.pop(key, None)
        else:
            self._published[key] = PublishedMatch(version, digest(json))
        self._pending[key] = None

    def _remove(self, key: ItemKey) -> None:
        live = self._live.pop(key, None)
        self.truncated.discard(key)
        for _, address in participant_addresses(live.activity) if live else ():
            keys = self._keys_by_address.get((key.tenant, address))
            if keys:
                keys.discard(key)
                if not keys:
                    del self._keys_by_address[key.tenant, address]

    def _remember_gone(self, key: ItemKey, version: int, now: datetime) -> None:
        self._gone.pop(key, None)  # so that the oldest stays first
        self._gone[key] = _GoneActivity(version, now)

    # -- updates ----------------------------------------------------------------------------------

    def next_updates(self, limit: int) -> list[MatchUpdate]:
        """The updates of the next pending activities.

        Args:
            limit: the most activities to match.

        Returns:
            The updates that differ from the published matches. They are in flight until `acknowledge` or
            `mark_uncertain`.
        """
        updates = []
        for key in list(self._pending)[:limit]:
            del self._pending[key]
            update = self._compute_update(key)
            if update.published != self._published.get(key):
                self._in_flight[key] = None
                updates.append(update)
        return updates

    def _compute_update(self, key: ItemKey) -> MatchUpdate:
        live = self._live.get(key)
        result = self._matcher.match(live.activity) if live else None
        self.truncated.discard(key)
        if live and result:
            if result.message.truncated:
                self.truncated.add(key)
            published = PublishedMatch(live.version, digest(result.json))
            return MatchUpdate(key, result.message, live.version, published)
        gone, published_before = self._gone.get(key), self._published.get(key)
        version = live.version if live else gone.version if gone else 0
        if published_before:
            version = max(version, published_before.version)
        return MatchUpdate(key, None, version, None)

    def acknowledge(self, updates: Iterable[MatchUpdate]) -> None:
        """Records that Kafka has stored these updates."""
        for update in updates:
            self._in_flight.pop(update.key, None)
            if update.published:
                self._published[update.key] = update.published
            else:
                self._published.pop(update.key, None)

    def mark_uncertain(self, updates: Iterable[MatchUpdate]) -> None:
        """Marks these activities as pending again: Kafka may or may not have stored the updates."""
        for update in updates:
            self._in_flight.pop(update.key, None)
            self._published[update.key] = PublishedMatch(update.version, b"")
            self._pending[update.key] = None
