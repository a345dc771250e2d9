"""The settings that events are published by: one document.

    {_id: "tracked-activities", default_readers: [{tenant, readers}], publish_subjects, announced}

They are those of the replica that started last. `announced`: each tenant that they concern is recorded to be
published again.
"""

from services.tracking.domain.event_settings import EventSettings
from services.tracking.domain.visibility import DefaultReaders
from shared.mongodb import Document, MongoCollection
from shared.topics import TRACKED_ACTIVITIES

ONLY: Document = {"_id": TRACKED_ACTIVITIES.name}


class EventSettingsCollection:
    """The settings that events are published by."""

    def __init__(self, collection: MongoCollection) -> None:
        self._collection = collection

    async def find(self) -> EventSettings | None:
        """The settings; None before the first start."""
        return _to_settings(await self._collection.find_one(ONLY))

    async def find_announced(self) -> EventSettings | None:
        """The settings; None also after a start that ended before it announced them."""
        return _to_settings(await self._collection.find_one(ONLY | {"announced": True}))

    async def replace(self, settings: EventSettings) -> None:
        """Stores the settings of a start, not announced yet."""
        await self._collection.replace_one(ONLY, ONLY | _fields(settings) | {"announced": False}, upsert=True)

    async def record_announced(self, settings: EventSettings) -> None:
        """Records that these settings are announced, unless others are stored by now."""
        await self._collection.update_one(ONLY | _fields(settings), {"$set": {"announced": True}})


def _fields(settings: EventSettings) -> Document:
    readers = settings.default_readers.by_tenant.items()
    return {
        "default_readers": [{"tenant": tenant, "readers": list(each)} for tenant, each in sorted(readers)],
        "publish_subjects": settings.publish_subjects,
    }


def _to_settings(document: Document | None) -> EventSettings | None:
    if document is None:
        return None
    readers = {each["tenant"]: tuple(each["readers"]) for each in document["default_readers"]}
    return EventSettings(DefaultReaders(readers), document["publish_subjects"])
