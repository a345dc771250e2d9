"""The internal port's routes: previews and the administration of mailboxes, for holders of SERVICE_TOKEN."""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from shared.errors import Transient
from shared.events import Kind

from .errors import Blocked
from .mailboxes import PAUSE, REMOVE, RESUME, Mailboxes, NoSuchMailbox, described
from .previews import NotShown, Previews

Id = Annotated[str, Field(min_length=1, max_length=2000)]
Name = Annotated[str, Field(min_length=1, max_length=320, pattern=r"^[^/\s]+$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class PreviewAsked(_Body):
    """Whose item is to be shown."""

    tenant: Name
    mailbox: Name
    item: Id
    kind: Kind


class EnrolAsked(_Body):
    """Which mailbox: its owner's object id, or user principal name."""

    tenant: Name
    mailbox: Name


def create_api(
    mailboxes: Mailboxes, previews: Previews, token: SecretStr, wake: Callable[[], None]
) -> FastAPI:
    """The internal interface; the service adds health, metrics and status."""
    router = APIRouter(dependencies=[Depends(_bearer(token))])

    @router.post("/previews")
    async def preview(asked: PreviewAsked) -> dict[str, Any]:
        return asdict(await previews.show(asked.tenant, asked.mailbox, asked.kind, asked.item))

    @router.get("/mailboxes")
    async def every(tenant: str | None = None) -> list[dict[str, object]]:
        return await mailboxes.every(tenant)

    @router.post("/mailboxes")
    async def enrol(asked: EnrolAsked) -> dict[str, object]:
        enrolled = described(await mailboxes.enrol(asked.tenant, asked.mailbox))
        wake()
        return enrolled

    async def change(action: str, tenant: str, mailbox: str) -> dict[str, object]:
        changed = described(await mailboxes.change(action, tenant, mailbox))
        wake()
        return changed

    @router.post("/mailboxes/{tenant}/{mailbox}/pause")
    async def pause(tenant: str, mailbox: str) -> dict[str, object]:
        return await change(PAUSE, tenant, mailbox)

    @router.post("/mailboxes/{tenant}/{mailbox}/resume")
    async def resume(tenant: str, mailbox: str) -> dict[str, object]:
        return await change(RESUME, tenant, mailbox)

    @router.delete("/mailboxes/{tenant}/{mailbox}")
    async def remove(tenant: str, mailbox: str) -> dict[str, object]:
        return await change(REMOVE, tenant, mailbox)

    app = FastAPI(title="mail-ingest, internal", openapi_url=None)
    app.include_router(router)
    for error, answer in _ANSWERS.items():
        app.add_exception_handler(error, _answering(answer))
    return app


Answer = Callable[[Any], tuple[int, str]]

_ANSWERS: dict[type[Exception], Answer] = {
    NoSuchMailbox: lambda _: (404, "not_enrolled"),
    NotShown: lambda error: (409 if error.there else 404, error.reason),
    Blocked: lambda error: (409, error.reason),
    Transient: lambda _: (503, "unavailable"),
}
"""What each refusal is over HTTP: the status and the reason."""


def _answering(answer: Answer) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def respond(_: Request, error: Exception) -> JSONResponse:
        status, reason = answer(error)
        return JSONResponse({"reason": reason}, status, {"Retry-After": "5"} if status == 503 else None)

    return respond


def _bearer(token: SecretStr) -> Callable[..., None]:
    expected = token.get_secret_value()

    def check(
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
    ) -> None:
        if (
            not expected
            or given is None
            or not hmac.compare_digest(given.credentials.encode(), expected.encode())
        ):
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})

    return check
