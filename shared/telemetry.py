"""What a service says of itself: logs, metrics, health and status.

No subject, address, body or token ever goes into a log line or a label.
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, generate_latest
from pythonjsonlogger.json import JsonFormatter

from .errors import Transient

PATHS = frozenset({"/health/live", "/health/ready", "/metrics", "/status"})
STALLED = timedelta(seconds=60)
"""A loop that has not come round for this long is not alive."""

DEAD_LETTERS = Counter(
    "dead_letters_total", "Messages refused and sent to their dead-letter topic.", ["topic"]
)
LAG_MESSAGES = Gauge(
    "consumer_lag_messages",
    "Messages that wait, by topic and partition of this replica.",
    ["service", "topic", "partition"],
)
LAG_SECONDS = Gauge(
    "consumer_lag_seconds",
    "Age of the last message done where others wait, else 0.",
    ["service", "topic", "partition"],
)


SELDOM = timedelta(seconds=10)
"""aiokafka says a hundred lines a second while a broker is away; the same one is let through once in this time."""


def log_as_json(level: str) -> None:
    """One JSON object a line on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.addFilter(Seldom("aiokafka", SELDOM))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("httpx2", "httpcore", "uvicorn", "msal", "pymongo"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class Seldom(logging.Filter):
    """Lets the same line of one library through once in a while, whatever it is filled in with."""

    def __init__(self, library: str, every: timedelta) -> None:
        super().__init__(library)
        self._every = every.total_seconds()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """True for other libraries, and for what was not said lately."""
        if not super().filter(record):
            return True
        lately = record.created - self._said.get(str(record.msg), 0.0) < self._every
        if not lately:
            self._said[str(record.msg)] = record.created
        return not lately


class Health:
    """What stands behind `/health/live`, `/health/ready`, `/metrics` and `/status`.

    Attributes:
        alive: name -> seconds since that loop last came round.
        ready: name -> why the service cannot do its job, or None.
        status: name -> what is still to be done, as a count or counts.
        measures: bring the gauges up to date before they are read.
    """

    def __init__(self) -> None:
        self.alive: dict[str, Callable[[], float]] = {}
        self.ready: dict[str, Callable[[], Awaitable[str | None]]] = {}
        self.status: dict[str, Callable[[], Awaitable[Any]]] = {}
        self.measures: list[Callable[[], Awaitable[None]]] = []

    def answer(self, app: FastAPI) -> None:
        """Adds the four routes, before whatever else the app has: it may answer any path."""
        app.router.routes[:0] = self.router().routes

    def router(self) -> APIRouter:
        """The four routes."""
        router = APIRouter(include_in_schema=False)

        @router.get("/health/live")
        async def live(response: Response) -> dict[str, float]:
            ages = {name: round(age(), 1) for name, age in self.alive.items()}
            if any(age > STALLED.total_seconds() for age in ages.values()):
                response.status_code = 503
            return ages

        @router.get("/health/ready")
        async def ready(response: Response) -> dict[str, str]:
            missing = {name: why for name, check in self.ready.items() if (why := await check())}
            if missing:
                response.status_code = 503
            return missing

        @router.get("/metrics")
        async def metrics() -> Response:
            for measure in self.measures:
                with contextlib.suppress(Transient):  # then they are as they were
                    await measure()
            return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

        @router.get("/status")
        async def status(response: Response) -> dict[str, Any]:
            try:
                return {name: await count() for name, count in self.status.items()}
            except Transient as away:
                response.status_code = 503
                return {"unknown": str(away)}

        return router
