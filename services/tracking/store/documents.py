"""Parts of documents and updates that several collections share."""

from collections.abc import Mapping
from typing import Any

from services.tracking.domain.track_request import Regarding
from services.tracking.domain.tracked_copy import TrackedCopy
from shared.events import Activity, ActivityKind, Sensitivity
from shared.keys import ItemKey, RecordKey, join_key, split_key
from shared.mongodb import ASCENDING, Document, IndexModel

DELETE_AT_INDEX = IndexModel([("delete_at", ASCENDING)], expireAfterSeconds=0)
"""MongoDB deletes a document when the time in its field `delete_at` has passed."""


def replace_if(condition: Document, document: Document) -> list[Document]:
    """An update that replaces the stored document if the condition holds for it.

    A missing field is less than any value, so with `upsert` a condition such as `$lt` also holds for a
    document that is not stored yet.
    """
    return [{"$replaceWith": {"$cond": [condition, {"$literal": document}, "$$ROOT"]}}]


def activity_document(activity: Activity) -> Document:
    """An activity as a part of a document; times are texts, and so keep their microseconds."""
    return activity.model_dump(mode="json", exclude_none=True, exclude_defaults=True)


def to_activity(document: Mapping[str, Any]) -> Activity:
    """The activity of a part that `activity_document` made."""
    return Activity.model_validate(document)


def regarding_document(regarding: Regarding) -> Document:
    """An entry for a record as a part of a document."""
    return {
        "record": join_key(regarding.record),
        "by": regarding.by,
        "name": regarding.name,
        "at": regarding.at,
    }


def to_regarding(document: Mapping[str, Any]) -> Regarding:
    """The entry of a part that `regarding_document` made."""
    record = split_key(RecordKey, document["record"])
    return Regarding(record, document["by"], document["at"], document.get("name"))


def copy_document(copy: TrackedCopy) -> Document:
    """A copy of a tracked activity as a part of its document."""
    return {
        "item": join_key(copy.item),
        "mailbox": join_key(copy.item.mailbox_key),
        "kind": copy.kind.value,
        "version": copy.version,
        "digest": copy.digest,
        "until": copy.until,
        "sensitivity": copy.sensitivity.value,
        "gone": copy.gone,
    }


def to_copy(document: Mapping[str, Any]) -> TrackedCopy:
    """The copy of a part that `copy_document` made."""
    return TrackedCopy(
        split_key(ItemKey, document["item"]),
        ActivityKind(document["kind"]),
        document["version"],
        document["digest"],
        document["until"],
        Sensitivity(document["sensitivity"]),
        document["gone"],
    )
