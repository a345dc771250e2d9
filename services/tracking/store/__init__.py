"""tracking's MongoDB database, a file a collection; no other package of tracking uses MongoDB.

Every write is acknowledged by the majority. What may come twice, or late from a replica that was
paused, is written on a condition: the greater (epoch, sequence) of a suggestion wins, the later offset
of a record, the greater version of a mailbox; a tracked activity changes from the revision that was
read. `shared/mongodb_errors.py` has the errors of all methods.
"""

import asyncio

from services.tracking.settings import TrackingSettings
from shared.mongodb import DRIVER, Document, Driver, MongoDatabase, Session

from .capture_statuses import CaptureStatusCollection, capture_status_document
from .change_feed import Change, ChangeFeed
from .dismissals import DismissalCollection
from .event_settings import EventSettingsCollection
from .followed_mailboxes import FollowedMailbox, FollowedMailboxCollection
from .read_positions import ReadPositionCollection, StoredPosition
from .records import RecordCollection, record_document
from .republications import Republication, RepublicationCollection
from .restore_cases import RestoreCaseCollection
from .store_state import Recovery, StoreState, StoreStateCollection
from .suggestions import SuggestionCollection, suggestion_document
from .topic_states import NewerState, StoredRevisions, TopicStates
from .track_requests import TrackRequestCollection
from .tracked_activities import TrackedActivityCollection

__all__ = [
    "Change",
    "Document",
    "FollowedMailbox",
    "NewerState",
    "Recovery",
    "Republication",
    "Session",
    "Store",
    "StoreState",
    "StoredPosition",
    "StoredRevisions",
    "capture_status_document",
    "record_document",
    "suggestion_document",
]


class Store(MongoDatabase):
    """The database and its collections.

    Args:
        settings: address and name of the database.
        driver: see `shared.mongodb.DRIVER`.
    """

    def __init__(self, settings: TrackingSettings, driver: Driver = DRIVER) -> None:
        super().__init__(settings, settings.mongodb_database, "tracking", driver)
        self.suggestions = SuggestionCollection(self.collection("suggestions"))
        self.dismissals = DismissalCollection(self.collection("dismissals"))
        self.records = RecordCollection(self.collection("records"))
        self.capture_statuses = CaptureStatusCollection(self.collection("capture_statuses"))
        self.track_requests = TrackRequestCollection(self.collection("track_requests"))
        self.tracked_activities = TrackedActivityCollection(self.collection("tracked_activities"))
        self.republications = RepublicationCollection(self.collection("republications"))
        self.event_settings = EventSettingsCollection(self.collection("event_settings"))
        self.followed_mailboxes = FollowedMailboxCollection(self.collection("followed_mailboxes"))
        self.read_positions = ReadPositionCollection(self.collection("read_positions"))
        self.state = StoreStateCollection(self.collection("store_state"))
        self.topic_states = TopicStates(
            self.collection("tracked_activities"), self.collection("newer_states")
        )
        self.restore_cases = RestoreCaseCollection(self.collection("restore_cases"))
        self.change_feed = ChangeFeed(self)

    async def create_indexes(self) -> None:
        """Creates the indexes that are missing."""
        await asyncio.gather(
            *(
                self.collection(name).create_indexes(collection.INDEXES)
                for name, collection in (
                    ("suggestions", SuggestionCollection),
                    ("dismissals", DismissalCollection),
                    ("records", RecordCollection),
                    ("track_requests", TrackRequestCollection),
                    ("tracked_activities", TrackedActivityCollection),
                    ("republications", RepublicationCollection),
                    ("followed_mailboxes", FollowedMailboxCollection),
                    ("restore_cases", RestoreCaseCollection),
                )
            )
        )
