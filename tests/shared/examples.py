"""One example of every message, and Kafka records made by hand."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import ConsumerRecord

from shared.events import (
    Activity,
    ActivityKind,
    ActivityMatched,
    ActivityTracked,
    ActivityUntracked,
    Content,
    ContentAnswered,
    ContentUpdated,
    Event,
    FetchContent,
    Followed,
    FollowItems,
    ItemNotified,
    LifecycleNotified,
    MailboxChanged,
    MailboxStatus,
    Match,
    Participant,
    ParticipantRole,
    PublishedRegarding,
    SourceChange,
)

NOW = datetime(2026, 11, 20, 9, 12, tzinfo=UTC)
SUBJECT = "The subject that nobody else may see"

EMAIL = Activity(
    tenant="contoso",
    mailbox="mia",
    item="AAMk=",
    kind=ActivityKind.EMAIL,
    identity="<1@fabrikam.com>",
    subject=SUBJECT,
    participants=(
        Participant(role=ParticipantRole.FROM, address="ann@fabrikam.com", name="Ann"),
        Participant(role=ParticipantRole.TO, address="mia@contoso.com"),
    ),
    at=NOW,
    visible_from=NOW,
    visible_until=NOW + timedelta(days=3),
)
MATCHED = ActivityMatched(
    activity=EMAIL,
    matches=(Match(type="account", id="fabrikam", reasons=(("account.emails", 0),)),),
    rules={"account.emails": "is an address of this account"},
)
TRACKED = ActivityTracked(
    tenant="contoso",
    activity="a1",
    kind=ActivityKind.EMAIL,
    owner="mia",
    at=NOW,
    regarding=(
        PublishedRegarding(type="account", id="fabrikam", name="Fabrikam", by="mia", at=NOW, readers=("*",)),
    ),
    revision=1,
)

EXAMPLES: tuple[Event, ...] = (
    ItemNotified(kind=ActivityKind.MEETING, item="AAMk=", change="updated"),
    LifecycleNotified(subscription="s1", event="missed"),
    MailboxChanged(status=MailboxStatus.BLOCKED, reason="access_policy", since=NOW),
    EMAIL,
    MATCHED,
    FetchContent(request="r1", item="AAMk=", kind=ActivityKind.EMAIL, deadline=NOW),
    FollowItems(items=(Followed(item="AAMk=", kind=ActivityKind.EMAIL, version=7, until=NOW),)),
    ContentAnswered(request="r1", item="AAMk=", content=Content(activity=EMAIL, text="Dear Mia")),
    ContentUpdated(item="AAMk=", change=SourceChange.GONE),
    TRACKED,
    ActivityUntracked(tenant="contoso", activity="a1", revision=2),
)


def kafka_record(
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, Any]] = (),
    *,
    topic: str = "records",
    timestamp: int = 1,
    offset: int = 7,
) -> "ConsumerRecord[bytes, bytes]":
    """A record as aiokafka returns it."""
    return ConsumerRecord(
        topic, 0, offset, timestamp, 0, key, value, None, len(key or b""), len(value or b""), tuple(headers)
    )
