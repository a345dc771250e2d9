"""When a followed item is compared, and what is published about it."""

from datetime import timedelta
from typing import Any

import pytest

from services.mail_ingest.domain.activities import MailboxOwner
from services.mail_ingest.domain.capture import normalise_item
from services.mail_ingest.domain.folders import Folders
from services.mail_ingest.domain.followed_items import FollowedItem, change_of, content_digest, is_deleted
from services.mail_ingest.domain.kinds import EMAIL, MEETING
from shared.events import Activity, ActivityKind, Content, Sensitivity, SourceChange
from tests.mail_ingest.domain.payloads import message
from tests.mail_ingest.graphs import ANN, NOW


def followed(**changes: Any) -> FollowedItem:
    fields = {"change_key": "k", "digest": content_digest(content()), **changes}
    return FollowedItem("i", ActivityKind.EMAIL, 1, NOW + timedelta(days=1), **fields)


def content(text: str = "Dear all", **changes: Any) -> Content:
    owner = MailboxOwner(ANN.tenant, ANN.mailbox)
    activity = normalise_item(EMAIL, "i", message(id="i"), owner, Folders()).state
    assert isinstance(activity, Activity)
    return Content(activity=activity.model_copy(update=changes), text=text)


def test_item_is_compared_when_its_change_key_differs_or_is_unknown() -> None:
    keys = [("k", "k"), ("k", "l"), ("k", ""), ("", ""), ("", "k")]
    compared = [followed(change_key=before).may_differ(now) for before, now in keys]
    assert compared == [False, True, True, True, True]
    assert followed(gone=True).may_differ("k")


def test_content_differs_from_the_one_that_was_answered() -> None:
    assert not followed().differs(content())
    assert followed().differs(content("Dear both"))
    assert followed().differs(content(subject="Another"))
    assert followed(gone=True).differs(content())


@pytest.mark.parametrize(
    "shared,now,allowed",
    [
        (Sensitivity.NORMAL, Sensitivity.NORMAL, True),
        (Sensitivity.NORMAL, Sensitivity.PRIVATE, False),
        (Sensitivity.PRIVATE, Sensitivity.PRIVATE, True),
        (Sensitivity.PRIVATE, Sensitivity.CONFIDENTIAL, False),
        (Sensitivity.PRIVATE, Sensitivity.NORMAL, True),
    ],
)
def test_item_that_became_private_may_not_be_published(
    shared: Sensitivity, now: Sensitivity, allowed: bool
) -> None:
    assert followed(sensitivity=shared).may_be_published(content(sensitivity=now)) is allowed


def test_cancelled_meeting_is_answered_as_cancelled() -> None:
    assert change_of(content()) is SourceChange.CHANGED
    assert change_of(content(cancelled=True)) is SourceChange.CANCELLED


def test_message_in_deleted_items_is_deleted_and_one_in_junk_or_an_archive_is_not() -> None:
    folders = Folders(
        live=frozenset({"archive"}), dead=frozenset({"junk", "bin"}), deleted=frozenset({"bin"})
    )
    deleted = [
        folder
        for folder in ("archive", "junk", "bin", "unknown")
        if is_deleted(EMAIL, message(parentFolderId=folder), folders)
    ]
    assert deleted == ["bin"]
    assert not is_deleted(MEETING, {"id": "m"}, folders)


def test_item_that_is_gone_is_requested_once_an_hour() -> None:
    hour = timedelta(hours=1)
    checked = [(False, NOW), (True, None), (True, NOW - hour), (True, NOW - hour / 2)]
    assert [followed(gone=gone, checked_at=at).is_to_fetch(NOW) for gone, at in checked] == [
        True,
        True,
        True,
        False,
    ]
