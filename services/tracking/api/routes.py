"""The routes of the timeline API: each translates a request, calls one action, and translates the result."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.tracking.actions.dismiss import DismissActions
from services.tracking.actions.track import TrackActions
from services.tracking.content.own_text import OwnTextReader
from services.tracking.domain.timeline import TimelineFilter
from services.tracking.domain.visibility import User
from services.tracking.timeline.access import TimelineAccess
from services.tracking.timeline.reader import TimelineReader
from services.tracking.timeline.record_list import RecordList
from shared.events import ActivityKind, Direction
from shared.keys import RecordKey
from shared.problems import Problem

from .access import API_PREFIX
from .errors import ERROR_DESCRIPTIONS, ERRORS_OF_EVERY_ROUTE
from .responses import (
    FoundRecord,
    MeResponse,
    RecordListResponse,
    RecordResponse,
    TextResponse,
    TimelineResponse,
    TrackedWithText,
    TrackResponse,
    decode_cursor,
)
from .streams import TimelineStreams

DEFAULT_TRACKED_PAGE_SIZE = 50
MAX_TRACKED_PAGE_SIZE = 200
"""Tracked activities page without limit; the number of suggestions is
`domain.timeline.MAX_SUGGESTIONS_PER_TIMELINE`."""
DEFAULT_RECORD_LIST_SIZE = 20
MAX_RECORD_LIST_SIZE = 100


@dataclass(frozen=True, slots=True)
class TimelineServices:
    """What the routes call."""

    access: TimelineAccess
    reader: TimelineReader
    records: RecordList
    track: TrackActions
    dismiss: DismissActions
    own_text: OwnTextReader


class TrackBody(BaseModel):
    """How to track."""

    model_config = ConfigDict(extra="forbid")
    confirm_private: bool = Field(
        default=False, description="Track the item also when it is marked as private."
    )


def _signed_in_user(request: Request) -> User:
    user: User = request.state.user
    return user


def _record_key(
    user: "Caller",
    type: Annotated[  # noqa: A002  # the path's own words
        str, Path(description="The record's type: `opportunity`, or a custom type by its own name.")
    ],
    id: Annotated[str, Path(description="The record's id.")],  # noqa: A002  # as above
) -> RecordKey:
    return RecordKey(user.tenant, type, id)


def _checked_cursor(text: str | None) -> str | None:
    if text:
        decode_cursor(text)
    return text


Caller = Annotated[User, Depends(_signed_in_user)]
OnRecord = Annotated[RecordKey, Depends(_record_key)]
ItemId = Annotated[
    str, Path(description="The item's own id, percent-encoded; it is looked up in the caller's own mailbox.")
]
ActivityId = Annotated[str, Path(description="The tracked activity's id.")]
Before = Annotated[
    str | None,
    AfterValidator(_checked_cursor),
    Query(max_length=500, description="`next` of the page before."),
]

RECORD = "/records/{type}/{id}"
SUGGESTION = RECORD + "/suggestions/{item:path}"
TRACKED = RECORD + "/tracked/{activity}"

STREAM_RESPONSE = {
    "description": (
        "`ready`, then `changed` after each change; `gone` when the caller may no longer read the record. "
        "Events carry no data."
    ),
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


def _errors(*statuses: int, ok: dict[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, and those of every route, for the OpenAPI document."""
    errors: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": ERROR_DESCRIPTIONS[status]}
        for status in sorted({*ERRORS_OF_EVERY_ROUTE, *statuses})
    }
    return errors | ({200: ok} if ok else {})


