"""The JSON of the API's responses, and how it is made of the domain's objects."""

import base64
import binascii
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from services.tracking.actions.track import TrackResult
from services.tracking.content.previews import Text
from services.tracking.domain.timeline import CaptureStatus, EmptyReason, SuggestionState, SuggestionTile
from services.tracking.domain.visibility import KnownRecord, User
from services.tracking.timeline.reader import ReadableRegarding, Timeline, TrackedTile
from shared.clock import Timestamp
from shared.events import (
    ActivityKind,
    Content,
    Direction,
    KindRefused,
    MailboxStatus,
    Participant,
    Sensitivity,
)


class ResponseModel(BaseModel):
    """A response or a part of one."""

    model_config = ConfigDict(frozen=True)


class MailboxResponse(ResponseModel):
    """The state of capture of the caller's mailbox."""

    status: MailboxStatus
    reason: str | None = None
    since: AwareDatetime | None = None
    complete_as_of: AwareDatetime | None = None
    refused_kinds: tuple[KindRefused, ...] = Field(
        default=(), description="Kinds that are not captured, while the mailbox's other kind is."
    )
    no_notifications: str | None = Field(
        default=None,
        description="Why capture is slow: Microsoft Graph sends no notifications of some or all items, and "
        "what is new is found some minutes later.",
    )

    @classmethod
    def from_status(cls, capture: CaptureStatus | None) -> "MailboxResponse | None":
        """None when the mailbox was never enrolled."""
        if capture is None:
            return None
        return cls(
            status=capture.status,
            reason=capture.reason,
            since=capture.since,
            complete_as_of=capture.complete_as_of,
            refused_kinds=capture.refused_kinds,
            no_notifications=capture.no_notifications,
        )


class MeResponse(ResponseModel):
    """The caller."""

    tenant: str
    oid: str
    name: str | None
    admin: bool
    groups_missing: bool = Field(
        description=(
            "The caller's token has too many groups to list them: what only a group may read is hidden."
        )
    )
    mailbox: MailboxResponse | None

    @classmethod
    def from_user(cls, user: User, capture: CaptureStatus | None) -> "MeResponse":
        return cls(
            tenant=user.tenant,
            oid=user.oid,
            name=user.name,
            admin=user.admin,
            groups_missing=user.groups_missing,
            mailbox=MailboxResponse.from_status(capture),
        )


class RecordResponse(ResponseModel):
    """A record's name."""

    type: str
    id: str
    name: str | None

    @classmethod
    def from_record(cls, record: KnownRecord) -> "RecordResponse":
        return cls(type=record.key.type, id=record.key.id, name=record.name)


class FoundRecord(RecordResponse):
    """A record of a list."""

    suggestions: int = Field(description="The number of the caller's own items that are suggested there now.")


class RecordListResponse(ResponseModel):
    """Records that the caller may read."""

    records: list[FoundRecord]
    groups_missing: bool


class ActivityResponse(ResponseModel):
    """What every tile shows: who, when, subject."""

    model_config = ConfigDict(frozen=True, from_attributes=True)
    kind: ActivityKind
    direction: Direction | None
    subject: str
    participants: tuple[Participant, ...]
    at: AwareDatetime
    start: AwareDatetime | None
    end: AwareDatetime | None
    all_day: bool
    cancelled: bool
    sensitivity: Sensitivity


class SuggestionResponse(ResponseModel):
    """The caller's own item, private and untracked."""

    item: str
    activity: ActivityResponse
    state: SuggestionState
    reason: str | None = Field(description="Why Track failed.")
    until: AwareDatetime | None = Field(description="When pending ends as failed.")
    why: tuple[str, ...] = Field(description="A sentence for each reason of the match.")
    more_reasons: int
    web_link: str | None = Field(description="Opens the item in Outlook.")

    @classmethod
    def from_tile(cls, tile: SuggestionTile) -> "SuggestionResponse":
        suggestion = tile.suggestion
        return cls(
            item=suggestion.activity.item,
            activity=ActivityResponse.model_validate(suggestion.activity),
            state=tile.state,
            reason=tile.reason,
            until=tile.until,
            why=suggestion.why,
            more_reasons=suggestion.more,
            web_link=suggestion.activity.web_link,
        )


