"""The live activities of one partition, by address, and what `matches` was last told of each.

Whatever may have changed what is to be said of an activity marks it *unsaid*; `words` then compares
what is to be said with what was said last, and only differences become words. A word counts as said
when it is `confirmed`; until then, and when it is not known whether it arrived, the activity stays
unsaid.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from heapq import heappop, heappush

from shared.events import Activity, ActivityMatched

from .matching import Matcher, addresses_of

Key = tuple[str, str, str]
"""(tenant, mailbox, item)"""

GONE_KEPT = timedelta(days=14)
"""A gone thing's version is known for as long as its tombstone can be read."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the topic holds of an activity, other than a tombstone.

    Attributes:
        digest: of the value's bytes; empty where it is not certain what the topic holds.
    """

    version: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Word:
    """What is to be said of an activity; without a message it is a tombstone."""

    key: Key
    message: ActivityMatched | None
    version: int
    said: Said | None


@dataclass(frozen=True, slots=True)
class _Live:
    activity: Activity
    version: int


def digest(json: bytes) -> bytes:
    """Tells values apart without keeping them."""
    return blake2b(json, digest_size=16).digest()


class Window:
    """One partition's live activities.

    Attributes:
        truncated: those of which not all matches could be said.
    """

    def __init__(self, matcher: Matcher) -> None:
        self.truncated: set[Key] = set()
        self._matcher = matcher
        self._live: dict[Key, _Live] = {}
        self._by_address: dict[tuple[str, str], set[Key]] = {}
        self._leaving: list[tuple[datetime, Key]] = []
        self._gone: dict[Key, tuple[int, datetime]] = {}
        self._said: dict[Key, Said] = {}
        self._unsaid: dict[Key, None] = {}
        self._being_said: dict[Key, None] = {}

    def __len__(self) -> int:
        return len(self._live)

    @property
    def waiting(self) -> bool:
        """Is there anything for `words` to look at?"""
        return bool(self._unsaid)

    @property
    def unsaid(self) -> int:
        """How many activities wait for being compared and said, those under way included."""
        return len(self._unsaid.keys() | self._being_said.keys())

    # -- what changes it --------------------------------------------------------------------------

    def take(self, key: Key, activity: Activity | None, version: int, now: datetime) -> None:
        """Takes in what `activities` says; None: it is gone. A version that is not newer is ignored."""
        live = self._live.get(key)
        known = live.version if live else self._gone.get(key, (-1, now))[0]
        if version <= known:
            return
        self._remove(key)
        if activity and activity.visible_until > now:
            self._gone.pop(key, None)
            self._live[key] = _Live(activity, version)
            for _, address in addresses_of(activity):
                self._by_address.setdefault((key[0], address), set()).add(key)
            heappush(self._leaving, (activity.visible_until, key))
        else:
            self._forget(key, version, now)
        self._unsaid[key] = None

    def touch(self, tenant: str, addresses: Collection[str], *, reordered: bool = False) -> int:
        """A record change touched these addresses; answers how many activities it marked."""
        keys: set[Key] = set()
        for address in addresses:
            keys |= self._by_address.get((tenant, address), set())
        if reordered:
            keys |= {key for key in self.truncated if key[0] == tenant}
        self._unsaid.update(dict.fromkeys(sorted(keys)))
        return len(keys)

    def leave(self, now: datetime) -> None:
        """Lets go of the activities whose time is over, and of versions that nobody can send any more."""
        while self._leaving and self._leaving[0][0] <= now:
            _, key = heappop(self._leaving)
            live = self._live.get(key)
            if live and live.activity.visible_until <= now:
                self._remove(key)
                self._forget(key, live.version, now)
                self._unsaid[key] = None
        while self._gone and next(iter(self._gone.values()))[1] <= now - GONE_KEPT:
            del self._gone[next(iter(self._gone))]

    def hear(self, key: Key, version: int, json: bytes | None, *, certain: bool = True) -> None:
        """Notes what stands on `matches`; None: a tombstone. Uncertain: readers may hold something else."""
        if not certain:
            self._said[key] = Said(version, b"")
        elif json is None:
            self._said.pop(key, None)
        else:
            self._said[key] = Said(version, digest(json))
        self._unsaid[key] = None

    def _remove(self, key: Key) -> None:
        live = self._live.pop(key, None)
        self.truncated.discard(key)
        for _, address in addresses_of(live.activity) if live else ():
            keys = self._by_address.get((key[0], address))
            if keys:
                keys.discard(key)
                if not keys:
                    del self._by_address[key[0], address]

    def _forget(self, key: Key, version: int, now: datetime) -> None:
        self._gone.pop(key, None)  # so that the oldest stays first
        self._gone[key] = version, now

    # -- what is to be said -----------------------------------------------------------------------

    def words(self, most: int) -> list[Word]:
        """The differences among the next activities that are unsaid, at most so many looked at.

        They are under way until they are `confirmed` or `unconfirmed`.
        """
        keys = list(self._unsaid)[:most]
        words = []
        for key in keys:
            del self._unsaid[key]
            word = self._word(key)
            if word.said != self._said.get(key):
                self._being_said[key] = None
                words.append(word)
        return words

    def _word(self, key: Key) -> Word:
        live = self._live.get(key)
        matched = self._matcher.match(live.activity) if live else None
        self.truncated.discard(key)
        if live and matched:
            if matched.message.truncated:
                self.truncated.add(key)
            return Word(key, matched.message, live.version, Said(live.version, digest(matched.json)))
        known = live.version if live else self._gone.get(key, (0,))[0]
        said = self._said.get(key)
        return Word(key, None, max(known, said.version if said else 0), None)

    def confirmed(self, words: Iterable[Word]) -> None:
        """Kafka has these."""
        for word in words:
            self._being_said.pop(word.key, None)
            if word.said:
                self._said[word.key] = word.said
            else:
                self._said.pop(word.key, None)

    def unconfirmed(self, words: Iterable[Word]) -> None:
        """It is not known whether Kafka has these: they are said again, whatever they then are."""
        for word in words:
            self._being_said.pop(word.key, None)
            self._said[word.key] = Said(word.version, b"")
            self._unsaid[word.key] = None
