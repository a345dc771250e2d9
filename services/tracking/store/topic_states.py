"""Tracked activities compared with `tracked-activities`, their own topic.

A tracked activity has `topic_revision`, the greatest revision that was read on the topic, and
`topic_generation`, that of the position of its partition. States that are newer than the stored one, which
only an older copy of the database explains, are kept until the topic is read to its end:

    {_id: "tenant/activity", version, event}
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass

from shared.events import ActivityTracked, ActivityUntracked
from shared.keys import TrackedActivityKey, join_key, split_key
from shared.mongodb import Document, MongoCollection, ReplaceOne, UpdateOne

from .id_ranges import ANY, id_ranges

EVENTS: dict[str, type[ActivityTracked] | type[ActivityUntracked]] = {
    each.ce_type: each for each in (ActivityTracked, ActivityUntracked)
}


@dataclass(frozen=True, slots=True)
class StoredRevisions:
    """What the store knows of an activity.

    Attributes:
        revision: of its state.
        on_topic: the greatest that was read on the topic in `generation`.
    """

    revision: int
    on_topic: int
    generation: int


@dataclass(frozen=True, slots=True)
class NewerState:
    """The last state of an activity on the topic, newer than the stored one; a tombstone has no event."""

    key: TrackedActivityKey
    version: int
    event: ActivityTracked | ActivityUntracked | None


class TopicStates:
    """What the topic knows.

    Args:
        tracked: the tracked activities.
        newer: the states that are newer than theirs.
    """

    def __init__(self, tracked: MongoCollection, newer: MongoCollection) -> None:
        self._tracked = tracked
        self._newer = newer

    async def find_revisions(
        self, keys: Iterable[TrackedActivityKey]
    ) -> dict[TrackedActivityKey, StoredRevisions]:
        """The revisions of those of these activities that are stored."""
        fields = {"revision": 1, "topic_revision": 1, "topic_generation": 1}
        found = self._tracked.find({"_id": {"$in": [join_key(key) for key in keys]}}, fields)
        return {
            split_key(TrackedActivityKey, document["_id"]): StoredRevisions(
                document["revision"], document.get("topic_revision", 0), document.get("topic_generation", 0)
            )
            async for document in found
        }

    async def record_read(self, read: Mapping[TrackedActivityKey, StoredRevisions]) -> None:
        """Records what was read on the topic."""
        await self._tracked.bulk_write(
            [
                UpdateOne(
                    {"_id": join_key(key)},
                    {"$set": {"topic_revision": each.on_topic, "topic_generation": each.generation}},
                )
                for key, each in read.items()
            ]
        )

    async def overrule(self, read: Mapping[TrackedActivityKey, StoredRevisions], revision: int) -> None:
        """Records activities as `publish_pending`, under a revision that none of the topic is greater than.

        Args:
            read: the activities of which an older state was delivered after a newer one.
            revision: the least that they get.
        """
        await self._tracked.bulk_write(
            [
                UpdateOne(
                    {"_id": join_key(key)},
                    [
                        {
                            "$set": {
                                "publish_pending": True,
                                "revision": {
                                    "$max": [revision, each.on_topic + 1, {"$add": ["$revision", 1]}]
                                },
                            }
                        }
                    ],
                )
                for key, each in read.items()
            ]
        )

    async def put_newer(self, states: Iterable[NewerState]) -> None:
        """Keeps states that are newer than the stored ones, without their subjects."""
        writes = []
        for state in states:
            event = None
            if state.event:
                event = {"type": state.event.ce_type} | state.event.model_dump(
                    mode="json", exclude={"subject"}
                )
            document = {"_id": join_key(state.key), "version": state.version, "event": event}
            writes.append(ReplaceOne({"_id": document["_id"]}, document, upsert=True))
        await self._newer.bulk_write(writes)

    async def delete_newer(self, keys: Iterable[TrackedActivityKey]) -> None:
        """Forgets the newer states of these activities."""
        await self._newer.delete_many({"_id": {"$in": [join_key(key) for key in keys]}})

    async def find_newer(self) -> AsyncIterator[NewerState]:
        """The newer states."""
        async for part in id_ranges(self._newer):
            async for document in self._newer.find(part):
                event = document["event"]
                yield NewerState(
                    split_key(TrackedActivityKey, document["_id"]),
                    document["version"],
                    EVENTS[event["type"]].model_validate(event) if event else None,
                )

    async def has_newer(self) -> bool:
        """Whether the topic is ahead of the store."""
        return await self._newer.find_one(ANY, {"_id": 1}) is not None

    async def find_not_on_topic(self, generation: int, *, pending: bool) -> AsyncIterator[TrackedActivityKey]:
        """The tracked activities that were not read in this generation, and did not change since it began.

        Args:
            generation: of the positions from which the topic was read.
            pending: also those that are `publish_pending`.
        """
        query: Document = {
            "regarding.0": {"$exists": True},
            "topic_generation": {"$not": {"$gte": generation}},
            "revision": {"$lt": generation},
        }
        if not pending:
            query["publish_pending"] = {"$exists": False}
        async for part in id_ranges(self._tracked):
            async for document in self._tracked.find(part | query, {"_id": 1}):
                yield split_key(TrackedActivityKey, document["_id"])

    async def close_lost(self, key: TrackedActivityKey) -> bool:
        """Records the tombstone of a lost activity for publication; False when it is not lost any more."""
        closed = await self._tracked.update_one(
            {"_id": join_key(key), "lost": True},
            {
                "$unset": {"lost": "", "lost_regarding": ""},
                "$set": {"publish_pending": True},
                "$inc": {"revision": 1},
            },
        )
        return closed.matched > 0
