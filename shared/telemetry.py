"""Logs, metrics, health and status of a service.

No subject, address, body or token ever goes into a log line or a label.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, generate_latest
from pythonjsonlogger.json import JsonFormatter

from .errors import RetryableError
from .problems import problem_response
from .version import VERSION

HEALTH_PATHS = frozenset({"/health/live", "/health/ready", "/metrics", "/status"})
LIVENESS_LIMIT = timedelta(seconds=60)
"""A loop without progress for longer is not alive."""
READINESS_TIMEOUT = timedelta(seconds=0.8)
"""`/health/ready` answers within a second: a check that takes longer counts as failed."""

DEAD_LETTERS = Counter(
    "dead_letters_total", "Invalid messages written to their dead-letter topic.", ["topic"]
)
LAG_MESSAGES = Gauge(
    "consumer_lag_messages",
    "Messages that wait, by topic and partition of this replica.",
    ["service", "topic", "partition"],
)
LAG_SECONDS = Gauge(
    "consumer_lag_seconds",
    "Age of the last processed message where others wait, else 0.",
    ["service", "topic", "partition"],
)
IDENTITY_LOSSES = Counter(
    "consumer_identity_losses_total",
    "Rebalances at which Kafka had given this replica's INSTANCE to another process.",
    ["topic"],
)
BUILD_INFO = Gauge("auto_capture_build_info", "Always 1; the label is the version.", ["version"])
BUILD_INFO.labels(VERSION).set(1)

KAFKA_LOG_INTERVAL = timedelta(seconds=10)
"""aiokafka logs a hundred lines a second while a broker is away; a distinct line passes once in this time."""


def log_as_json(level: str) -> None:
    """Logs to stderr, one JSON object a line."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.addFilter(RateLimitFilter("aiokafka", KAFKA_LOG_INTERVAL))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for library in ("httpx2", "httpcore2", "uvicorn", "msal", "pymongo"):
        logging.getLogger(library).setLevel(logging.WARNING)


class RateLimitFilter(logging.Filter):
    """Passes each distinct line of one library once in an interval, whatever its arguments are."""

    def __init__(self, library: str, interval: timedelta) -> None:
        super().__init__(library)
        self._interval = interval.total_seconds()
        self._last_passed: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """True for other libraries, and for a line that has not passed within the interval."""
        if not super().filter(record):
            return True
        limited = record.created - self._last_passed.get(str(record.msg), 0.0) < self._interval
        if not limited:
            self._last_passed[str(record.msg)] = record.created
        return not limited


Check = Callable[[], Awaitable[str | None]]
"""Returns why a service cannot do its job, or None."""


class Health:
    """The sources of `/health/live`, `/health/ready`, `/metrics` and `/status`.

    Attributes:
        liveness: name -> seconds since that loop last made progress.
        readiness: name -> why the service cannot do its job, or None.
        status: name -> the work that is still to be done, as a count or counts.
        gauge_updaters: called before the metrics are read.
        is_stopping: whether the service stops; what the sources read may be closed then, and none is read.
    """

    def __init__(self) -> None:
        self.liveness: dict[str, Callable[[], float]] = {}
        self.readiness: dict[str, Check] = {}
        self.status: dict[str, Callable[[], Awaitable[Any]]] = {}
        self.gauge_updaters: list[Callable[[], Awaitable[None]]] = []
        self.is_stopping: Callable[[], bool] = lambda: False

    def add_routes(self, app: FastAPI) -> None:
        """Adds the four routes in front of the app's own, which may match any path."""
        app.router.routes[:0] = self.router().routes

    async def _missing(self) -> dict[str, str]:
        """Name of each check that fails -> why; the checks run at the same time."""
        if self.is_stopping():
            return {"service": "stopping"}
        checks = {name: asyncio.ensure_future(check()) for name, check in self.readiness.items()}
        if not checks:
            return {}
        _, late = await asyncio.wait(checks.values(), timeout=READINESS_TIMEOUT.total_seconds())
        for check in late:
            check.cancel()
        reasons = {name: _TOO_LATE if check in late else _reason(check) for name, check in checks.items()}
        return {name: why for name, why in reasons.items() if why}

    def router(self) -> APIRouter:
        """The four routes."""
        router = APIRouter(include_in_schema=False)

        @router.get("/health/live")
        async def live(response: Response) -> dict[str, float]:
            ages = {name: round(age(), 1) for name, age in self.liveness.items()}
            if any(age > LIVENESS_LIMIT.total_seconds() for age in ages.values()):
                response.status_code = 503
            return ages

        @router.get("/health/ready")
        async def ready(response: Response) -> dict[str, str]:
            missing = await self._missing()
            if missing:
                response.status_code = 503
            return missing

        @router.get("/metrics")
        async def metrics() -> Response:
            for update in () if self.is_stopping() else self.gauge_updaters:
                with contextlib.suppress(RetryableError):  # the gauges keep their last values
                    await update()
            return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

        @router.get("/status", response_model=None)
        async def status() -> Response | dict[str, Any]:
            if self.is_stopping():
                return problem_response(503, "stopping", "the service stops", headers={"Retry-After": "1"})
            try:
                counts = {name: await count() for name, count in self.status.items()}
            except RetryableError as error:
                return problem_response(503, "unavailable", str(error), headers={"Retry-After": "1"})
            return {"version": VERSION, **counts}

        return router


_TOO_LATE = f"no answer within {READINESS_TIMEOUT.total_seconds()} s"


def _reason(check: "asyncio.Future[str | None]") -> str | None:
    """The result of a check that is done; a RetryableError is a reason, too."""
    try:
        return check.result()
    except RetryableError as error:
        return str(error)
