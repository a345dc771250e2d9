"""What the API answers, as JSON: the forms, and the way from the domain into them."""

import base64
import binascii
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shared.clock import Moment
from shared.events import Content, Direction, Kind, MailboxStatus, Participant, Sensitivity

from .domain.timeline import Empty, Mailbox, State, Tile
from .domain.visibility import Record, User
from .previews import Text
from .timelines import Entry, Timeline, TrackedTile, Tracking


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True)


class ErrorAnswer(Answer):
    """Why not."""

    error: str = Field(description="A word for programs.")
    message: str = Field(description="A sentence for people.")
    field: str | None = Field(None, description="The part of the request that is wrong.")


class MailboxAnswer(Answer):
    """What capture does with her mailbox."""

    status: MailboxStatus
    reason: str | None = None
    since: AwareDatetime | None = None
    complete_as_of: AwareDatetime | None = None

    @classmethod
    def of(cls, mailbox: Mailbox | None) -> "MailboxAnswer | None":
        """None where it was never enrolled."""
        if mailbox is None:
            return None
        return cls(
            status=mailbox.status,
            reason=mailbox.reason,
            since=mailbox.since,
            complete_as_of=mailbox.complete_as_of,
        )


class MeAnswer(Answer):
    """Who she is."""

    tenant: str
    oid: str
    name: str | None
    admin: bool
    groups_missing: bool = Field(
        description="Her token has too many groups to carry them: what only a group may read is hidden from her."
    )
    mailbox: MailboxAnswer | None

    @classmethod
    def of(cls, user: User, mailbox: Mailbox | None) -> "MeAnswer":
        return cls(
            tenant=user.tenant,
            oid=user.oid,
            name=user.name,
            admin=user.admin,
            groups_missing=user.groups_missing,
            mailbox=MailboxAnswer.of(mailbox),
        )


class RecordAnswer(Answer):
    """A record's name."""

    type: str
    id: str
    name: str | None

    @classmethod
    def of(cls, record: Record) -> "RecordAnswer":
        return cls(type=record.key[1], id=record.key[2], name=record.name)


class FoundRecord(RecordAnswer):
    """A record that was searched."""

    suggestions: int = Field(description="How many of her own items are suggested there now.")


class RecordsAnswer(Answer):
    """Records that she may read."""

    records: list[FoundRecord]
    groups_missing: bool


class ActivityAnswer(Answer):
    """What every tile shows: who, when, subject."""

    model_config = ConfigDict(frozen=True, from_attributes=True)
    kind: Kind
    direction: Direction | None
    subject: str
    participants: tuple[Participant, ...]
    at: AwareDatetime
    start: AwareDatetime | None
    end: AwareDatetime | None
    all_day: bool
    cancelled: bool
    sensitivity: Sensitivity


class SuggestionAnswer(Answer):
    """Her own item, private and untracked."""

    item: str
    activity: ActivityAnswer
    state: State
    reason: str | None = Field(description="Why Track failed.")
    until: AwareDatetime | None = Field(description="When pending ends as failed.")
    why: tuple[str, ...] = Field(description="A sentence for each reason of the match.")
    more_reasons: int
    web_link: str | None = Field(description="Open in Outlook.")

    @classmethod
    def of(cls, tile: Tile) -> "SuggestionAnswer":
        suggestion = tile.suggestion
        return cls(
            item=suggestion.activity.item,
            activity=ActivityAnswer.model_validate(suggestion.activity),
            state=tile.state,
            reason=tile.reason,
            until=tile.until,
            why=suggestion.why,
            more_reasons=suggestion.more,
            web_link=suggestion.activity.web_link,
        )


