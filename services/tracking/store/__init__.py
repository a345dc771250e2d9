"""MongoDB: the only room that knows it, a file a collection.

Every write is acknowledged by the majority. What may come twice, or late from a replica that slept,
is written on a condition: the greater (epoch, count) of a suggestion wins, the later offset of a
record, the greater version of a mailbox; a tracked activity changes from the revision that was read.
MongoDB being away is `Transient`, said within two seconds.
"""

import asyncio

from services.tracking.settings import TrackingSettings

from .changes import Change, Changes
from .claims import StoredClaims
from .connection import Connection, Document, Session, asks_mongodb, joined
from .dismissals import StoredDismissals
from .positions import StoredPositions
from .records import StoredMailboxes, StoredRecords, mailbox_document, record_document
from .suggestions import StoredSuggestions, suggestion_document
from .tracked import StoredTracked

__all__ = [
    "Change",
    "Document",
    "Session",
    "Store",
    "joined",
    "mailbox_document",
    "record_document",
    "suggestion_document",
]


class Store(Connection):
    """All that tracking keeps."""

    def __init__(self, settings: TrackingSettings) -> None:
        super().__init__(settings, settings.mongodb_database)
        self.suggestions = StoredSuggestions(self.collection("suggestions"))
        self.dismissals = StoredDismissals(self.collection("dismissals"))
        self.records = StoredRecords(self.collection("records"))
        self.mailboxes = StoredMailboxes(self.collection("mailboxes"))
        self.claims = StoredClaims(self.collection("claims"))
        self.tracked = StoredTracked(self.collection("tracked"))
        self.positions = StoredPositions(self.collection("positions"))
        self.changes = Changes(self._database)

    @asks_mongodb
    async def prepare(self) -> None:
        """Creates the indexes that are missing."""
        indexes = {
            name: getattr(self, name).INDEXES
            for name in ("suggestions", "dismissals", "records", "claims", "tracked")
        }
        await asyncio.gather(
            *(self.collection(name).create_indexes(list(wanted)) for name, wanted in indexes.items())
        )
