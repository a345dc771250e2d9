"""The collection `marks`: up to where this database agrees with the topics.

| field | meaning |
|---|---|
| `_id` | full name of a topic |
| `topic_id` | Kafka's id of it; a topic that was made anew has another one |
| `offsets` | number of each partition -> the offset up to which every message is known here |

A message is recorded here before Kafka has it, and what is read from Kafka before its offset is committed. So
the marks grow, and one that has become smaller shows that another database has taken this one's place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.mongodb import MongoCollection, MongoDatabase, ReplaceOne


@dataclass(frozen=True, slots=True)
class TopicMark:
    """The mark of one topic."""

    topic_id: str
    offsets: Mapping[int, int] = field(default_factory=dict)

    def covers(self, other: "TopicMark") -> bool:
        """Whether it is of the same topic, and no offset is smaller."""
        return self.topic_id == other.topic_id and all(
            self.offsets.get(number, 0) >= offset for number, offset in other.offsets.items()
        )

    def joined(self, offsets: Mapping[int, int]) -> "TopicMark":
        """With the greater offset of each partition."""
        greater = {number: max(offset, self.offsets.get(number, 0)) for number, offset in offsets.items()}
        return TopicMark(self.topic_id, {**self.offsets, **greater})


class MarkCollection:
    """The marks of all topics that this service writes, and of those that it reads in a group."""

    def __init__(self, database: MongoDatabase) -> None:
        self._collection: MongoCollection = database.collection("marks")

    async def find_all(self) -> dict[str, TopicMark]:
        """The marks, by the topics' full names."""
        return {
            document["_id"]: TopicMark(
                document["topic_id"],
                {int(number): offset for number, offset in document["offsets"].items()},
            )
            async for document in self._collection.find({"_id": {"$gt": ""}})
        }

    async def advance(self, name: str, known: TopicMark, offsets: Mapping[int, int]) -> bool:
        """Sets the mark of a topic to these offsets, or greater ones before.

        Args:
            name: the topic's full name.
            known: the mark as this process knows it; other replicas may have advanced it since.
            offsets: of some partitions.

        Returns:
            False when the stored mark is smaller than the known one, of another topic, or missing; then
            nothing is changed.
        """
        as_known = {f"offsets.{number}": {"$gte": offset} for number, offset in known.offsets.items()}
        greater = {f"offsets.{number}": offset for number, offset in offsets.items()}
        result = await self._collection.update_one(
            {"_id": name, "topic_id": known.topic_id, **as_known},
            {"$max": greater} if greater else {"$set": {"topic_id": known.topic_id}},
        )
        return result.matched == 1

    async def replace(self, marks: Mapping[str, TopicMark]) -> None:
        """Sets whole marks."""
        await self._collection.bulk_write(
            [
                ReplaceOne(
                    {"_id": name},
                    {
                        "topic_id": mark.topic_id,
                        "offsets": {str(number): offset for number, offset in mark.offsets.items()},
                    },
                    upsert=True,
                )
                for name, mark in marks.items()
            ]
        )
