"""Builds the HTTP application."""

from fastapi import APIRouter, FastAPI

from services.tracking.publishing.outbox_loop import Refusal
from services.tracking.signin import SignIn

from .access import SecurityHeaders, SignedInUsersOnly, StoreInUse
from .errors import HANDLED_ERRORS, problem_for
from .routes import TimelineServices, stream_routes, timeline_routes
from .streams import TimelineStreams


def create_application(
    services: TimelineServices, streams: TimelineStreams, signin: SignIn, page: APIRouter, refusal: Refusal
) -> FastAPI:
    """The application, without health, metrics and status, which `shared.service` adds."""
    app = FastAPI(title="Timeline", openapi_url=None, docs_url=None, redoc_url=None)
    for router in (timeline_routes(services), stream_routes(services, streams), page):
        app.include_router(router)
    for error in HANDLED_ERRORS:
        app.add_exception_handler(error, problem_for)
    app.add_middleware(SignedInUsersOnly, signin=signin)
    app.add_middleware(StoreInUse, refusal=refusal)
    app.add_middleware(SecurityHeaders)
    return app