def timeline_routes(services: TimelineServices) -> APIRouter:
    """The routes that read and change timelines."""
    api = APIRouter(prefix=API_PREFIX)

    @api.get("/me", responses=_errors())
    async def me(user: Caller) -> MeResponse:
        """The caller, and the state of capture of the caller's mailbox."""
        return MeResponse.from_user(user, await services.access.find_capture_status(user))

    @api.get("/records", responses=_errors(422))
    async def records(
        user: Caller,
        q: Annotated[
            str, Query(max_length=200, pattern=r"^[^\x00]*$", description="A part of the name.")
        ] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_RECORD_LIST_SIZE)] = DEFAULT_RECORD_LIST_SIZE,
    ) -> RecordListResponse:
        """Records that the caller may read, each with the number of the caller's suggestions there.

        Without `q`, the records of the caller's newest suggestions come first, then the last modified ones.
        """
        found = await services.records.search(user, q.strip(), limit)
        named = [
            FoundRecord(**dict(RecordResponse.from_record(record)), suggestions=count)
            for record, count in found
        ]
        return RecordListResponse(records=named, groups_missing=user.groups_missing)

    @api.get(RECORD + "/timeline", responses=_errors(404, 422))
    async def timeline(
        user: Caller,
        key: OnRecord,
        kind: ActivityKind | None = None,
        direction: Direction | None = None,
        before: Before = None,
        limit: Annotated[int, Query(ge=1, le=MAX_TRACKED_PAGE_SIZE)] = DEFAULT_TRACKED_PAGE_SIZE,
    ) -> TimelineResponse:
        """The record's timeline as the caller sees it now.

        With `before`, a further page of tracked activities.
        """
        cursor = decode_cursor(before) if before else None
        found = await services.reader.read(user, key, TimelineFilter(kind, direction), cursor, limit)
        return TimelineResponse.from_timeline(found, user)

    @api.get(SUGGESTION + "/text", responses=_errors(404, 409))
    async def text(user: Caller, key: OnRecord, item: ItemId) -> TextResponse:
        """The text of the caller's own item, fetched for the caller alone and stored nowhere."""
        return TextResponse.from_text(await services.own_text.read(user, key, item))

    @api.post(SUGGESTION + "/track", status_code=202, responses=_errors(404, 409, 422))
    async def track(
        user: Caller, key: OnRecord, item: ItemId, body: TrackBody | None = None
    ) -> TrackResponse:
        """Shares the caller's item with everyone who may read the record; pending until its text is there."""
        confirmed = body is not None and body.confirm_private
        result = await services.track.track(user, key, item, confirm_private=confirmed)
        return TrackResponse.from_result(result)

    @api.put(SUGGESTION + "/dismissal", status_code=204, responses=_errors(404, 409))
    async def dismiss(user: Caller, key: OnRecord, item: ItemId) -> None:
        """Removes the caller's suggestion from this record, for the caller alone."""
        await services.dismiss.dismiss(user, key, item)

    @api.delete(SUGGESTION + "/dismissal", status_code=204, responses=_errors(404))
    async def undo_dismissal(user: Caller, key: OnRecord, item: ItemId) -> None:
        """Undoes a dismissal."""
        await services.dismiss.undo(user, key, item)

    @api.get(TRACKED, responses=_errors(404))
    async def tracked(user: Caller, key: OnRecord, activity: ActivityId) -> TrackedWithText:
        """A tracked activity of this record with its stored content."""
        return TrackedWithText.from_tile(await services.reader.read_tracked(user, key, activity))

    @api.delete(TRACKED, status_code=204, responses=_errors(404, 422))
    async def untrack(
        user: Caller,
        key: OnRecord,
        activity: ActivityId,
        by: Annotated[
            str | None, Query(max_length=200, description="The user whose entry is removed, by oid.")
        ] = None,
    ) -> None:
        """Removes the caller's own entry from this record; an administrator, with `by`, that of any user."""
        await services.track.untrack(user, key, activity, by)

    return api


def stream_routes(services: TimelineServices, streams: TimelineStreams) -> APIRouter:
    """The streams of changes."""
    api = APIRouter(prefix=API_PREFIX)

    def to_response(user: User, key: RecordKey | None) -> StreamingResponse:
        return StreamingResponse(
            streams.open(user, key),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    @api.get("/stream", response_class=StreamingResponse, responses=_errors(ok=STREAM_RESPONSE))
    async def own_stream(user: Caller) -> StreamingResponse:
        """Server-sent events: something of the caller's own has changed, on any record."""
        return to_response(user, None)

    @api.get(RECORD + "/stream", response_class=StreamingResponse, responses=_errors(404, ok=STREAM_RESPONSE))
    async def stream(user: Caller, key: OnRecord) -> StreamingResponse:
        """Server-sent events: this timeline has changed; never the change itself."""
        await services.access.find_record(user, key)
        return to_response(user, key)

    return api
