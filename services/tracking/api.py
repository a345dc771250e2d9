"""The timeline API: HTTP in and out, and nothing else.

Every route is under `/api/v1` and for signed-in people only; who it is, is settled before a body is
read. Whatever a user may not know of is the same 404.
"""

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.errors import Transient
from shared.events import Direction, Kind
from shared.records import RecordKey

from .answers import (
    ErrorAnswer,
    FoundRecord,
    MeAnswer,
    Place,
    RecordAnswer,
    RecordsAnswer,
    TextAnswer,
    TimelineAnswer,
    TrackedWithText,
    TrackingAnswer,
    place,
)
from .domain.visibility import User
from .live import Live
from .page import WithHeaders
from .previews import NoText
from .signin import SCOPE, SignIn, Unauthorized
from .timelines import Filters, NotThere, Refused, Timelines

PREFIX = "/api/v1"
LARGEST_BODY = 4096
"""Bytes; the largest that we ask for is one word."""


class TrackBody(BaseModel):
    """How to track."""

    model_config = ConfigDict(extra="forbid")
    confirm_private: bool = Field(False, description="Also where the item is marked as private.")


def _signed_in(request: Request) -> User:
    user: User = request.state.user
    return user


def _record_key(
    user: "Me",
    type: Annotated[str, Path(description="The record's type: `opportunity`, or a custom one's own name.")],  # noqa: A002  # the path's own words
    id: Annotated[str, Path(description="The record's id.")],  # noqa: A002  # as above
) -> RecordKey:
    return user.tenant, type, id


Me = Annotated[User, Depends(_signed_in)]
OnRecord = Annotated[RecordKey, Depends(_record_key)]
Item = Annotated[
    str, Path(description="The item's own id, percent-encoded; looked for in the caller's own mailbox.")
]
ActivityId = Annotated[str, Path(description="The tracked activity's id.")]
Before = Annotated[
    str | None,
    AfterValidator(lambda text: text and (place(text), text)[1]),
    Query(max_length=500, description="`next` of the page before."),
]

RECORD = "/records/{type}/{id}"
SUGGESTION = RECORD + "/suggestions/{item:path}"
TRACKED = RECORD + "/tracked/{activity}"

