"""The internal port: previews and the administration of mailboxes, for holders of SERVICE_TOKEN.

Errors are problem details (RFC 9457); `_register_errors` lists them.
"""

import hmac
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from services.mail_ingest.content.previews import Previews, PreviewUnavailableError
from services.mail_ingest.domain.status_changes import StatusChange
from services.mail_ingest.graph.errors import MailboxBlockedError
from services.mail_ingest.recovery.gate import StoreClosedError, StoreGate
from shared.errors import RetryableError
from shared.events import ActivityKind
from shared.keys import ItemKey, K, MailboxKey, split_key
from shared.problems import problem_response

from .enrolment import MAX_NAMES
from .mailboxes import PAGE_SIZE, MailboxAdministration, MailboxNotEnrolledError, describe

Id = Annotated[str, Field(min_length=1, max_length=2000)]
Name = Annotated[str, Field(min_length=1, max_length=320, pattern=r"^[^/\s]+$")]
Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(max_length=3000)]
RETRY_AFTER_SECONDS = "5"


class _RequestBody(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class PreviewRequest(_RequestBody):
    """The item whose text is requested."""

    tenant: Name
    mailbox: Name
    item: Id
    kind: ActivityKind


class EnrolRequest(_RequestBody):
    """The mailbox, by its owner's object id or user principal name."""

    tenant: Name
    mailbox: Name


class EnrolManyRequest(_RequestBody):
    """The mailboxes of a tenant, by their owners' object ids or user principal names."""

    tenant: Name
    mailboxes: Annotated[list[str], Field(min_length=1, max_length=MAX_NAMES)]


class StuckItemsRequest(_RequestBody):
    """A mailbox whose stuck items are meant; only one of them, if it is named."""

    tenant: Name
    mailbox: Name
    item: Id | None = None


def create_api(
    administration: MailboxAdministration,
    previews: Previews,
    token: SecretStr,
    wake: Callable[[], None],
    gate: StoreGate,
) -> FastAPI:
    """The internal interface; the service adds health, metrics and status.

    Args:
        administration: the actions.
        previews: the texts.
        token: the callers' credential; with an empty one every call is refused.
        wake: called when there is work for the workers.
        gate: while it is closed, every call is answered with 503.
    """
    router = APIRouter(dependencies=[Depends(_require_token(token)), Depends(_require_open(gate))])

    @router.post("/previews")
    async def preview(body: PreviewRequest) -> dict[str, Any]:
        return asdict(await previews.fetch(MailboxKey(body.tenant, body.mailbox), body.kind, body.item))

    @router.get("/mailboxes")
    async def list_mailboxes(
        tenant: str | None = None, limit: Limit = PAGE_SIZE, after: Cursor = None
    ) -> Response:
        listed = await administration.list_mailboxes(tenant, _parse(MailboxKey, after), limit)
        return _page("mailboxes", listed, limit, "tenant", "mailbox")

    @router.post("/mailboxes")
    async def enrol(body: EnrolRequest) -> dict[str, object]:
        enrolled = describe(await administration.enrolment.enrol(body.tenant, body.mailbox))
        wake()
        return enrolled

    @router.post("/mailboxes/batch")
    async def enrol_many(body: EnrolManyRequest) -> Response:
        enrolment = await administration.enrolment.enrol_many(body.tenant, body.mailboxes)
        wake()
        enrolled = {name: describe(mailbox) for name, mailbox in enrolment.enrolled.items()}
        return JSONResponse({"enrolled": enrolled, "failed": enrolment.failed})

    @router.get("/tenants/blocked")
    async def list_blocked_tenants(limit: Limit = PAGE_SIZE, after: Cursor = None) -> Response:
        listed = await administration.list_blocked_tenants(after, limit)
        return _page("tenants", listed, limit, "tenant")

    async def change_status(change: StatusChange, tenant: str, mailbox: str) -> dict[str, object]:
        changed = describe(await administration.change_status(change, MailboxKey(tenant, mailbox)))
        wake()
        return changed

    @router.post("/mailboxes/{tenant}/{mailbox}/pause")
    async def pause(tenant: str, mailbox: str) -> dict[str, object]:
        return await change_status(StatusChange.PAUSE, tenant, mailbox)

    @router.post("/mailboxes/{tenant}/{mailbox}/resume")
    async def resume(tenant: str, mailbox: str) -> dict[str, object]:
        return await change_status(StatusChange.RESUME, tenant, mailbox)

    @router.delete("/mailboxes/{tenant}/{mailbox}")
    async def remove(tenant: str, mailbox: str) -> dict[str, object]:
        return await change_status(StatusChange.REMOVE, tenant, mailbox)

    _add_stuck_items(router, administration, wake)
    app = FastAPI(title="mail-ingest, internal", openapi_url=None)
    app.include_router(router)
    _register_errors(app)
    return app


def _add_stuck_items(
    router: APIRouter, administration: MailboxAdministration, wake: Callable[[], None]
) -> None:
    @router.get("/stuck-items")
    async def list_stuck_items(
        tenant: str | None = None, limit: Limit = PAGE_SIZE, after: Cursor = None
    ) -> Response:
        listed = await administration.list_stuck_items(tenant, _parse(ItemKey, after), limit)
        return _page("items", listed, limit, "tenant", "mailbox", "item")

    @router.post("/stuck-items/retry")
    async def retry_stuck_items(body: StuckItemsRequest) -> dict[str, int]:
        key = MailboxKey(body.tenant, body.mailbox)
        count = await administration.retry_stuck_items(key, body.item)
        wake()
        return {"items": count}

    @router.post("/stuck-items/drop")
    async def drop_stuck_items(body: StuckItemsRequest) -> dict[str, int]:
        key = MailboxKey(body.tenant, body.mailbox)
        return {"items": await administration.drop_stuck_items(key, body.item)}


def _page(name: str, listed: list[dict[str, object]], limit: int, *key: str) -> Response:
    """A page of a list. With `next`, as `after` of the next call, the list goes on.

    It is no return value of a route: FastAPI would check and copy it value by value.
    """
    is_full = len(listed) == limit
    after = "/".join(str(listed[-1][part]) for part in key) if is_full else None
    return JSONResponse({name: listed, "next": after})


def _parse(key_type: type[K], after: str | None) -> K | None:
    if after is None:
        return None
    try:
        return split_key(key_type, after)
    except ValueError:
        raise HTTPException(422, "`after` is not a key of this list") from None


def _register_errors(app: FastAPI) -> None:
    @app.exception_handler(MailboxNotEnrolledError)
    async def on_not_enrolled(_: Request, __: Exception) -> Response:
        return problem_response(404, "not_enrolled", "the mailbox is not enrolled")

    @app.exception_handler(PreviewUnavailableError)
    async def on_no_preview(_: Request, error: PreviewUnavailableError) -> Response:
        if error.mailbox_exists:
            return problem_response(409, error.reason, "the mailbox cannot be read now")
        return problem_response(404, error.reason, "there is no such captured item")

    @app.exception_handler(MailboxBlockedError)
    async def on_blocked(_: Request, error: MailboxBlockedError) -> Response:
        return problem_response(409, error.reason, "Graph refuses the mailbox")

    @app.exception_handler(StoreClosedError)
    async def on_closed(_: Request, error: Exception) -> Response:
        return problem_response(503, "unavailable", str(error), headers={"Retry-After": RETRY_AFTER_SECONDS})

    @app.exception_handler(RetryableError)
    async def on_unavailable(_: Request, __: Exception) -> Response:
        return problem_response(
            503,
            "unavailable",
            "Graph or MongoDB does not answer",
            headers={"Retry-After": RETRY_AFTER_SECONDS},
        )


def _require_open(gate: StoreGate) -> Callable[[], None]:
    def check() -> None:
        gate.check()

    return check


def _require_token(token: SecretStr) -> Callable[..., None]:
    expected = token.get_secret_value()

    def check(
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
    ) -> None:
        if (
            not expected
            or given is None
            or not hmac.compare_digest(given.credentials.encode(), expected.encode())
        ):
            raise HTTPException(401, "the bearer token is missing or wrong", {"WWW-Authenticate": "Bearer"})

    return check