class EntryAnswer(Answer):
    """A record that a tracked activity is on; only those that she may read."""

    type: str
    id: str
    name: str | None
    deleted: bool
    by: str
    by_name: str | None
    at: AwareDatetime

    @classmethod
    def of(cls, entry: Entry) -> "EntryAnswer":
        record, ask = entry.record, entry.ask
        _, kind, record_id = record.key
        return cls(
            type=kind,
            id=record_id,
            name=record.name,
            deleted=record.gone is not None,
            by=ask.by,
            by_name=ask.name,
            at=ask.at,
        )


class TrackedAnswer(Answer):
    """A tracked activity, the same for everyone who may read the record."""

    id: str
    activity: ActivityAnswer
    owner: str = Field(description="Whose copy is shown.")
    regarding: list[EntryAnswer]

    @classmethod
    def of(cls, tile: TrackedTile) -> "TrackedAnswer":
        activity = tile.content.activity
        entries = [EntryAnswer.of(entry) for entry in tile.entries]
        return cls(
            id=tile.id,
            activity=ActivityAnswer.model_validate(activity),
            owner=activity.mailbox,
            regarding=entries,
        )


class TextAnswer(Answer):
    """A text."""

    text: str
    html: bool
    cut: bool = Field(description="It was longer, and ends early.")

    @classmethod
    def of(cls, text: Text | Content) -> "TextAnswer":
        return cls(text=text.text, html=text.html, cut=text.cut)


class TrackedWithText(Answer):
    """A tracked activity with its stored content."""

    tracked: TrackedAnswer
    content: TextAnswer

    @classmethod
    def of(cls, tile: TrackedTile) -> "TrackedWithText":
        return cls(tracked=TrackedAnswer.of(tile), content=TextAnswer.of(tile.content))


class EmptyAnswer(Answer):
    """Why there is nothing to see."""

    why: Empty
    reason: str | None


class TimelineAnswer(Answer):
    """A record's timeline as one user sees it."""

    record: RecordAnswer
    mailbox: MailboxAnswer | None
    groups_missing: bool
    suggestions: list[SuggestionAnswer]
    has_more: bool = Field(description="She has more suggestions here than are shown.")
    tracked: list[TrackedAnswer]
    next: str | None = Field(description="`before` of the next page of tracked ones; null on the last.")
    empty: EmptyAnswer | None

    @classmethod
    def of(cls, timeline: Timeline, user: User) -> "TimelineAnswer":
        return cls(
            record=RecordAnswer.of(timeline.record),
            mailbox=MailboxAnswer.of(timeline.mailbox),
            groups_missing=user.groups_missing,
            suggestions=[SuggestionAnswer.of(tile) for tile in timeline.suggestions],
            has_more=timeline.has_more,
            tracked=[TrackedAnswer.of(tile) for tile in timeline.tracked],
            next=timeline.after and cursor(*timeline.after),
            empty=timeline.empty and EmptyAnswer(why=timeline.empty[0], reason=timeline.empty[1]),
        )


class TrackingAnswer(Answer):
    """What became of Track."""

    state: Literal["pending", "tracked"] = Field(description="tracked, where she had tracked it already.")
    until: AwareDatetime | None = Field(description="When pending ends as failed.")
    tracked: str | None = Field(description="Id of the tracked activity.")

    @classmethod
    def of(cls, tracking: Tracking) -> "TrackingAnswer":
        if tracking.claim:
            return cls(state="pending", until=tracking.claim.deadline, tracked=None)
        return cls(state="tracked", until=None, tracked=tracking.activity)


Place = tuple[datetime, str]
_PLACE: TypeAdapter[tuple[Moment, str]] = TypeAdapter(tuple[Moment, str])


def cursor(at: datetime, activity: str) -> str:
    """A place among tracked activities, opaque to whoever carries it."""
    return base64.urlsafe_b64encode(_PLACE.dump_json((at, activity))).decode()


def place(text: str) -> Place:
    """And back; raises ValueError where it is none."""
    try:
        return _PLACE.validate_json(base64.b64decode(text, altchars=b"-_", validate=True))
    except (binascii.Error, ValidationError):
        raise ValueError("this is no cursor of ours") from None