WHY_NOT = {
    401: "No token, or none that is taken; `WWW-Authenticate` says why.",
    404: "Nothing of that name for this caller: missing, deleted, somebody else's or not hers to read, always the same.",
    409: "Not as things are: `no_longer_visible`, `private` (confirm it), or why its text cannot be had now.",
    413: f"A body of more than {LARGEST_BODY} bytes, or one without a Content-Length.",
    422: "A part of the request is wrong; `field` says which.",
    503: "Not now; `Retry-After` says when.",
}
"""What each error status means."""
ALWAYS = (401, 413, 503)
STREAMED = {
    "description": "`ready`, then `changed` after each change; `gone` where the record is no longer hers to read. Events carry no data.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


def _or(*statuses: int, ok: dict[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    """A route's errors beside those that every route has, for the interface document."""
    errors: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorAnswer, "description": WHY_NOT[status]}
        for status in sorted({*ALWAYS, *statuses})
    }
    return errors | ({200: ok} if ok else {})


def routes(timelines: Timelines) -> APIRouter:
    """The routes."""
    api = APIRouter(prefix=PREFIX)

    @api.get("/me", responses=_or())
    async def me(user: Me) -> MeAnswer:
        """Who she is, and what capture does with her mailbox."""
        return MeAnswer.of(user, await timelines.mailbox(user))

    @api.get("/records", responses=_or(422))
    async def records(
        user: Me,
        q: Annotated[
            str, Query(max_length=200, pattern=r"^[^\x00]*$", description="A part of the name.")
        ] = "",
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> RecordsAnswer:
        """Records that she may read, each with the number of her suggestions there.

        Without `q`, those of her newest suggestions come first, then the last modified ones.
        """
        found = await timelines.records(user, q.strip(), limit)
        named = [FoundRecord(**dict(RecordAnswer.of(record)), suggestions=count) for record, count in found]
        return RecordsAnswer(records=named, groups_missing=user.groups_missing)

    @api.get(RECORD + "/timeline", responses=_or(404, 422))
    async def timeline(
        user: Me,
        key: OnRecord,
        kind: Kind | None = None,
        direction: Direction | None = None,
        before: Before = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> TimelineAnswer:
        """The record's timeline as she sees it now; with `before`, a further page of what is tracked."""
        after: Place | None = place(before) if before else None
        return TimelineAnswer.of(
            await timelines.timeline(user, key, Filters(kind, direction), after, limit), user
        )

    @api.get(SUGGESTION + "/text", responses=_or(404, 409))
    async def text(user: Me, key: OnRecord, item: Item) -> TextAnswer:
        """The text of her own item, fetched for her alone and kept nowhere."""
        return TextAnswer.of(await timelines.text(user, key, item))

    @api.post(SUGGESTION + "/track", status_code=202, responses=_or(404, 409, 422))
    async def track(user: Me, key: OnRecord, item: Item, body: TrackBody | None = None) -> TrackingAnswer:
        """Shares her item with everyone who may read the record; pending until its text is there."""
        confirmed = body is not None and body.confirm_private
        return TrackingAnswer.of(await timelines.track(user, key, item, confirm_private=confirmed))

    @api.put(SUGGESTION + "/dismissal", status_code=204, responses=_or(404, 409))
    async def dismiss(user: Me, key: OnRecord, item: Item) -> None:
        """Takes her suggestion off this record, for her alone."""
        await timelines.dismiss(user, key, item)

    @api.delete(SUGGESTION + "/dismissal", status_code=204, responses=_or(404))
    async def undo_dismissal(user: Me, key: OnRecord, item: Item) -> None:
        """Puts it back."""
        await timelines.undo_dismissal(user, key, item)

    @api.get(TRACKED, responses=_or(404))
    async def tracked(user: Me, key: OnRecord, activity: ActivityId) -> TrackedWithText:
        """A tracked activity of this record with its stored content."""
        return TrackedWithText.of(await timelines.tracked(user, key, activity))

    @api.delete(TRACKED, status_code=204, responses=_or(404, 422))
    async def untrack(
        user: Me,
        key: OnRecord,
        activity: ActivityId,
        by: Annotated[str | None, Query(max_length=200, description="Whose entry, by oid.")] = None,
    ) -> None:
        """Takes her own entry off this record; an administrator, with `by`, anyone's."""
        await timelines.untrack(user, key, activity, by)

    return api


def live_routes(timelines: Timelines, live: Live) -> APIRouter:
    """The streams of changes."""
    api = APIRouter(prefix=PREFIX)

    def streamed(user: User, key: RecordKey | None) -> StreamingResponse:
        return StreamingResponse(
            live.events(user, key), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )

    @api.get("/stream", response_class=StreamingResponse, responses=_or(ok=STREAMED))
    async def own_stream(user: Me) -> StreamingResponse:
        """Server-sent events: that something of her own has changed, on whatever record."""
        return streamed(user, None)

    @api.get(RECORD + "/stream", response_class=StreamingResponse, responses=_or(404, ok=STREAMED))
    async def stream(user: Me, key: OnRecord) -> StreamingResponse:
        """Server-sent events: that this timeline has changed, never what."""
        await timelines.check(user, key)
        return streamed(user, key)

    return api


# -- errors ---------------------------------------------------------------------------------------


def error(
    status: int, code: str, message: str, *, field: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    """An answer that says why not."""
    answer = ErrorAnswer(error=code, message=message, field=field).model_dump(exclude_none=True)
    return JSONResponse(answer, status, headers)


def answer_to(_: Request, exception: Exception) -> Response:
    """The answer that an exception is."""
    match exception:
        case NotThere() | HTTPException(status_code=404):
            answer = error(404, "not_found", "there is nothing here for you")
        case Unauthorized():
            answer = error(
                401,
                "unauthorized",
                exception.why or "sign in first",
                headers={"WWW-Authenticate": exception.challenge},
            )
        case Refused():
            answer = error(409, exception.code, exception.why)
        case NoText():
            answer = error(409, exception.reason, "its text cannot be had now")
        case Transient():
            answer = error(
                503, "unavailable", f"try again in a moment: {exception}", headers={"Retry-After": "2"}
            )
        case RequestValidationError():
            # Where the request is wrong, never what stood there.
            first = exception.errors()[0]
            answer = error(
                422,
                "invalid",
                first["msg"].removeprefix("Value error, "),
                field=".".join(str(part) for part in first["loc"]),
            )
        case HTTPException():
            answer = error(
                exception.status_code, "refused", exception.detail, headers=dict(exception.headers or {})
            )
        case _:
            raise exception
    return answer


ANSWERED = (NotThere, Refused, NoText, Transient, RequestValidationError, HTTPException)
"""What a route may raise; anything else is a fault of ours and a 500."""


class ForUsers:
    """Lets nobody in to the API without a token that is taken, and no large body."""

    def __init__(self, app: ASGIApp, signin: SignIn) -> None:
        self._app = app
        self._signin = signin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        app = self._app
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            refusal = await self._refusal(Request(scope))
            app = refusal or app
        await app(scope, receive, send)

    async def _refusal(self, request: Request) -> Response | None:
        try:
            request.state.user = await self._signin.user(request.headers.get("authorization"))
        except (Unauthorized, Transient) as refused:
            return answer_to(request, refused)
        if (
            "transfer-encoding" in request.headers
            or int(request.headers.get("content-length", 0)) > LARGEST_BODY
        ):
            return error(413, "too_large", f"at most {LARGEST_BODY} bytes, with a Content-Length")
        return None


def create_api(timelines: Timelines, live: Live, signin: SignIn, page: APIRouter) -> FastAPI:
    """The HTTP application, without health, metrics and status, which the service adds."""
    app = FastAPI(title="Timeline", openapi_url=None, docs_url=None, redoc_url=None)
    for router in (routes(timelines), live_routes(timelines, live), page):
        app.include_router(router)
    for kind in ANSWERED:
        app.add_exception_handler(kind, answer_to)
    app.add_middleware(ForUsers, signin=signin)
    app.add_middleware(WithHeaders)
    return app


# -- the interface document -------------------------------------------------------------------------


def interface() -> dict[str, Any]:
    """OpenAPI of all that is under `/api/v1`."""
    nothing = cast("Any", None)  # no route is called
    app = FastAPI(generate_unique_id_function=lambda route: route.name)
    for router in (routes(nothing), live_routes(nothing, nothing)):
        app.include_router(router)
    document = get_openapi(
        title="Timeline",
        version="1",
        description="E-mails and meetings on CRM records: what is suggested to the caller alone, and what is tracked for the team. "
        "Whatever a caller may not know of is the same 404.",
        routes=app.routes,
    )
    parts = document["components"]
    parts["securitySchemes"] = {
        "user": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": f"A person's v2 access token with the scope `{SCOPE}`.",
        }
    }
    # Each error once; what FastAPI says of a wrong request is not what we answer.
    parts["responses"] = {}
    for operation in [operation for path in document["paths"].values() for operation in path.values()]:
        for status, answer in list(operation["responses"].items()):
            if "HTTPValidationError" in str(answer):
                del operation["responses"][status]
            elif int(status) in WHY_NOT:
                parts["responses"][status] = answer
                operation["responses"][status] = {"$ref": f"#/components/responses/{status}"}
    for name in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(name, None)
    return document | {"security": [{"user": []}]}