class RegardingResponse(ResponseModel):
    """A record that a tracked activity is regarding; only records that the caller may read are listed."""

    type: str
    id: str
    name: str | None
    deleted: bool
    by: str
    by_name: str | None
    at: AwareDatetime

    @classmethod
    def from_entry(cls, entry: ReadableRegarding) -> "RegardingResponse":
        record, regarding = entry.record, entry.regarding
        return cls(
            type=record.key.type,
            id=record.key.id,
            name=record.name,
            deleted=record.absence is not None,
            by=regarding.by,
            by_name=regarding.name,
            at=regarding.at,
        )


class TrackedResponse(ResponseModel):
    """A tracked activity, the same for everyone who may read the record."""

    id: str
    activity: ActivityResponse
    owner: str = Field(description="The user whose copy is shown, by oid.")
    source_gone: bool = Field(
        description="The e-mail or meeting was deleted from the mailboxes that it was tracked from."
    )
    revision: int = Field(description="Another one when anything has changed, the stored text included.")
    regarding: list[RegardingResponse]

    @classmethod
    def from_tile(cls, tile: TrackedTile) -> "TrackedResponse":
        activity = tile.content.activity
        return cls(
            id=tile.id,
            activity=ActivityResponse.model_validate(activity),
            owner=activity.mailbox,
            source_gone=tile.source_gone,
            revision=tile.revision,
            regarding=[RegardingResponse.from_entry(entry) for entry in tile.regarding],
        )


class TextResponse(ResponseModel):
    """A text."""

    text: str
    html: bool
    cut: bool = Field(description="The text was longer and is cut.")

    @classmethod
    def from_text(cls, text: Text | Content) -> "TextResponse":
        return cls(text=text.text, html=text.html, cut=text.cut)


class TrackedWithText(ResponseModel):
    """A tracked activity with its stored content."""

    tracked: TrackedResponse
    content: TextResponse

    @classmethod
    def from_tile(cls, tile: TrackedTile) -> "TrackedWithText":
        return cls(tracked=TrackedResponse.from_tile(tile), content=TextResponse.from_text(tile.content))


class EmptyResponse(ResponseModel):
    """Why the timeline is empty."""

    why: EmptyReason
    reason: str | None


class TimelineResponse(ResponseModel):
    """A record's timeline as one user sees it."""

    record: RecordResponse
    mailbox: MailboxResponse | None
    groups_missing: bool
    suggestions: list[SuggestionResponse]
    has_more: bool = Field(description="The caller has more suggestions here than are shown.")
    tracked: list[TrackedResponse]
    next: str | None = Field(
        description="`before` of the next page of tracked activities; null on the last page."
    )
    empty: EmptyResponse | None

    @classmethod
    def from_timeline(cls, timeline: Timeline, user: User) -> "TimelineResponse":
        return cls(
            record=RecordResponse.from_record(timeline.record),
            mailbox=MailboxResponse.from_status(timeline.capture),
            groups_missing=user.groups_missing,
            suggestions=[SuggestionResponse.from_tile(tile) for tile in timeline.suggestions],
            has_more=timeline.has_more,
            tracked=[TrackedResponse.from_tile(tile) for tile in timeline.tracked],
            next=timeline.next_page and encode_cursor(*timeline.next_page),
            empty=timeline.empty and EmptyResponse(why=timeline.empty[0], reason=timeline.empty[1]),
        )


class TrackResponse(ResponseModel):
    """The result of Track."""

    state: Literal["pending", "tracked"] = Field(
        description="`tracked` when the caller had tracked the item on this record already."
    )
    until: AwareDatetime | None = Field(description="When pending ends as failed.")
    tracked: str | None = Field(description="Id of the tracked activity.")

    @classmethod
    def from_result(cls, result: TrackResult) -> "TrackResponse":
        if result.request:
            return cls(state="pending", until=result.request.deadline, tracked=None)
        return cls(state="tracked", until=None, tracked=result.activity)


Cursor = tuple[datetime, str]
"""Time and id of a tracked activity: a position in a timeline."""
_CURSOR: TypeAdapter[tuple[Timestamp, str]] = TypeAdapter(tuple[Timestamp, str])


def encode_cursor(at: datetime, activity: str) -> str:
    """A cursor as an opaque text for the caller."""
    return base64.urlsafe_b64encode(_CURSOR.dump_json((at, activity))).decode()


def decode_cursor(text: str) -> Cursor:
    """The cursor of a text that `encode_cursor` made; raises ValueError for any other text."""
    try:
        return _CURSOR.validate_json(base64.b64decode(text, altchars=b"-_", validate=True))
    except (binascii.Error, ValidationError):
        raise ValueError("this is not a cursor of this API") from None
