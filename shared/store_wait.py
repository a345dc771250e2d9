"""How long a store's operation may wait within an HTTP request.

A caller gets its 503 within a second while the database hangs. Batches and loops wait as long as the
driver does: nobody waits for them. A 503 leaves open whether a write was made, or is made later; the caller
repeats it.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import timedelta

from starlette.types import ASGIApp, Receive, Scope, Send

REQUEST_WAIT = timedelta(seconds=0.6)
"""For one operation; those of a healthy database take milliseconds."""

_wait: ContextVar[timedelta | None] = ContextVar("store_wait", default=None)


def store_wait() -> timedelta | None:
    """How long an operation may wait here; None: as long as the driver does."""
    return _wait.get()


@contextlib.contextmanager
def bounded_store_wait(wait: timedelta = REQUEST_WAIT) -> Iterator[None]:
    """Bounds each operation within the block, and in the tasks that it creates."""
    token = _wait.set(wait)
    try:
        yield
    finally:
        _wait.reset(token)


def with_bounded_store_wait(app: ASGIApp) -> ASGIApp:
    """Bounds the operations of each request, but for `/status`, which counts all that is stored."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/status":
            with bounded_store_wait():
                await app(scope, receive, send)
        else:
            await app(scope, receive, send)

    return handle
